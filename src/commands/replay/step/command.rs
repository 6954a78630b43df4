//! What may be typed.

use models::scenario::nearest;
use reports::state::View;

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Forward(u64),
    Back(u64),
    Goto(Place),
    Context { name: String, back: bool },
    Access { object: String, back: bool },
    Show(Vec<View>),
    Object(String),
    History(String),
    Where,
    Help(Option<String>),
    Quit,
}

/// A place in the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Step(u64),
    Start,
    End,
    /// The n-th from 1, or the next one.
    Finding(Option<usize>),
}

/// Name, short name, what follows it, what it does.
const COMMANDS: [(&str, &str, &str, &str); 15] = [
    ("step", "s", "[N]", "forward by N steps [default: 1]"),
    ("back", "b", "[N]", "backward by N steps [default: 1]"),
    ("next", "n", "CONTEXT", "to the next step of a context"),
    ("previous", "p", "CONTEXT", "to the previous step of a context"),
    ("access", "a", "OBJECT", "to the next step that touches an object"),
    ("before", "ba", "OBJECT", "to the previous step that touches an object"),
    ("finding", "f", "[N]", "to the next finding, or to the N-th"),
    ("start", "", "", "to the start of the run, before its first step"),
    ("end", "", "", "to the end of the run"),
    ("goto", "g", "STEP", "to a step, by its number"),
    ("show", "v", "VIEW...", "the machine here: memblock, swiotlb, iommu, devices, locks, contexts, all"),
    ("object", "o", "OBJECT", "an object: its fields, who allocated and freed it, who points at it"),
    ("history", "h", "OBJECT", "the steps that touch an object"),
    ("where", "w", "", "this step, and the next one"),
    ("help", "?", "[COMMAND]", "this list, or a line of it"),
];

/// The list of commands, or one line of it.
pub(super) fn help(topic: Option<&str>) -> String {
    let shown = |name: &str, short: &str| topic.is_none_or(|topic| topic == name || topic == short);
    let mut text = String::new();
    for (name, short, rest, what) in COMMANDS.iter().filter(|(name, short, ..)| shown(name, short)) {
        let call = format!("{name} {rest}");
        text.push_str(&format!("  {call:<20} {short:<3} {what}\n"));
    }
    if text.is_empty() {
        return format!("{}\n", unknown(topic.unwrap_or_default()));
    }
    if topic.is_none() {
        text.push_str("  quit                 q   (so does the end of the input)\n");
        text.push_str(
            "OBJECT is an address, a name as the steps show it (struct io_tlb_mem.lock), the name of a\n",
        );
        text.push_str(
            "type, or of one object of it (struct device#2). CONTEXT is a name or the start of one.\n",
        );
    }
    text
}

fn unknown(word: &str) -> String {
    let names = COMMANDS.iter().map(|(name, ..)| *name).chain(["quit"]);
    let near = nearest(word, names)
        .map_or_else(|| "`help` lists what there is".to_owned(), |near| format!("did you mean `{near}`?"));
    format!("there is no command `{word}`; {near}")
}

