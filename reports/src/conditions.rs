//! What a finding needs, as it was found out.

use models::shrink::{Condition, Conditions, Effect};

use crate::layout::{counted, paragraph, verbatim};

/// A group of conditions: its heading, how one of them is called, and which belong to it.
type Group = (&'static str, &'static str, fn(&Condition) -> bool);

const GROUPS: [Group; 4] = [
    ("on the command line", "word", |one| matches!(one, Condition::Word(_))),
    ("devices", "device", |one| matches!(one, Condition::Device(..))),
    ("what the kernel has", "behaviour that it has", |one| matches!(one, Condition::With(_))),
    ("what the kernel lacks", "behaviour that it lacks", |one| matches!(one, Condition::Without(_))),
];

/// Appends the paragraphs under the heading.
pub(crate) fn conditions(out: &mut String, all: &Conditions) {
    let seeds = counted(all.seeds.end - all.seeds.start, "seed");
    let how = format!(
        "Each was taken away by itself, the others being as they were, and the same choices run again, then {seeds}: {} in \
         all.",
        counted(all.runs, "run")
    );
    paragraph(out, "  ", &how);
    for (heading, _, belongs) in GROUPS {
        let mut first = true;
        for (condition, instead) in all.matter().filter(|(condition, _)| belongs(condition)) {
            if std::mem::take(&mut first) {
                out.push_str(&format!("  {heading}\n"));
            }
            verbatim(out, "    ", &name(condition));
            if let Condition::With(behaviour) | Condition::Without(behaviour) = condition {
                paragraph(out, "        ", behaviour.facts().what);
            }
            if let Some(signature) = instead {
                paragraph(out, "        ", &format!("otherwise: {signature}"));
            }
        }
    }
    let count = |effect: fn(&Effect) -> bool| {
        let words = GROUPS.iter().filter_map(|(_, word, belongs)| {
            let of_group = all.tried.iter().filter(|(one, what)| belongs(one) && effect(what)).count();
            let word = if of_group == 1 { (*word).to_owned() } else { plural(word) };
            (of_group > 0).then(|| format!("{of_group} {word}"))
        });
        words.collect::<Vec<_>>().join(", ")
    };
    if all.matter().next().is_none() {
        out.push_str("  None of them alone makes it go away.\n");
    }
    for (word, text) in [
        ("does not matter: ", count(|effect| *effect == Effect::Stays)),
        ("cannot be taken away: ", count(|effect| *effect == Effect::Needed)),
    ] {
        if !text.is_empty() {
            paragraph(out, "  ", &format!("{word}{text}"));
        }
    }
    if all.left > 0 {
        paragraph(out, "  ", &format!("not tried: {}, as that would take long (--conditions)", all.left));
    }
}

/// `word`, `words`; `behaviour that it has`, `behaviours that it has`.
fn plural(word: &str) -> String {
    match word.split_once(' ') {
        Some((noun, rest)) => format!("{noun}s {rest}"),
        None => format!("{word}s"),
    }
}

fn name(condition: &Condition) -> String {
    match condition {
        Condition::Word(word) => word.clone(),
        Condition::Device(bdf, None) => bdf.clone(),
        Condition::Device(bdf, Some(driver)) => format!("{bdf} ({driver})"),
        Condition::With(behaviour) | Condition::Without(behaviour) => {
            let facts = behaviour.facts();
            let commits = match facts.commits {
                [] => String::new(),
                commits => format!(" (commit {})", commits.join(", ")),
            };
            format!("{}{commits}", facts.name)
        }
    }
}
