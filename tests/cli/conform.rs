//! `dmasim conform`: exit codes, and what it says to files that are no recordings.

use std::path::{Path, PathBuf};

use crate::support::{Done, Folder};

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("models/conform/tests/data")
        .join(format!("{name}-sample.jsonl.gz"))
}

/// A sequence of memblock that agrees.
const GOOD: &str = concat!(
    r#"{"kind":"memblock","kernel":"6.12","id":7,"ops":["#,
    r#"{"op":"config","args":[1,0,0,1,4294967296],"result":0},{"op":"add","args":[0,65536],"result":0},"#,
    r#"{"op":"totals","args":[],"result":[65536,0]}],"#,
    r#""final":{"memory":{"total":65536,"max":128,"regions":[[0,65536,0,1024]]},"#,
    r#""reserved":{"total":0,"max":128,"regions":[]},"current_limit":4294967296,"bottom_up":1}}"#,
);

fn conform(folder: &Folder, text: &str) -> Done {
    folder.write("mine.jsonl", text);
    folder.dmasim(&["conform", "mine.jsonl"])
}

#[test]
fn recordings_that_agree_exit_with_0() {
    let folder = Folder::new();
    conform(&folder, GOOD)
        .exits(0)
        .says(&["mine.jsonl: memblock vectors, kernel 6.12", "all 4 results agree"]);
    let names: Vec<String> =
        ["iova-6.12", "memblock-6.1"].iter().map(|name| sample(name).display().to_string()).collect();
    let done = folder.dmasim(&["conform", &names[0], &names[1]]).exits(0).says(&["2 files agree, 0 differ"]);
    let iova = done.stdout.find("iova vectors").expect("the first file");
    assert!(iova < done.stdout.find("memblock vectors").expect("the second file"), "in the order given");
}

#[test]
fn recordings_that_differ_exit_with_1_and_show_where() {
    let folder = Folder::new();
    conform(&folder, &GOOD.replace("[65536,0]}", "[65537,0]}")).exits(1).says(&[
        "line 1: sequence 7, operation 3 of 3",
        "recorded: [65537,0]",
        "modelled: [65536,0]",
        "first difference at [0]",
        "totals [] = [65537,0] <- differs",
        "1 of 3 results differ",
    ]);
    let twice = format!("{GOOD}\n{GOOD}\n").replace("\"total\":65536", "\"total\":1");
    folder.write("twice.jsonl", &twice);
    let done = folder.dmasim(&["conform", "twice.jsonl", "--show", "1"]).exits(1);
    let done = done.says(&["line 1: sequence 7, final state after 3 operations", "and 1 more that differ"]);
    assert!(!done.stdout.contains("line 2:"), "{}", done.stdout);
    let json = folder.dmasim(&["conform", "twice.jsonl", "--format", "json"]).exits(1).json();
    assert_eq!(json["files"][0]["reports"][0]["exceptions"].as_array().map(Vec::len), Some(2));
}

#[test]
fn what_a_file_holds_is_seen_and_a_folder_is_all_that_it_holds() {
    let folder = Folder::new();
    folder.write("boot/mine.jsonl", GOOD);
    folder.write("boot/console.log", "[    0.000000] Linux version 6.12.1 (a) #1\n[    0.1] nothing\n");
    folder.write("boot/trace.txt", "# tracer: nop\n#\n");
    folder.write("boot/qemu_cmd.txt", "qemu-system-x86_64 -smp 2\n");
    folder.write("boot/state.txt", "@@@BEGIN s1.version\nLinux version 6.12.1\n@@@END s1.version\n");
    let done = folder.dmasim(&["conform", "boot", "--format", "json"]);
    let json = done.json();
    let names: Vec<&str> = json["files"]
        .as_array()
        .expect("files")
        .iter()
        .map(|file| file["file"].as_str().expect("a name"))
        .collect();
    assert_eq!(names, ["boot/console.log", "boot/mine.jsonl", "boot/trace.txt"]);
    assert_eq!(json["mode"], "several");
    assert_eq!(json["files"][1]["agrees"], true);
    done.complains(&["no recordings, and left out: boot/qemu_cmd.txt, boot/state.txt"]);
    // What it is can still be said.
    folder.dmasim(&["conform", "--trace", "boot/mine.jsonl"]).exits(2);
    folder.write("empty/qemu_cmd.txt", "qemu");
    folder.dmasim(&["conform", "empty"]).exits(2).complains(&["empty: no file in it looks like"]);
    folder.dmasim(&["conform", "emtpy"]).exits(2).complains(&["there is no emtpy", "empty"]);
}

