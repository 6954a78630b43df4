//! What somebody types who means no good: every answer comes soon, names the place, and exits with 2.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use assert_cmd::cargo::CommandCargoExt as _;

use crate::support::{Folder, STARTER};

fn bytes(folder: &Folder, name: &str, content: &[u8]) {
    std::fs::write(folder.path().join(name), content).expect("a file");
}

#[test]
fn files_that_are_no_text_say_where() {
    let folder = Folder::new();
    let latin: Vec<u8> = STARTER.bytes().map(|byte| if byte == b'@' { 0xef } else { byte }).collect();
    let at = STARTER.find("disk").expect("it has one");
    let mut cut = latin[..at].to_vec();
    cut.push(0xef);
    cut.extend(&latin[at..]);
    bytes(&folder, "latin.ron", &cut);
    let line = STARTER[..at].lines().count();
    for words in
        [&["run", "latin.ron"][..], &["scenario", "check", "latin.ron"], &["diff", "good.ron", "latin.ron"]]
    {
        folder.dmasim(words).exits(2).complains(&["latin.ron", &format!("line {line},"), "0xef is no UTF-8"]);
    }
    folder.dmasim(&["merge", "latin.ron"]).exits(2).complains(&["latin.ron", &format!("line {line},")]);
    bytes(&folder, "empty.ron", b" \n");
    folder.dmasim(&["run", "empty.ron"]).exits(2).complains(&[
        "empty.ron",
        "the file is empty",
        "scenario new",
    ]);
    let marked = [b"\xef\xbb\xbf", STARTER.as_bytes()].concat();
    bytes(&folder, "marked.ron", &marked);
    folder.dmasim(&["scenario", "check", "marked.ron"]).exits(0);
}

/// Seen to fail: the whole line was printed, a megabyte of it.
#[test]
fn a_million_brackets_are_not_printed_again() {
    let folder = Folder::new();
    for open in ["(", "[", "(about: Some("] {
        folder.write("deep.ron", &open.repeat(1_000_000 / open.len()));
        let done = folder.dmasim(&["run", "deep.ron"]).exits(2);
        assert!(done.stderr.len() < 2_000, "{} bytes", done.stderr.len());
        done.complains(&["deep.ron:1:", "nest deeper than", "^"]);
    }
}

/// Seen to fail: two commands read them until memory was used up.
#[test]
#[cfg(unix)]
fn files_without_an_end_are_refused() {
    let folder = Folder::new();
    for words in [
        &["run", "/dev/zero"][..],
        &["merge", "/dev/zero"],
        &["replay", "good.ron", "--token-file", "/dev/zero"],
        &["shrink", "good.ron", "--token-file", "/dev/zero"],
        &["import", "/dev/zero"],
        &["conform", "/dev/zero"],
    ] {
        folder.dmasim(words).exits(2).complains(&["/dev/zero"]);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_disk_that_is_full_is_told() {
    let folder = Folder::new();
    for kind in ["lkml", "html", "campaign", "junit", "ktap", "sarif", "jsonl", "perfetto", "dmesg"] {
        let report = format!("{kind}=/dev/full");
        folder
            .dmasim(&["run", "good.ron", "--seeds", "2", "--report", &report])
            .exits(2)
            .complains(&["/dev/full", "No space left"]);
    }
    folder
        .dmasim(&["run", "good.ron", "--report", "html=nowhere/page.html"])
        .exits(2)
        .complains(&["nowhere/page.html"]);
}

/// Nobody reads on: the command ends, without a word and without a panic.
#[test]
#[cfg(unix)]
fn a_reader_that_goes_away_is_no_error() {
    let folder = Folder::new();
    for words in [
        &["list", "behaviours"][..],
        &["run", "good.ron", "--seeds", "40"],
        &["replay", "good.ron", "--seed", "0", "--trace", "full"],
        &["help"],
    ] {
        let mut child = folder.spawn(words);
        let mut first = [0; 1];
        let mut stdout = child.stdout.take().expect("it is piped");
        let _ = stdout.read(&mut first);
        drop(stdout);
        let output = child.wait_with_output().expect("it ends");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!errors.contains("panicked"), "{words:?}: {errors}");
    }
}

#[test]
#[cfg(unix)]
fn words_that_are_no_text_are_refused() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let folder = Folder::new();
    let strange = OsStr::from_bytes(b"\xff\xfe");
    for verb in [
        "run", "replay", "test", "shrink", "bisect", "check", "diff", "save", "size", "import", "merge",
        "bugs", "list",
    ] {
        let output = Command::cargo_bin("dmasim")
            .expect("the command is built")
            .current_dir(folder.path())
            .arg(verb)
            .arg(strange)
            .stdin(Stdio::null())
            .output()
            .expect("it starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{verb}: {errors}");
        assert!(!errors.is_empty() && !errors.contains("panicked"), "{verb}: {errors}");
    }
}

#[test]
fn a_token_that_was_cut_is_refused() {
    let folder = Folder::new();
    folder.write(
        "bad.ron",
        &STARTER.replace(r#"Unmap(name: "data")"#, r#"Unmap(name: "data"), Unmap(name: "data")"#),
    );
    folder.dmasim(&["run", "bad.ron", "--seed", "0", "--save-token", "token", "--quiet"]);
    let token = std::fs::read_to_string(folder.path().join("token")).expect("something was found");
    let token = token.trim();
    for wrong in [&token[..token.len() / 2], &token[..token.len() - 1], "dmasim1.", "dmasim9.AAAA", "x", ""] {
        let mut file = std::fs::File::create(folder.path().join("cut")).expect("a file");
        file.write_all(wrong.as_bytes()).expect("it is written");
        folder.dmasim(&["replay", "bad.ron", "--token-file", "cut"]).exits(2);
        folder.dmasim(&["replay", "bad.ron", "--token", wrong]).exits(2);
    }
}
