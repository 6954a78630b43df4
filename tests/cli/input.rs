//! What people mistype: each mistake has an error that says what to do, exit code 2, and no panic.

use crate::support::{Folder, STARTER};
use models::scenario::{Overrides, intern, load};
use sim::Name;
use sim::choices::{Answer, ChoiceList, Record, Site, Token};

#[test]
fn a_missing_file_names_the_nearest_one() {
    let folder = Folder::new();
    for words in
        [&["run", "god.ron"][..], &["replay", "god.ron", "--seed", "1"], &["scenario", "check", "god.ron"]]
    {
        folder.dmasim(words).exits(2).complains(&["god.ron", "did you mean `good.ron`?"]);
    }
    folder.dmasim(&["test", "god.ron"]).exits(2).complains(&["did you mean good.ron?"]);
    folder.dmasim(&["test"]).exits(2).complains(&["there is no scenarios"]);
    folder.dmasim(&["run", "."]).exits(2).complains(&["is a folder", "dmasim test"]);
    folder.dmasim(&["diff", "good.ron", "nowhere/good.ron"]).exits(2).complains(&["nowhere/good.ron"]);
}

#[test]
fn a_malformed_file_is_shown_with_line_and_caret() {
    let folder = Folder::new();
    folder.write("bad.ron", &STARTER.replace("cpu_vendor: Amd", "cpu_vendr: Amd"));
    folder
        .dmasim(&["scenario", "check", "good.ron", "bad.ron"])
        .exits(2)
        .says(&["good.ron: ok"])
        .complains(&["bad.ron:", "cpu_vendr: Amd", "^", "cpu_vendor"]);
}

#[test]
fn other_kernels_that_do_not_exist_name_the_nearest() {
    let folder = Folder::new();
    let run = |name: &str, value: &str| folder.dmasim(&["run", "good.ron", name, value]).exits(2);
    run("--version", "5.51").complains(&["no kernel version `5.51`", "did you mean"]);
    run("--apply", "static-pool").complains(&["no behaviour `static-pool`", "`static-default-pool`"]);
    run("--revert", "heap-pool").complains(&["no behaviour `heap-pool`", "`heap-pool-object`"]);
    run("--strategy", "randm")
        .complains(&["unknown strategy", "swarm, random, pct:D, pos, urw, delay:K, rff, round-robin"]);
    run("--strategy", "pct:0").complains(&["a number from 1 to 32"]);
}

#[test]
fn numbers_that_are_none_are_explained() {
    let folder = Folder::new();
    let run = |name: &str, value: &str| folder.dmasim(&["run", "good.ron", name, value]).exits(2);
    run("--seeds", "0").complains(&["holds no seed"]);
    run("--seeds", "9..3").complains(&["holds no seed"]);
    run("--seeds", "many").complains(&["a whole number is expected"]);
    run("--seed", "99999999999999999999").complains(&["--seed"]);
    run("--jobs", "0").complains(&["1 to 1024"]);
    folder
        .dmasim(&["run", "good.ron", "--seed", "1", "--seeds", "2"])
        .exits(2)
        .complains(&["cannot be used with"]);
    folder.dmasim(&["replay", "good.ron"]).exits(2).complains(&["--seed", "--token"]);
    folder
        .dmasim(&["replay", "good.ron", "--seed", "1", "--from", "9", "--until", "3"])
        .exits(2)
        .complains(&["nothing from step 9 until step 3"]);
}

#[test]
fn words_that_do_not_exist_are_answered_with_those_that_do() {
    let folder = Folder::new();
    folder.dmasim(&["rplay", "good.ron"]).exits(2).complains(&["replay"]);
    folder.dmasim(&["run", "good.ron", "--sedes", "3"]).exits(2).complains(&["--seeds"]);
    folder.dmasim(&["list", "behaviors"]).exits(2).complains(&["behaviours"]);
    folder.dmasim(&[]).exits(2).complains(&["Usage", "run", "replay"]);
    folder.dmasim(&["--version"]).exits(0).says(&["dmasim "]);
    folder.dmasim(&["-V"]).exits(0).says(&["dmasim "]);
}

#[test]
fn a_new_scenario_passes_its_own_check_and_overwrites_nothing() {
    let folder = Folder::new();
    folder.dmasim(&["scenario", "new", "mine"]).exits(0).says(&["wrote mine.ron"]);
    folder.dmasim(&["scenario", "check", "mine.ron"]).exits(0).says(&["mine.ron: ok"]);
    folder.dmasim(&["scenario", "new", "mine"]).exits(2).complains(&["exists already"]);
    let printed = folder.dmasim(&["scenario", "new"]).exits(0);
    assert_eq!(printed.stdout, STARTER);
}

