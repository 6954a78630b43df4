//! A folder with scenarios of its own, and the command in it.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

/// The scenario that `dmasim scenario new` writes.
pub(crate) const STARTER: &str = include_str!("../../src/commands/starter.ron");

/// A folder that is gone when this is dropped.
pub(crate) struct Folder(TempDir);

impl Folder {
    /// With the starter in it, as `good.ron`.
    pub(crate) fn new() -> Self {
        let folder = Self(TempDir::new().expect("a temporary folder"));
        folder.write("good.ron", STARTER);
        folder
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().expect("it has a parent")).expect("a folder in it");
        std::fs::write(&path, text).expect("a file in it");
        path
    }

    /// `dmasim` with these words, started in the folder, and not waited for.
    pub(crate) fn spawn(&self, words: &[&str]) -> Child {
        std::process::Command::new(env!("CARGO_BIN_EXE_dmasim"))
            .current_dir(self.path())
            .args(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts")
    }

    /// `dmasim` with these words, started in the folder.
    pub(crate) fn dmasim(&self, words: &[&str]) -> Done {
        let output = Command::cargo_bin("dmasim")
            .expect("the command is built")
            .current_dir(self.path())
            .env_remove("NO_COLOR")
            .args(words)
            .output()
            .expect("it starts");
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        let done =
            Done { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) };
        assert!(!done.stderr.contains("panicked"), "{}", done.stderr);
        done
    }
}

/// Where lines are broken does not matter.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    /// Its last line of standard output, as JSON.
    pub(crate) fn json(&self) -> Value {
        let last = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Asserts its exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }

    /// Asserts that standard error holds each of these.
    #[track_caller]
    pub(crate) fn complains(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(one_line(&self.stderr).contains(&one_line(text)), "no \"{text}\" in:\n{}", self.stderr);
        }
        self
    }

    /// Asserts that standard output holds each of these.
    #[track_caller]
    pub(crate) fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(one_line(&self.stdout).contains(&one_line(text)), "no \"{text}\" in:\n{}", self.stdout);
        }
        self
    }
}
