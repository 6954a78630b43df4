//! `dmasim run --resume`: a campaign that is ended at any moment loses nothing.

use crate::shrink::buggy;

const CAMPAIGN: [&str; 6] = ["run", "buggy.ron", "--seeds", "1500", "--format", "json"];

#[test]
fn a_campaign_in_parts_is_the_undivided_one() {
    let folder = buggy();
    let whole = folder.dmasim(&CAMPAIGN).exits(0).json();
    for _ in 0..2 {
        // The second time everything is there already.
        let words = [&CAMPAIGN[..], &["--resume", "state"]].concat();
        assert_eq!(folder.dmasim(&words).exits(0).json(), whole);
    }
}

#[test]
fn a_state_of_another_campaign_is_refused() {
    let folder = buggy();
    let run = |more: &[&str]| folder.dmasim(&[&["run", "buggy.ron", "--resume", "state"], more].concat());
    run(&["--seeds", "40"]).exits(0);
    run(&["--seeds", "50"]).exits(2).complains(&["belongs to another campaign: its seeds is 0..40", "help:"]);
    run(&["--seeds", "40", "--strategy", "random"]).exits(2).complains(&["belongs to another campaign"]);
    folder.write("state", "{");
    run(&["--seeds", "40"]).exits(2).complains(&["cannot go on with the campaign in state"]);
    let words = ["run", "buggy.ron", "--seeds", "40", "--resume", "no/where"];
    folder.dmasim(&words).exits(2).complains(&["cannot write no/where"]);
}

#[cfg(unix)]
#[test]
fn a_campaign_that_is_killed_at_any_moment_goes_on_to_the_same_end() {
    use std::process::{Command, Stdio};
    let folder = buggy();
    let whole = folder.dmasim(&CAMPAIGN).exits(0).json();
    let words = [&CAMPAIGN[..], &["--resume", "state"]].concat();
    // Moments from a generator of our own, so that a failure can be repeated.
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut kills = 0;
    let mut before = 0;
    for n in 0..200 {
        if kills >= 55 {
            break;
        }
        let mut child = Command::new(env!("CARGO_BIN_EXE_dmasim"))
            .current_dir(folder.path())
            .args(&words)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        std::thread::sleep(std::time::Duration::from_millis(random % 50));
        if child.try_wait().expect("it can be asked").is_none() {
            let signal = if n % 3 == 0 { "-INT" } else { "-KILL" };
            let sent = Command::new("kill").args([signal, &child.id().to_string()]).status();
            kills += u32::from(sent.is_ok_and(|status| status.success()));
        }
        child.wait().expect("it ends");
        // The state is always whole, and never goes back.
        let next = std::fs::read_to_string(folder.path().join("state")).map_or(0, |text| {
            let state: serde_json::Value = serde_json::from_str(&text).expect("a whole state");
            state["next"].as_u64().expect("a number")
        });
        assert!(next >= before, "{next} after {before}");
        before = next;
        if next == 1500 {
            // It came to its end: begin anew.
            assert_eq!(folder.dmasim(&words).exits(0).json(), whole);
            std::fs::remove_file(folder.path().join("state")).expect("it is there");
            before = 0;
        }
    }
    assert!(kills >= 50, "only {kills} were killed");
    assert_eq!(folder.dmasim(&words).exits(0).json(), whole);
}
