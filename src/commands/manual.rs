//! `dmasim completions` and `dmasim man`: made from the arguments themselves.

use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;
use clap_mangen::Man;

use super::Exit;
use crate::args::Cli;
use crate::input::Failure;
use crate::output::Out;

pub(super) fn completions(shell: Shell, out: &mut Out) -> Result<Exit, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "dmasim", &mut text);
    print(&text, out)
}

pub(super) fn man(dir: Option<&Path>, out: &mut Out) -> Result<Exit, Failure> {
    match dir {
        None => {
            let mut text = Vec::new();
            let failed =
                |error: std::io::Error| Failure::text(format!("cannot lay out the manual page: {error}"));
            Man::new(Cli::command()).render(&mut text).map_err(failed)?;
            print(&text, out)
        }
        Some(dir) => {
            let failed =
                |error: std::io::Error| Failure::text(format!("cannot write to {}: {error}", dir.display()));
            std::fs::create_dir_all(dir).map_err(failed)?;
            clap_mangen::generate_to(Cli::command(), dir).map_err(failed)?;
            Ok(Exit::Expected)
        }
    }
}

fn print(text: &[u8], out: &mut Out) -> Result<Exit, Failure> {
    let text = std::str::from_utf8(text).map_err(|error| Failure::text(error.to_string()))?;
    out.text(text);
    Ok(Exit::Expected)
}