#[test]
fn lists_hold_what_there_is() {
    let folder = Folder::new();
    folder.dmasim(&["list", "versions"]).exits(0).says(&["5.13", "next-2021-06"]);
    folder.dmasim(&["list", "behaviours"]).exits(0).says(&["static-default-pool"]);
    folder.dmasim(&["list", "findings"]).exits(0).says(&["use-after-free", "deadlock"]);
    folder.dmasim(&["list", "strategies"]).exits(0).says(&["swarm", "pct:D"]);
    folder.dmasim(&["list", "scenarios", "--dir", "."]).exits(0).says(&["good.ron", "one disk"]);
    folder.dmasim(&["list"]).exits(0).says(&["Scenarios", "there is no folder scenarios", "Strategies"]);
}

/// A token of an empty run of the starter, with something changed in it.
fn token(folder: &Folder, change: impl FnOnce(&mut Token)) -> String {
    let loaded = load(folder.path().join("good.ron")).expect("the starter loads");
    let resolved = loaded.resolve(&Overrides::default()).expect("it resolves");
    let mut token = Token {
        engine: sim::ENGINE_VERSION,
        scenario: resolved.digest.0,
        seed: 3,
        digest: 0,
        signature: 0,
        choices: ChoiceList::default(),
    };
    change(&mut token);
    token.encode()
}

#[test]
fn a_token_that_does_not_fit_says_why() {
    let folder = Folder::new();
    let replay = |token: &str| folder.dmasim(&["replay", "good.ron", "--token", token]).exits(2);
    replay("hello").complains(&["a token begins with"]);
    replay("dmasim1.a!").complains(&["column 10: '!'"]);
    replay("dmasim1.abcd").complains(&["damaged"]);
    let good = token(&folder, |_| {});
    replay(&good[..good.len() - 4]).complains(&["damaged"]);
    // It is tried all the same, and what came of it is told.
    let tried = |token: &str| folder.dmasim(&["replay", "good.ron", "--token", token]).exits(0);
    tried(&token(&folder, |token| token.scenario ^= 1))
        .complains(&["another scenario", "the run is another one"]);
    tried(&token(&folder, |token| token.engine += 1)).complains(&["engine version", "every choice fits"]);
    replay(&token(&folder, |token| token.digest = 1)).complains(&["the run is another one"]);
    let name = |text: &str| Name::new(intern(text).expect("there is room"));
    let site = Site { who: name("nobody"), what: name("read").text, object: name("nothing"), nth: 41 };
    let record = Record { site, answer: Answer::Value { taken: 1, of: 2 } };
    replay(&token(&folder, |token| token.choices.records.push(record)))
        .complains(&["nobody: read nothing (time 42)", "the run never comes to this point"]);
}

#[test]
fn a_token_file_that_is_none_says_why() {
    let folder = Folder::new();
    let replay = |file: &str| folder.dmasim(&["replay", "good.ron", "--token-file", file]).exits(2);
    replay("absent").complains(&["cannot read the token in absent"]);
    folder.write("empty", "\n");
    replay("empty").complains(&["the file is empty"]);
    std::fs::write(folder.path().join("binary"), [0xff, 0xfe, 0x00]).expect("a file");
    replay("binary").complains(&["cannot read the token in binary"]);
}

/// Every mutant lacks a bracket, or has a field that does not exist.
fn mutants() -> Vec<String> {
    let code: String = STARTER
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n");
    let mut inside = false;
    let mut mutants = Vec::new();
    for (at, c) in code.char_indices() {
        if c == '"' {
            inside = !inside;
        }
        if inside {
            continue;
        }
        let (before, after) = code.split_at(at);
        match c {
            '(' | ')' | '[' | ']' => mutants.push(format!("{before}{}", &after[1..])),
            ':' => mutants.push(format!("{before}x{after}")),
            _ => {}
        }
    }
    mutants
}

#[test]
fn a_hundred_mutants_give_a_clear_error_each() {
    let folder = Folder::new();
    let mutants = mutants();
    assert!(mutants.len() > 100, "{}", mutants.len());
    for (n, mutant) in mutants.iter().enumerate().step_by(mutants.len() / 100) {
        folder.write("mutant.ron", mutant);
        let done = folder.dmasim(&["run", "mutant.ron", "--seeds", "1"]);
        assert_eq!(done.code, Some(2), "mutant {n}:\n{mutant}\n{done:?}");
        assert!(done.stderr.contains("mutant.ron:"), "mutant {n}: {}", done.stderr);
        assert!(done.stderr.contains('^') || done.stderr.contains('|'), "mutant {n}: {}", done.stderr);
        assert_eq!(done.stdout, "");
    }
}
