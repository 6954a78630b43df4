//! The collection as a page of the documentation.

use models::shrink::Measure;

use super::Row;
use crate::args::BugsArgs;

/// What is counted, and how many there are of it.
type Count = (&'static str, fn(&Measure) -> u64);

/// What of a size stands in the table.
pub(super) const SIZES: [Count; 6] = [
    ("lines", |size| size.lines as u64),
    ("devices", |size| size.devices as u64),
    ("contexts", |size| size.contexts as u64),
    ("switches", |size| size.switches as u64),
    ("choices", |size| size.choices as u64),
    ("steps", |size| size.steps),
];

/// The page: what the collection is, and the tables.
pub(super) fn markdown(rows: &[Row], args: &BugsArgs) -> String {
    let options = options(args);
    let repetitions = args.repetitions;
    let mut text = format!(
        "# Bugs\n\n\
         Real bugs of the DMA layer, each as two scenarios in `scenarios/bugs`: one with a kernel that has it, one with a\n\
         kernel that has not, and nothing else is different. The head of each file tells the story.\n\n\
         This page is made by\n\n    \
         dmasim bugs{options} --write docs/bugs.md\n\n\
         \"Seeds\" is how many seeds it took until what the scenario expects was found, the median of {repetitions} repetitions\n\
         with other seeds each. \"Versions\" are the releases from 5.10 to 6.12 that have the bug; what lies before is in the\n\
         story.\n\n\
         | Bug | What | Versions | Change | Noticed as | Seeds |\n|---|---|---|---|---|---|\n"
    );
    for row in rows {
        let pair = &row.pair;
        let noticed = match (row.measured.kind(), row.measured.function()) {
            (Some(kind), Some(function)) => format!("{kind} in `{function}`"),
            (Some(kind), None) => kind.to_owned(),
            (None, _) => "nothing".to_owned(),
        };
        let (slug, about, versions, change) = (&pair.slug, &pair.about, pair.versions(), pair.change());
        let seeds = row.measured.seeds();
        text.push_str(&format!("| `{slug}` | {about} | {versions} | {change} | {noticed} | {seeds} |\n"));
    }
    text.push_str(&by_strategy(rows, args));
    text.push_str(&alone(rows, args));
    text.push_str(&small(rows));
    text
}

fn options(args: &BugsArgs) -> String {
    let mut text = String::new();
    if args.strategies {
        text.push_str(" --strategies");
    }
    if let Some(count) = args.generated {
        text.push_str(&format!(" --generated {count}"));
    }
    if args.shrunk {
        text.push_str(" --shrunk");
    }
    text
}

fn by_strategy(rows: &[Row], args: &BugsArgs) -> String {
    let Some(first) = rows.first().filter(|row| !row.strategies.is_empty()) else { return String::new() };
    let names: Vec<&str> = first.strategies.iter().map(|one| one.strategy.as_str()).collect();
    let mut text = format!(
        "\n## By strategy\n\nSeeds until the bug was found, the median of {} repetitions of {} seeds at most; \
         [strategies.md](strategies.md)\nsays what each of them is.\n\n| Bug | {} |\n|---|{}\n",
        args.repetitions,
        args.cap,
        names.join(" | "),
        "---|".repeat(names.len())
    );
    for row in rows {
        let each: Vec<&str> = row.strategies.iter().map(|one| one.words.as_str()).collect();
        text.push_str(&format!("| `{}` | {} |\n", row.pair.slug, each.join(" | ")));
    }
    text
}

fn alone(rows: &[Row], args: &BugsArgs) -> String {
    let (Some(count), Some(share)) = (args.generated, share(rows)) else { return String::new() };
    let mut text = format!(
        "\n## Without a scenario\n\nWhat machines and workloads of the generator ([fuzz.md](fuzz.md)) show of each bug, {count} of \
         them at most: the first finding\nthat the kernel with the bug has and the other one has not in the same run, and the \
         seed. {share}.\n\n| Bug | Finding, seed |\n|---|---|\n"
    );
    for row in rows {
        let words = row.alone.as_ref().map_or_else(String::new, super::alone::Alone::words);
        text.push_str(&format!("| `{}` | {words} |\n", row.pair.slug));
    }
    text
}

/// How many are found by generated machines alone. `None` if nobody has looked.
pub(super) fn share(rows: &[Row]) -> Option<String> {
    let looked: Vec<_> = rows.iter().filter_map(|row| row.alone.as_ref()).collect();
    let found = looked.iter().filter(|alone| alone.found.is_some()).count();
    (!looked.is_empty()).then(|| format!("{found} of {} are found by generated machines alone", looked.len()))
}

fn small(rows: &[Row]) -> String {
    if rows.iter().all(|row| row.small.is_none()) {
        return String::new();
    }
    let names: Vec<&str> = SIZES.iter().map(|(name, _)| *name).collect();
    let mut text = format!(
        "\n## How small they get\n\nThe first run that shows the bug, and what `dmasim shrink` leaves of it \
         ([reproduce.md](reproduce.md)). \"Contexts\" are those on\nCPUs, that of the boot included; a star marks a search that \
         tried as many candidates as it may.\n\n| Bug | {} |\n|---|{}\n",
        names.join(" | "),
        "---|".repeat(names.len())
    );
    for row in rows {
        let Some(small) = &row.small else { continue };
        let sizes: Vec<String> = SIZES.iter().map(|(_, of)| small.both(of)).collect();
        let star = if small.complete { "" } else { " *" };
        text.push_str(&format!("| `{}`{star} | {} |\n", row.pair.slug, sizes.join(" | ")));
    }
    text
}
