//! The dmasim command: arguments in, text out, an exit code.

mod args;
mod campaign;
mod commands;
mod expect;
mod explain;
mod input;
mod interrupt;
mod keep;
mod output;
mod pipe;
mod regression;
mod report;
mod state;
mod stopwatch;
mod token;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let cli = args::Cli::try_parse().unwrap_or_else(|error| args::with_nearest(error).exit());
    let mut out = output::Out::new(cli.color, cli.quiet);
    let exit = match commands::dispatch(&cli, &mut out) {
        Ok(exit) => exit,
        Err(failure) => {
            failure.show(&mut out);
            commands::Exit::Unusable
        }
    };
    // What was promised on standard output and could not be written is an error, unless the reader went away.
    let exit = if out.finish() { exit } else { commands::Exit::Unusable };
    ExitCode::from(exit.code())
}
