//! What each operation is called and takes: the tables that recordings are checked against.

use models::scenario::nearest;

/// The most CPUs that a kernel can be built for (`CONFIG_NR_CPUS` with `MAXSMP`).
pub(super) const MAX_CPUS: u64 = 8192;
/// Physical addresses have 52 bits.
pub(super) const MAX_PHYS: u64 = (1 << 52) - 1;
/// No operation on memory moves more bytes.
pub(super) const MAX_BYTES: u64 = 16 << 20;
/// A string among the arguments is no longer.
const MAX_TEXT: usize = 256;

/// Which values an argument can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A whole number from 0 to this one.
    UpTo(u64),
    /// A whole number from -1 to this one.
    Node(u64),
    /// A power of two.
    PowerOfTwo,
    /// A string.
    Text,
}

/// One argument of an operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Param {
    /// What messages call it.
    pub(super) name: &'static str,
    /// Which values it can have.
    pub(super) form: Form,
}

/// Any 64-bit number.
pub(super) const fn num(name: &'static str) -> Param {
    up_to(name, u64::MAX)
}

/// A number with a bound.
pub(super) const fn up_to(name: &'static str, most: u64) -> Param {
    Param { name, form: Form::UpTo(most) }
}

/// 0 or 1.
pub(super) const fn switch(name: &'static str) -> Param {
    up_to(name, 1)
}

/// A node, or -1.
pub(super) const fn node(name: &'static str) -> Param {
    Param { name, form: Form::Node(i32::MAX as u64) }
}

/// One operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spec {
    /// Its name in recordings.
    pub(super) name: &'static str,
    /// What it takes, in this order.
    pub(super) params: &'static [Param],
    /// What it has to do with the subject of a sequence.
    pub(super) role: Role,
    /// It exists in 6.12 only.
    pub(super) new: bool,
}

/// What an operation has to do with the subject of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Makes it.
    Makes,
    /// Works on it.
    Uses,
    /// Can come before it.
    Prepares,
}

/// An operation that works on the subject.
pub(super) const fn op(name: &'static str, params: &'static [Param]) -> Spec {
    Spec { name, params, role: Role::Uses, new: false }
}

impl Spec {
    /// It makes the subject.
    pub(super) const fn makes(self) -> Self {
        Self { role: Role::Makes, ..self }
    }

    /// It can come before the subject is made.
    pub(super) const fn prepares(self) -> Self {
        Self { role: Role::Prepares, ..self }
    }

    /// It exists in 6.12 only.
    pub(super) const fn new_kernel(self) -> Self {
        Self { new: true, ..self }
    }

    /// The operation with what it takes: `add [base, size]`.
    pub(super) fn usage(&self) -> String {
        let names: Vec<&str> = self.params.iter().map(|param| param.name).collect();
        format!("{} [{}]", self.name, names.join(", "))
    }
}

/// The value of an argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Arg {
    /// A number.
    Num(u64),
    /// A number that may be -1.
    Signed(i64),
    /// A string.
    Text(String),
}

/// The arguments of one operation, checked against its [`Spec`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Args(pub(super) Vec<Arg>);

/// A mistake of the tables and not of a recording: every argument was checked against its form.
const MISMATCH: &str = "the table of operations and their code disagree";

impl Args {
    /// The number at `index`.
    pub(super) fn num(&self, index: usize) -> u64 {
        match self.0.get(index) {
            Some(Arg::Num(value)) => *value,
            _ => unreachable!("{MISMATCH}"),
        }
    }

    /// The number at `index`, which its form keeps below 2^32.
    pub(super) fn small(&self, index: usize) -> u32 {
        match u32::try_from(self.num(index)) {
            Ok(value) => value,
            Err(_) => unreachable!("{MISMATCH}"),
        }
    }

    /// Whether the number at `index` is not 0.
    pub(super) fn flag(&self, index: usize) -> bool {
        self.num(index) != 0
    }

    /// The node at `index`.
    pub(super) fn node(&self, index: usize) -> i32 {
        match self.0.get(index) {
            Some(Arg::Signed(value)) => i32::try_from(*value).unwrap_or(i32::MAX),
            _ => unreachable!("{MISMATCH}"),
        }
    }

    /// The string at `index`.
    pub(super) fn text(&self, index: usize) -> &str {
        match self.0.get(index) {
            Some(Arg::Text(text)) => text,
            _ => unreachable!("{MISMATCH}"),
        }
    }
}

