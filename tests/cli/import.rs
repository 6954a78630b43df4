//! `dmasim import`: from a log to a run.

use std::path::{Path, PathBuf};

use super::support::Folder;

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/conform/tests/data/boots").join(name)
}

#[test]
fn a_log_becomes_a_scenario_that_runs() {
    let folder = Folder::new();
    let boot = sample("c09_61_5G_amd_eduonly");
    let boot = boot.to_str().expect("a name");
    folder
        .dmasim(&["import", boot, "-o", "mine.ron"])
        .exits(0)
        .says(&["wrote mine.ron; 2 assumptions are at its head", "next: dmasim run mine.ron"]);
    folder.dmasim(&["scenario", "check", "mine.ron"]).exits(0).says(&["mine.ron: ok"]);
    folder.dmasim(&["run", "mine.ron", "--seeds", "3"]).exits(0).says(&["3 seeds run", "0 with findings"]);
    let group = "pci 0000:00:1f.2: Adding to iommu group 2";
    folder.dmasim(&["replay", "mine.ron", "--seed", "0", "--log"]).exits(0).says(&[
        "software IO TLB: area num 1.",
        group,
        "software IO TLB: mapped [mem 0x000000007bcda000-0x000000007fcda000] (64MB)",
    ]);
    folder.dmasim(&["import", boot]).exits(0).says(&["// Imported from the console log", "iommu: AmdVi("]);
}

#[test]
fn what_cannot_be_imported_is_named() {
    let folder = Folder::new();
    let log = "[    0.000000] Linux version 6.1.0\n[    0.000000] Command line: quiet\n";
    folder.write("mine.log", log);
    folder.write("other.log", log);
    folder.write("state.txt", "@@@BEGIN s1.cmdline\nquiet\n@@@END s1.cmdline\n");
    folder.dmasim(&["import", "mne.log"]).exits(2).complains(&["there is no mne.log; did you mean mine.log?"]);
    folder.dmasim(&["import", "mine.log"]).exits(2).complains(&[
        "mine.log: no line \"BIOS-e820: [mem ...]\"",
        "lines 1 to 2 were read",
    ]);
    folder.dmasim(&["import", "mine.log", "other.log"]).exits(2).complains(&["one boot makes one scenario"]);
    folder.dmasim(&["import", "state.txt"]).exits(2).complains(&["the log of the boot is missing"]);
    folder.dmasim(&["import", "mine.log", "--boot", "2"]).exits(2).complains(&["no boot number 2"]);
}
