//! The collection as a page of the documentation.

use super::Row;
use super::measure::Measured;

/// The page: what the collection is, and the table.
pub(super) fn markdown(rows: &[Row], repetitions: u64) -> String {
    let mut text = format!(
        "# Bugs\n\n\
         Real bugs of the DMA layer, each as two scenarios in `scenarios/bugs`: one with a kernel that has it, one with a\n\
         kernel that has not, and nothing else is different. The head of each file tells the story.\n\n\
         This page is made by `dmasim bugs --write docs/bugs.md`. \"Seeds\" is how many seeds it took until what the scenario\n\
         expects was found, the median of {repetitions} repetitions with other seeds each. \"Versions\" are the releases from 5.10 to\n\
         6.12 that have the bug; what lies before is in the story.\n\n"
    );
    let strategies: Vec<&str> =
        rows.first().into_iter().flat_map(|row| row.measured.iter().map(|m| m.strategy.as_str())).collect();
    let heads: Vec<String> = strategies
        .iter()
        .map(|name| if name.is_empty() { "Seeds".to_owned() } else { format!("Seeds, {name}") })
        .collect();
    text.push_str(&format!("| Bug | What | Versions | Change | Noticed as | {} |\n", heads.join(" | ")));
    text.push_str(&format!("|---|---|---|---|---|{}\n", "---|".repeat(heads.len())));
    for row in rows {
        let pair = &row.pair;
        let noticed = row.measured.iter().find_map(|measured| Some((measured.kind()?, measured.function())));
        let noticed = match noticed {
            Some((kind, Some(function))) => format!("{kind} in `{function}`"),
            Some((kind, None)) => kind.to_owned(),
            None => "nothing".to_owned(),
        };
        let seeds: Vec<String> = row.measured.iter().map(Measured::seeds).collect();
        let seeds = seeds.join(" | ");
        let (slug, about, versions, change) = (&pair.slug, &pair.about, pair.versions(), pair.change());
        text.push_str(&format!("| `{slug}` | {about} | {versions} | {change} | {noticed} | {seeds} |\n"));
    }
    text
}
