//! What a comparison found.

/// How far a recording and the models agree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What was recorded, such as `memblock vectors` or `boot log`.
    pub kind: String,
    /// The kernel whose rules the models followed.
    pub version: String,
    /// How much there was, such as `("sequences", 420)`, for the headline.
    pub counts: Vec<(String, u64)>,
    /// What was compared, in the order in which it is to be shown.
    pub rows: Vec<Row>,
    /// Every result that differs.
    pub exceptions: Vec<Exception>,
    /// What was not compared, and why: one line each, such as "12 lines of kprobes: no model".
    pub notes: Vec<String>,
}

/// The comparisons of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What was compared, such as the name of an operation or `memblock allocations`.
    pub name: String,
    /// How many results agree.
    pub agreed: u64,
    /// How many results were compared.
    pub total: u64,
}

/// One result that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// The line of the recording, from 1.
    pub line: u64,
    /// What was asked, in the words of the recording.
    pub what: String,
    /// What the kernel answered.
    pub recorded: String,
    /// What the model answered.
    pub modelled: String,
    /// Why, if the tool can tell; for instance that the recording does not determine this result.
    pub why: Option<String>,
    /// More for a reader who looks into it: state before, the shrunk sequence.
    pub detail: Vec<String>,
}

impl Report {
    /// An empty report.
    #[must_use]
    pub fn new(kind: &str, version: &str) -> Self {
        Self { kind: kind.to_owned(), version: version.to_owned(), ..Self::default() }
    }

    /// Counts one comparison under `name`.
    pub fn count(&mut self, name: &str, agreed: bool) {
        let row = match self.rows.iter_mut().position(|row| row.name == name) {
            Some(index) => &mut self.rows[index],
            None => {
                self.rows.push(Row { name: name.to_owned(), agreed: 0, total: 0 });
                self.rows.last_mut().expect("a row was just added")
            }
        };
        row.total += 1;
        row.agreed += u64::from(agreed);
    }

    /// How many results agree, and how many were compared.
    #[must_use]
    pub fn totals(&self) -> (u64, u64) {
        self.rows.iter().fold((0, 0), |(agreed, total), row| (agreed + row.agreed, total + row.total))
    }

    /// Whether something was compared and everything agrees.
    #[must_use]
    pub fn agrees(&self) -> bool {
        let (agreed, total) = self.totals();
        total > 0 && agreed == total
    }
}