/// What is broken in a sequence: a replacement, and what is said of it.
const BROKEN: &[(&str, &str, &[&str])] = &[
    (r#""op":"add""#, r#""op":"ad""#, &["mine.jsonl:1:111:", "memblock has no operation `ad`", "`add`"]),
    (
        r#""memblock""#,
        r#""memblok""#,
        &["mine.jsonl:1:9:", "`kind` is `memblok`", "did you mean `memblock`?"],
    ),
    (r#""6.12""#, r#""6.13""#, &["`kernel` is `6.13`", "known are 6.1, 6.12"]),
    ("[0,65536]", "[0]", &["`add` has 1 argument, and 2 are expected: add [base, size]"]),
    ("[0,65536]", "[0,65536,0]", &["`add` has 3 arguments, and 2 are expected"]),
    (
        "[0,65536]",
        "[0,-1]",
        &["mine.jsonl:1:127:", "add [base, size]: `size` is -1", "from 0 to 18446744073709551615"],
    ),
    ("[0,65536]", "[0,18446744073709551616]", &["`size` is 18446744073709551616"]),
    ("[0,65536]", "[0,\"64K\"]", &["`size` is \"64K\"", "a whole number"]),
    ("[0,65536]", "65536", &["invalid type: integer `65536`, expected a sequence"]),
    (r#","result":[65536,0]"#, "", &["missing field `result`"]),
    (r#""final""#, r#""finl""#, &["missing field `final`"]),
    (r#""kind":"memblock","#, "", &["missing field `kind`"]),
    (
        r#""op":"config","args":[1,0,0,1,4294967296]"#,
        r#""op":"totals","args":[]"#,
        &["`totals` comes before `config`"],
    ),
    ("[1,0,0,1,4294967296]", "[2,0,0,1,4294967296]", &["`resize` is 2, and 0 or 1 is expected"]),
    (
        r#""args":[0,65536],"result":0"#,
        r#""args":[0,65536],"result":"bug""#,
        &["an operation follows `add`", "\"bug\""],
    ),
    ("]},\"current_limit\"", "]},,\"current_limit\"", &["mine.jsonl:1:", "key must be a string"]),
    ("{\"kind\"", "[    0.000000] Booting Linux\n{\"kind\"", &["mine.jsonl:1:1:", "--boot"]),
    ("\"bottom_up\":1}}", "", &["mine.jsonl:1:", "it was cut off"]),
];

#[test]
fn broken_sequences_are_named_with_line_and_column() {
    let folder = Folder::new();
    for (good, bad, said) in BROKEN {
        assert!(GOOD.contains(good), "{good}");
        conform(&folder, &GOOD.replacen(good, bad, 1)).exits(2).complains(said);
    }
    let second = format!("{GOOD}\n{}", GOOD.replacen("\"op\":\"add\"", "\"op\":\"ad\"", 1));
    conform(&folder, &second)
        .exits(2)
        .says(&["sequences: 1, differing: 0", "all 4 results agree"])
        .complains(&["mine.jsonl:2:111:"]);
}

#[test]
fn sizes_that_nobody_can_have_recorded_are_refused() {
    let folder = Folder::new();
    let pool = |ops: &str| format!(r#"{{"kind":"swiotlb","kernel":"6.12","ops":[{ops}],"final":null}}"#);
    let init = |args: &str| format!(r#"{{"op":"init","args":[{args}],"result":"none"}}"#);
    conform(&folder, &pool(&init(r#""99999999,1",1,0,0"#)))
        .exits(2)
        .complains(&["`init`: the pool would have", "slots"]);
    conform(&folder, &pool(&init(r#""-",9999999999,0,0"#))).exits(2).complains(&["`cpus` is 9999999999"]);
    let crc = r#"{"op":"crc","args":[0,0,99999999999],"result":0}"#;
    conform(&folder, &pool(crc)).exits(2).complains(&["`len` is 99999999999"]);
    let space = r#"{"op":"crc","args":[1,0,16],"result":0}"#;
    conform(&folder, &pool(space)).exits(2).complains(&["space 1 is the pool, and there is none"]);
    let churn = r#"{"kind":"iova","kernel":"6.1","ops":[{"op":"init","args":[4096,1,1,1],"result":0},
        {"op":"churn","args":[99999999999,1,9,0],"result":0}],"final":null}"#;
    conform(&folder, &churn.replace('\n', "")).exits(2).complains(&["`n` is 99999999999"]);
    let empty = r#"{"kind":"memblock","kernel":"6.1","ops":[],"final":null}"#;
    conform(&folder, empty).exits(2).complains(&["`ops` is empty"]);
    let dynamic = r#"{"kind":"swiotlb-dynamic","kernel":"6.1","ops":[],"final":null}"#;
    conform(&folder, dynamic)
        .exits(2)
        .complains(&["`kernel` is `6.1`", "known are 6.12 for swiotlb-dynamic"]);
    conform(&folder, &"x".repeat(17 << 20)).exits(2).complains(&["the line is longer than 16777216 bytes"]);
    conform(&folder, &"[".repeat(1 << 20)).exits(2).complains(&["a JSON object", "is expected"]);
    let deep = GOOD.replacen("[65536,0]", &"[".repeat(1 << 16), 1);
    conform(&folder, &deep).exits(2).complains(&["mine.jsonl:1:"]);
}

#[test]
fn files_that_are_none_are_named() {
    let folder = Folder::new();
    folder.write("mine.jsonl", GOOD);
    folder
        .dmasim(&["conform", "mne.jsonl"])
        .exits(2)
        .complains(&["there is no mne.jsonl; did you mean mine.jsonl?"]);
    folder.dmasim(&["conform", "--boot", "."]).exits(2).complains(&["the folder holds no log of a boot"]);
    conform(&folder, "").exits(2).complains(&["mine.jsonl: there is no sequence in this file"]);
    conform(&folder, "\n\n").exits(2).complains(&["there is no sequence in this file"]);
    folder.dmasim(&["conform"]).exits(2).complains(&["--boot"]);
    folder
        .dmasim(&["conform", "mine.jsonl", "--boot", "mine.jsonl"])
        .exits(2)
        .complains(&["cannot be used with"]);
    let bytes = std::fs::read(sample("iova-6.1")).expect("the sample is there");
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).expect("a file");
    write("cut.gz", &bytes[..bytes.len() / 2]);
    folder
        .dmasim(&["conform", "cut.gz"])
        .exits(2)
        .says(&["iova vectors, kernel 6.1", "results agree"])
        .complains(&["the compressed data end too early: the file was cut off"]);
    let mut damaged = bytes;
    let middle = damaged.len() / 2;
    damaged[middle..middle + 64].fill(0x55);
    write("damaged.gz", &damaged);
    folder.dmasim(&["conform", "damaged.gz"]).exits(2).complains(&["damaged.gz:"]);
    write("packed.xz", b"\xfd7zXZ\0rest");
    folder.dmasim(&["conform", "packed.xz"]).exits(2).complains(&["is compressed with xz; only gzip"]);
    write("binary", &[0, 159, 146, 150]);
    folder.dmasim(&["conform", "binary"]).exits(2).complains(&["binary:1:1:", "a JSON object"]);
}

#[test]
fn one_unusable_file_does_not_hide_the_others() {
    let folder = Folder::new();
    folder.write("good.jsonl", GOOD);
    folder.write("bad.jsonl", "{}\n");
    folder
        .dmasim(&["conform", "good.jsonl", "bad.jsonl", "good.jsonl"])
        .exits(2)
        .says(&["2 files agree, 0 differ, 1 unusable"])
        .complains(&["bad.jsonl:1:2: missing field `kind`"]);
}
