//! Files that are pipes: what is waited for is said, and Ctrl-C ends it; what a shell passes is read.

#![cfg(unix)]

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

use crate::support::Folder;

const WAITS: [&[&str]; 5] = [
    &["import", "fifo"],
    &["conform", "fifo"],
    &["merge", "fifo"],
    &["replay", "good.ron", "--token-file", "fifo"],
    &["size", "--from-trace", "fifo"],
];

fn with_fifo() -> Folder {
    let folder = Folder::new();
    let made = Command::new("mkfifo").arg(folder.path().join("fifo")).status().expect("mkfifo runs");
    assert!(made.success());
    folder
}

#[test]
fn a_pipe_that_nobody_writes_to_is_named_and_ctrl_c_ends_it() {
    let folder = with_fifo();
    for words in WAITS {
        let mut child = folder.spawn(words);
        let mut line = String::new();
        let mut errors = BufReader::new(child.stderr.take().expect("it is piped"));
        errors.read_line(&mut line).expect("text");
        assert_eq!(line, "reading fifo, which is a pipe, until its writer closes it\n", "{words:?}");
        let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
        let status = child.wait().expect("it ends");
        // A shell says 130 to both.
        assert!(status.code() == Some(130) || status.signal() == Some(2), "{words:?}: {status}");
    }
}

#[test]
fn what_a_shell_passes_as_a_pipe_is_read() {
    let folder = Folder::new();
    let state = Command::new("bash")
        .current_dir(folder.path())
        .args([
            "-c",
            &format!("{} replay good.ron --token-file <(echo nothing)", env!("CARGO_BIN_EXE_dmasim")),
        ])
        .output()
        .expect("bash runs");
    assert_eq!(state.status.code(), Some(2), "{state:?}");
    assert!(String::from_utf8_lossy(&state.stderr).contains("token"), "{state:?}");
}
