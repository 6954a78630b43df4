//! Results for programs that gate changes: each format as its readers define it.
//!
//! All are made of a [`TestJson`](crate::json::TestJson), which is what `dmasim test` prints: a result that was written once can be turned into
//! each of them later. None holds the time that a test took: results of parts are joined to exactly what one run would
//! have given.

mod github;
mod junit;
mod ktap;
mod lines;
mod sarif;

pub use github::github;
pub use junit::junit;
pub use ktap::ktap;
pub use lines::lines;
pub use sarif::sarif;

use crate::json::TestedJson;

/// What speaks against a scenario, in one text; what it shows, if nobody has said more.
fn why(tested: &TestedJson) -> String {
    if !tested.remarks.is_empty() {
        return tested.remarks.join("\n");
    }
    match tested.result.as_str() {
        "unusable" => "the scenario cannot be read".to_owned(),
        _ => "not as expected".to_owned(),
    }
}

/// The file of a scenario, without its variant.
fn file(tested: &TestedJson) -> &str {
    tested.scenario.split_once('#').map_or(tested.scenario.as_str(), |(file, _)| file)
}

/// One line on what was run: the same in every format.
fn ran(tested: &TestedJson) -> String {
    let digest = if tested.digest.is_empty() { "none" } else { &tested.digest };
    format!("{} seeds, digest {digest}", tested.seeds)
}
