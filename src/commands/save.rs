//! `dmasim save`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use reports::{WIDTH, ascii, wrap};

use super::Exit;
use crate::args::SaveArgs;
use crate::input::{Failure, Wanted, quoted, resolve};
use crate::output::Out;
use crate::regression::{Regression, make};
use crate::token;

pub(super) fn save(args: &SaveArgs, out: &mut Out) -> Result<Exit, Failure> {
    let token = token::read(args.origin.token.as_deref(), args.origin.token_file.as_deref())?;
    // Resolved once more below; here for its warnings, and for its errors before anything is run.
    resolve(&args.subject.scenario, &args.subject.kernel, out)?;
    if args.output.exists() {
        return Err(Failure::text(format!("{} exists already; it is left as it is", args.output.display())));
    }
    let scenario = seen_from(&args.subject.scenario, args.subject.kernel.variant.as_deref(), &args.output)?;
    let mut regression =
        Regression::new(scenario, &args.subject.kernel, &args.subject.engine, args.why.clone());
    regression.seed = args.origin.seed;
    regression.token = token.as_ref().map(sim::choices::Token::encode);
    let of_token = token.as_ref().map(|token| token.signature).filter(|hash| *hash != 0);
    let wanted = |finding: &sim::Finding| match (&args.signature, of_token) {
        (Some(text), _) => {
            format!("{:016x}", finding.signature_hash()) == *text
                || finding.signature().contains(text.as_str())
        }
        (None, Some(hash)) => finding.signature_hash() == hash,
        (None, None) => true,
    };
    let regression = make(regression, &args.output, wanted)?;
    if let Some(text) = &args.signature
        && regression.signature.is_empty()
    {
        return Err(Failure::text(format!(
            "the run shows no finding of signature \"{text}\"; nothing is kept"
        )));
    }
    if of_token.is_some() && args.signature.is_none() && regression.signature.is_empty() {
        return Err(Failure::text(
            "the run does not show the finding for which the token was recorded; nothing is kept\n  help: \
             --signature names another one that it shows",
        ));
    }
    write_new(&args.output, &regression.text(&comment(&regression)))?;
    let shows = if regression.signature.is_empty() { "a clean run" } else { regression.signature.as_str() };
    for line in wrap(&ascii(&format!("kept {shows}")), WIDTH) {
        out.line(&line);
    }
    let file = args.output.display().to_string();
    out.line(&format!("wrote {file}; `dmasim test {}` repeats it", quoted(&file)));
    Ok(Exit::Expected)
}

/// What stands at the head of the file.
fn comment(regression: &Regression) -> String {
    let text = if regression.why.is_empty() { "A run that is kept." } else { &regression.why };
    wrap(&ascii(text), WIDTH - 3).iter().map(|line| format!("// {line}\n")).collect()
}

fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::text(format!("cannot write {}: {error}", path.display()));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}

/// The path of a scenario as seen from the file `from`.
fn seen_from(scenario: &Path, variant: Option<&str>, from: &Path) -> Result<String, Failure> {
    let wanted = Wanted::of(scenario);
    let whole = |path: &Path| -> Result<PathBuf, Failure> {
        path.canonicalize()
            .map_err(|error| Failure::text(format!("there is no folder {}: {error}", path.display())))
    };
    let file = whole(&wanted.file)?;
    let folder = from.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = whole(folder)?;
    let common = file.components().zip(folder.components()).take_while(|(a, b)| a == b).count();
    let up = folder.components().skip(common).map(|_| "..".to_owned());
    let down = file.components().skip(common).map(|part| part.as_os_str().to_string_lossy().into_owned());
    let mut path = up.chain(down).collect::<Vec<_>>().join("/");
    if let Some(variant) = wanted.variant.as_deref().or(variant) {
        path.push_str(&format!("#{variant}"));
    }
    Ok(path)
}
