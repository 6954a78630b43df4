//! What became of a whole file.

use crate::report::Report;
use crate::source::SourceError;

/// The reports on one file, and why it could not be read to its end, if so.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What was compared: one report for each kind of recording and kernel in the file.
    pub reports: Vec<Report>,
    /// Why the rest could not be read.
    pub error: Option<SourceError>,
}

impl Outcome {
    /// Whether the file could be used to its end, something was compared, and everything agrees.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.error.is_none() && !self.reports.is_empty() && self.reports.iter().all(Report::agrees)
    }
}

impl From<Result<Report, SourceError>> for Outcome {
    fn from(result: Result<Report, SourceError>) -> Self {
        match result {
            Ok(report) => Self { reports: vec![report], error: None },
            Err(error) => Self { reports: Vec::new(), error: Some(error) },
        }
    }
}