/// Finds an operation; the error says what may have been meant.
pub(super) fn find(
    table: &'static [Spec],
    kind: &str,
    name: &str,
    new: bool,
) -> Result<&'static Spec, String> {
    match table.iter().find(|spec| spec.name == name) {
        Some(spec) if spec.new && !new => {
            Err(format!("`{name}` is an operation of 6.12, and this sequence is of 6.1"))
        }
        Some(spec) => Ok(spec),
        None => {
            let help = match nearest(name, table.iter().map(|spec| spec.name)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => {
                    let names: Vec<&str> = table.iter().map(|spec| spec.name).collect();
                    format!("there are {}", names.join(", "))
                }
            };
            Err(format!("{kind} has no operation {}; {help}", quoted(name)))
        }
    }
}

/// Reads one argument from its JSON text; the error says what was found and what is allowed.
pub(super) fn argument(param: &Param, json: &str) -> Result<Arg, String> {
    let found = shortened(json, MAX_QUOTED);
    let wrong = |wanted: String| Err(format!("`{}` is {found}, and {wanted} is expected", param.name));
    match param.form {
        Form::UpTo(1) => match json {
            "0" => Ok(Arg::Num(0)),
            "1" => Ok(Arg::Num(1)),
            _ => wrong("0 or 1".to_owned()),
        },
        Form::UpTo(most) => match json.parse::<u64>() {
            Ok(value) if value <= most => Ok(Arg::Num(value)),
            _ => wrong(format!("a whole number from 0 to {most}")),
        },
        Form::Node(most) => match json.parse::<i64>() {
            Ok(value) if value >= -1 && value <= most.cast_signed() => Ok(Arg::Signed(value)),
            _ => wrong(format!("a whole number from -1 to {most}")),
        },
        Form::PowerOfTwo => match json.parse::<u64>() {
            Ok(value) if value.is_power_of_two() => Ok(Arg::Num(value)),
            _ => wrong("a power of two".to_owned()),
        },
        Form::Text => match serde_json::from_str::<String>(json) {
            Ok(text) if text.len() <= MAX_TEXT => Ok(Arg::Text(text)),
            Ok(_) => wrong(format!("a string of at most {MAX_TEXT} bytes")),
            Err(_) => wrong("a string".to_owned()),
        },
    }
}

/// A name from a file, in quotes, with nothing in it that a terminal would obey.
pub(super) fn quoted(name: &str) -> String {
    format!("`{}`", shortened(name, MAX_QUOTED))
}

/// So much of what a file says is repeated in a message.
pub(super) const MAX_QUOTED: usize = 60;

/// The first `most` characters of something from a file, with nothing in it that a terminal would obey.
pub(super) fn shortened(text: &str, most: usize) -> String {
    let plain = |c: char| if c == ' ' || c.is_ascii_graphic() { c } else { '?' };
    let mut short: String = text.chars().take(most).map(plain).collect();
    if text.chars().nth(most).is_some() {
        short.push_str("...");
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[Spec] = &[op("add", &[num("base")]), op("trim", &[]).new_kernel()];

    #[test]
    fn an_unknown_operation_is_answered_with_the_nearest() {
        let error = |name, new| find(TABLE, "x", name, new).err().unwrap_or_default();
        assert_eq!(error("ad", true), "x has no operation `ad`; did you mean `add`?");
        assert_eq!(error("\u{1b}[2J", true), "x has no operation `?[2J`; there are add, trim");
        assert_eq!(error("trim", true), "");
        assert!(error("trim", false).contains("an operation of 6.12"));
    }

    #[test]
    fn arguments_are_what_their_form_says() {
        let take = |form, json| argument(&Param { name: "n", form }, json);
        assert_eq!(take(Form::UpTo(u64::MAX), "18446744073709551615"), Ok(Arg::Num(u64::MAX)));
        for wrong in ["18446744073709551616", "-1", "1.0", "1e3", "\"1\"", "null", "[1]"] {
            assert!(take(Form::UpTo(u64::MAX), wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            take(Form::UpTo(7), "8").err().unwrap_or_default(),
            "`n` is 8, and a whole number from 0 to 7 is expected"
        );
        assert_eq!(take(Form::Node(9), "-1"), Ok(Arg::Signed(-1)));
        assert!(take(Form::Node(9), "-2").is_err() && take(Form::Node(9), "10").is_err());
        assert!(take(Form::PowerOfTwo, "0").is_err() && take(Form::PowerOfTwo, "48").is_err());
        assert_eq!(take(Form::PowerOfTwo, "64"), Ok(Arg::Num(64)));
        assert_eq!(take(Form::Text, "\"a\\u0041\""), Ok(Arg::Text("aA".to_owned())));
        assert!(take(Form::Text, "7").is_err());
        assert!(take(Form::Text, &format!("\"{}\"", "x".repeat(300))).is_err());
    }
}
