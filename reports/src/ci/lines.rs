//! JSON lines: one object for each scenario, for whoever reads results as they come.

use crate::json::{TestJson, line};

/// One line of JSON for each scenario or variant.
///
/// # Errors
/// None in practice: every type here can be written.
pub fn lines(result: &TestJson) -> Result<String, String> {
    let mut out = String::new();
    for tested in &result.scenarios {
        out.push_str(&line(tested).map_err(|error| error.to_string())?);
        out.push('\n');
    }
    Ok(out)
}
