//! The results, and the table of a page.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::faults::Fault;
use crate::suites::Noticed;

/// The lines of a page between which the table stands.
const BEGIN: &str = "<!-- The table is written by `just mutants-sim`. -->";
const END: &str = "<!-- End of the table. -->";

/// By name of the fault: suite, what noticed, whether the recordings do.
pub(crate) struct Results(BTreeMap<String, [String; 3]>);

impl Results {
    /// Those of earlier runs, if there are any.
    pub(crate) fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_default();
        let row = |line: &str| {
            let mut cells = line.split('\t').map(str::to_owned);
            Some((cells.next()?, [cells.next()?, cells.next()?, cells.next()?]))
        };
        Self(text.lines().filter_map(row).collect())
    }

    pub(crate) fn write(&self, path: &Path) -> std::io::Result<()> {
        let lines = self.0.iter().map(|(name, cells)| format!("{name}\t{}\n", cells.join("\t")));
        fs::write(path, lines.collect::<String>())
    }

    pub(crate) fn set(&mut self, fault: &Fault, noticed: &Noticed, recordings: Option<bool>) {
        let (suite, what) = match noticed {
            Noticed::Scenario(name, said) => {
                let name = name.strip_prefix("scenarios/").unwrap_or(name);
                ("scenarios", format!("`{}`: {}", name.trim_end_matches(".ron"), short(said)))
            }
            Noticed::Generator(kernel, kind, seed) => {
                ("generator", format!("`{kind}`, {kernel}, seed {seed}"))
            }
            Noticed::Broken(why) => ("broken", (*why).to_owned()),
            Noticed::Nothing => ("escaped", String::new()),
        };
        let before = self.0.get(&fault.slug).map_or("", |cells| cells[2].as_str());
        let recordings = match recordings {
            Some(true) => "yes",
            Some(false) => "no",
            None => before,
        };
        let recordings = recordings.to_owned();
        self.0.insert(fault.slug.clone(), [suite.to_owned(), what, recordings]);
    }

    /// Takes what a page says of the faults that were not run now, so that a run of some leaves the others' rows as they are.
    pub(crate) fn keep_of_page(
        &mut self,
        page: &Path,
        faults: &[Fault],
        run: &[&Fault],
    ) -> Result<(), String> {
        let text =
            fs::read_to_string(page).map_err(|error| format!("cannot read {}: {error}", page.display()))?;
        for line in text.lines().skip_while(|line| *line != BEGIN).take_while(|line| *line != END) {
            let Some((number, cells)) = row_of(line) else { continue };
            let known = faults.iter().find(|fault| fault.number == number);
            if let Some(fault) = known.filter(|fault| run.iter().all(|run| run.number != fault.number)) {
                self.0.insert(fault.slug.clone(), cells);
            }
        }
        Ok(())
    }

    pub(crate) fn table(&self, faults: &[Fault]) -> Table {
        let mut table =
            Table { rows: Vec::new(), noticed: 0, broken: 0, recordings: 0, compared: 0, escaped: 0 };
        for fault in faults {
            let Some([suite, what, recordings]) = self.0.get(&fault.slug) else { continue };
            match suite.as_str() {
                "escaped" => table.escaped += 1,
                "broken" => table.broken += 1,
                _ => table.noticed += 1,
            }
            table.recordings += usize::from(recordings == "yes");
            table.compared += usize::from(!recordings.is_empty());
            let file = fault.file.trim_start_matches("models/").trim_end_matches(".rs").replacen("src/", "", 1);
            table.rows.push(format!(
                "| {} | {} | `{file}` | {suite} | {what} | {recordings} |",
                fault.number,
                fault.sentence.trim_end_matches('.')
            ));
        }
        table
    }
}

/// The number of a row of the table, and what was found out: the last three cells.
fn row_of(line: &str) -> Option<(u32, [String; 3])> {
    let line = line.strip_prefix("| ")?.strip_suffix('|')?;
    let cells: Vec<&str> = line.split(" | ").collect();
    let (number, found) = (cells.first()?.parse().ok()?, cells.get(3..)?);
    let (suite, what) = (found.first()?, found.get(1)?);
    let recordings = found.get(2).unwrap_or(&"");
    Some((number, [suite, what, recordings].map(|cell| cell.trim().to_owned())))
}

/// A remark in a few words: what kind was found, or not.
fn short(said: &str) -> String {
    let said = said.replace('|', "\\|");
    let kind = |text: &str| text.split_whitespace().next().unwrap_or_default().to_owned();
    if let Some((_, found)) = said.split_once("first in seed ").and_then(|(_, rest)| rest.split_once(": ")) {
        return format!("`{}`", kind(found));
    }
    match said.rsplit_once(": ") {
        Some((_, missing)) if said.starts_with("expected") => format!("no `{}`", kind(missing)),
        _ => said,
    }
}

/// What is to be shown.
pub(crate) struct Table {
    rows: Vec<String>,
    noticed: usize,
    broken: usize,
    recordings: usize,
    /// With how many faults the recordings were compared at all.
    compared: usize,
    escaped: usize,
}

impl Table {
    /// The share of faults that are noticed. A program that breaks is noticed, but not by anything of ours.
    pub(crate) fn share(&self) -> String {
        let all = self.rows.len();
        let percent = 100.0 * self.noticed as f64 / all.max(1) as f64;
        let recordings = match self.compared {
            0 => String::new(),
            compared => format!(" The recordings notice {} of {compared}.", self.recordings),
        };
        format!(
            "{} of {all} faults ({percent:.1} %) are noticed by the scenarios and the generator, {} break the simulator \
             itself, {} escape.{recordings}",
            self.noticed, self.broken, self.escaped
        )
    }

    /// Puts the table into a page, in the place of the one that is there.
    pub(crate) fn put_into(&self, page: &Path) -> Result<(), String> {
        let text =
            fs::read_to_string(page).map_err(|error| format!("cannot read {}: {error}", page.display()))?;
        let parts = text.split_once(BEGIN).and_then(|(head, rest)| Some((head, rest.split_once(END)?.1)));
        let (head, tail) = parts.ok_or_else(|| format!("{} has no place for the table", page.display()))?;
        let rows = self.rows.join("\n");
        let share = self.share();
        let columns = "| no. | fault | file | noticed by | as | recordings |\n|---|---|---|---|---|---|";
        let text = format!("{head}{BEGIN}\n\n{share}\n\n{columns}\n{rows}\n\n{END}{tail}");
        fs::write(page, text).map_err(|error| format!("cannot write {}: {error}", page.display()))
    }
}
