//! The nearest command to one that does not exist. `clap` looks for names that begin alike; people swap letters, too.

use clap::CommandFactory as _;
use clap::error::{ContextKind, ContextValue, Error};

use super::Cli;

/// The same error, and the command that was meant, if one is near.
pub(crate) fn with_nearest(mut error: Error) -> Error {
    if let Some(ContextValue::String(found)) = error.get(ContextKind::InvalidSubcommand)
        && let Some(near) = meant(found)
        && error.get(ContextKind::SuggestedSubcommand).is_none()
    {
        error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(vec![near]));
    }
    error
}

fn meant(found: &str) -> Option<String> {
    let command = Cli::command();
    let names = command.get_subcommands().map(clap::Command::get_name);
    models::scenario::nearest(found, names).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn swapped_letters_are_understood() {
        for (wrong, right) in [("rnu", "'run'"), ("repaly", "'replay'"), ("cehck", "'check'")] {
            let error = with_nearest(Cli::try_parse_from(["dmasim", wrong]).expect_err("no such command"));
            assert!(error.to_string().contains(right), "{error}");
        }
        let error = with_nearest(Cli::try_parse_from(["dmasim", "wireshark"]).expect_err("no such command"));
        assert!(!error.to_string().contains("similar"), "{error}");
    }
}