impl Command {
    /// Reads a line; an empty one asks for nothing.
    pub(super) fn parse(line: &str) -> Result<Option<Self>, String> {
        let line = line.trim();
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        if word.is_empty() {
            return Ok(None);
        }
        if ["quit", "q", "exit"].contains(&word) {
            return Ok(Some(Self::Quit));
        }
        let known =
            COMMANDS.iter().find(|(name, short, ..)| *name == word || (*short == word && !short.is_empty()));
        let Some((name, _, wants, _)) = known else { return Err(unknown(word)) };
        let needed = |what: &str| {
            if rest.is_empty() {
                Err(format!("`{name}` wants {what}: {name} {wants}"))
            } else {
                Ok(rest.to_owned())
            }
        };
        if wants.is_empty() && !rest.is_empty() {
            return Err(format!("`{name}` wants nothing behind it, and finds `{rest}`"));
        }
        Ok(Some(match *name {
            "step" => Self::Forward(count(name, rest)?.unwrap_or(1)),
            "back" => Self::Back(count(name, rest)?.unwrap_or(1)),
            "next" => Self::Context { name: needed("the name of a context")?, back: false },
            "previous" => Self::Context { name: needed("the name of a context")?, back: true },
            "access" => Self::Access { object: needed("an object")?, back: false },
            "before" => Self::Access { object: needed("an object")?, back: true },
            "finding" => Self::Goto(Place::Finding(
                count(name, rest)?.map(|nth| usize::try_from(nth).unwrap_or(usize::MAX)),
            )),
            "start" => Self::Goto(Place::Start),
            "end" => Self::Goto(Place::End),
            "goto" => {
                needed("the number of a step")?;
                Self::Goto(Place::Step(count(name, rest)?.unwrap_or(0)))
            }
            "show" => Self::Show(views(&needed("a view")?)?),
            "object" => Self::Object(needed("an object")?),
            "history" => Self::History(needed("an object")?),
            "where" => Self::Where,
            _ => Self::Help((!rest.is_empty()).then(|| rest.to_owned())),
        }))
    }
}

fn count(name: &str, text: &str) -> Result<Option<u64>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let number = text.replace('_', "").parse();
    number.map(Some).map_err(|_| format!("`{name}` wants a number, and finds `{text}`"))
}

fn views(text: &str) -> Result<Vec<View>, String> {
    let mut views = Vec::new();
    for word in text.split([',', ' ']).filter(|word| !word.is_empty()) {
        match View::of(word) {
            Some(view) => views.push(view),
            None if word == "all" => views.extend(View::ALL),
            None => {
                let names = View::ALL.map(View::name);
                let near =
                    nearest(word, names).map_or_else(String::new, |near| format!("did you mean `{near}`? "));
                return Err(format!("there is no view `{word}`; {near}there are: {}, all", names.join(", ")));
            }
        }
    }
    Ok(views)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_understood_or_corrected() {
        let parse = |line| Command::parse(line).map(|command| command.expect("not empty"));
        assert_eq!(Command::parse("  "), Ok(None));
        assert_eq!(parse("s"), Ok(Command::Forward(1)));
        assert_eq!(parse("step 1_000"), Ok(Command::Forward(1000)));
        assert_eq!(parse("b 2"), Ok(Command::Back(2)));
        assert_eq!(parse("goto 7"), Ok(Command::Goto(Place::Step(7))));
        assert_eq!(parse("f"), Ok(Command::Goto(Place::Finding(None))));
        let access = Command::Access { object: "struct io_tlb_mem.lock".to_owned(), back: false };
        assert_eq!(parse("a  struct io_tlb_mem.lock "), Ok(access));
        assert_eq!(parse("show locks, contexts"), Ok(Command::Show(vec![View::Locks, View::Contexts])));
        for (line, part) in [
            ("stpe", "did you mean `step`?"),
            ("xyzzy", "`help` lists what there is"),
            ("step x", "`step` wants a number, and finds `x`"),
            ("step -1", "wants a number"),
            ("step 99999999999999999999", "wants a number"),
            ("goto", "goto STEP"),
            ("next", "`next` wants the name of a context"),
            ("show loks", "did you mean `locks`?"),
            ("end 3", "wants nothing behind it"),
        ] {
            let why = Command::parse(line).expect_err("no command");
            assert!(why.contains(part), "{line}: {why}");
        }
    }

    #[test]
    fn every_command_of_the_list_is_one() {
        for (name, short, wants, _) in COMMANDS {
            let rest = if wants.is_empty() || wants.starts_with('[') { "" } else { " 1" };
            let rest = if name == "show" { " all" } else { rest };
            let long = Command::parse(&format!("{name}{rest}")).expect("it is known");
            if !short.is_empty() {
                assert_eq!(Command::parse(&format!("{short}{rest}")), Ok(long));
            }
            assert!(help(Some(name)).contains(wants));
        }
        assert!(help(Some("stpe")).contains("did you mean `step`?"));
    }
}
