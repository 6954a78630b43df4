//! The kernel: versions, behaviours and configuration that must exist.

use super::super::index::Seg;
use super::Checker;
use crate::cmdline::{CommandLine, parameters};
use crate::nearest;
use crate::profile::{Behaviour, CONFIG_NAMES, Place, Profile, ProfileProblem, Version};
use schema::Kernel;

/// The profile that a kernel describes.
pub(in super::super) fn profile_of(kernel: &Kernel) -> Result<Profile, Vec<ProfileProblem>> {
    Profile::new(&kernel.version, &kernel.apply, &kernel.revert, &kernel.config)
}

pub(super) fn check(checker: &mut Checker<'_>, kernel: &Kernel) {
    match profile_of(kernel) {
        Ok(profile) => {
            if !profile.version.supported() {
                let message = format!("kernel {} is known, but not modelled", profile.version);
                checker.error_help(&[Seg::Field("version")], message, versions());
            }
            for i in profile.unknown_config {
                let line = kernel.config.get(i).map_or("", String::as_str);
                let name = line.split_once('=').map_or(line, |l| l.0);
                let help = match nearest(name, CONFIG_NAMES.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => String::new(),
                };
                let at = [Seg::Field("config"), Seg::Index(i)];
                checker.warn(&at, format!("`{name}` decides nothing here"), help);
            }
        }
        Err(problems) => {
            for problem in problems {
                let at = match problem.place() {
                    Place::Version => vec![Seg::Field("version")],
                    Place::Apply(i) => vec![Seg::Field("apply"), Seg::Index(i)],
                    Place::Revert(i) => vec![Seg::Field("revert"), Seg::Index(i)],
                    Place::Config(i) => vec![Seg::Field("config"), Seg::Index(i)],
                };
                checker.error_help(&at, problem.to_string(), help(&problem));
            }
        }
    }
}

/// Words of a command line that do not do what they look like.
pub(super) fn command_line(checker: &mut Checker<'_>, text: &str, version: Version) {
    if text.contains('\0') {
        checker.error(&[], "a command line holds no NUL");
    }
    let line = CommandLine::parse(text, version);
    for note in &line.notes {
        checker.warn(&[], note.to_string(), "");
    }
    for word in &line.unknown {
        let name = word.split('=').next().unwrap_or(word);
        if let Some(near) = nearest(name, parameters()) {
            let help = format!("did you mean `{near}`? the kernel hands unknown words to user space");
            checker.warn(&[], format!("no parameter `{name}` is known here"), help);
        }
    }
}

fn versions() -> String {
    let names: Vec<String> = Version::supported_names().map(|n| format!("`{n}`")).collect();
    format!("allowed: {}", names.join(", "))
}

fn help(problem: &ProfileProblem) -> String {
    match problem {
        ProfileProblem::UnknownName { place, nearest, .. } => {
            let all = match place {
                Place::Version => versions(),
                _ => {
                    let names: Vec<String> = Behaviour::ALL.iter().map(|b| format!("`{b}`")).collect();
                    format!("allowed: {}", names.join(", "))
                }
            };
            nearest.map_or_else(|| all.clone(), |near| format!("did you mean `{near}`? {all}"))
        }
        ProfileProblem::Conflict { .. } => String::new(),
        ProfileProblem::MalformedConfig { .. } => {
            "as in `CONFIG_SWIOTLB=y` or `CONFIG_NR_CPUS=64`".to_owned()
        }
    }
}
