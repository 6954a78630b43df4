use super::*;

fn entry(start: u64, end: u64, kind: E820Kind) -> E820Entry {
    E820Entry { start, end, kind }
}

fn machine() -> Machine {
    let text = "(name: \"m\", cpu_vendor: Amd, cpus: 1, e820: [(start: 0, end: 0x9fbff, kind: Usable), \
                (start: 0xf0000, end: 0xfffff, kind: Reserved), (start: 0x100000, end: 0x7fffffff, kind: Usable), \
                (start: 0x100000000, end: 0x1bfffffff, kind: Usable)])";
    ron::from_str(text).expect("a machine")
}

fn ram(cmdline: &str) -> Vec<(u64, u64)> {
    MemoryMap::new(&machine(), cmdline).usable().map(|range| (range.start.0, range.end.0)).collect()
}

#[test]
fn the_first_page_is_no_ram() {
    assert_eq!(ram("quiet"), [(0x1000, 0x9_f000), (0x10_0000, 0x8000_0000), (1 << 32, 0x1_c000_0000)]);
    let map = MemoryMap::new(&machine(), "");
    let (firmware, later) = map.log();
    assert_eq!((firmware.len(), later.len()), (5, 2));
    assert_eq!(firmware[1], "BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable");
    assert_eq!(later[0], "e820: update [mem 0x00000000-0x00000fff] usable ==> reserved");
    assert_eq!(later[1], "e820: remove [mem 0x000a0000-0x000fffff] usable");
}

#[test]
fn the_command_line_takes_memory_away_and_adds_it() {
    assert_eq!(ram("mem=1G"), [(0x1000, 0x9_f000), (0x10_0000, 0x4000_0000)]);
    assert_eq!(ram("mem=0"), ram(""));
    assert_eq!(ram("memmap=16M$1G")[1..3], [(0x10_0000, 0x4000_0000), (0x4100_0000, 0x8000_0000)]);
    assert_eq!(ram("memmap=exactmap memmap=640K@0,1M@16M"), [(0x1000, 0xa_0000), (0x100_0000, 0x110_0000)]);
    assert_eq!(ram("memmap=1G%4G-1+2").last(), Some(&(0x1_4000_0000, 0x1_c000_0000)));
    assert_eq!(ram("memmap=1G%0x100000000-1").last(), Some(&(0x1_4000_0000, 0x1_c000_0000)));
    let map = MemoryMap::new(&machine(), "memmap=1M!1G");
    assert!(map.log().1.contains(&"user-defined physical RAM map:".to_owned()));
    let pram = "user: [mem 0x0000000040000000-0x00000000400fffff] persistent (type 12)";
    assert!(map.log().1.contains(&pram.to_owned()), "{:#?}", map.log());
}

#[test]
fn a_machine_may_change_its_map_further() {
    let mut machine = machine();
    machine.e820_changes = vec![
        E820Change {
            start: 0x7000_0000,
            end: 0xffff_ffff,
            from: Some(E820Kind::Usable),
            to: Some(E820Kind::Reserved),
        },
        E820Change { start: 0x20_0000, end: 0x2f_ffff, from: None, to: None },
    ];
    let map = MemoryMap::new(&machine, "");
    let low: Vec<_> = map.usable().map(|range| (range.start.0, range.end.0)).skip(1).take(2).collect();
    assert_eq!(low, [(0x10_0000, 0x20_0000), (0x30_0000, 0x7000_0000)]);
    let last = map.log().1.iter().rev().take(2).rev().cloned().collect::<Vec<_>>();
    assert_eq!(
        last,
        [
            "e820: update [mem 0x70000000-0xffffffff] usable ==> reserved",
            "e820: remove [mem 0x00200000-0x002fffff]"
        ]
    );
}

#[test]
fn what_is_no_option_changes_nothing_and_nothing_panics() {
    for odd in ["", "memmap=", "memmap=@", "memmap=1G@", "memmap=x", "memmap=1G%", "memmap=1G%0-9+9", "mem"] {
        let _ = ram(odd);
    }
    assert_eq!(ram("memmap= memmap=@ memmap=zzz"), ram(""));
    let all = "memmap=0xffffffffffffffff@0 memmap=0xffffffffffffffff%0xffffffffffffffff-1+2";
    assert!(!ram(all).is_empty());
}

#[test]
fn overlaps_go_to_the_highest_number() {
    let mut map = MemoryMap { entries: Vec::new(), log: Vec::new(), firmware_lines: 0 };
    map.entries = vec![
        entry(0, 0xffff, E820Kind::Usable),
        entry(0x8000, 0x17fff, E820Kind::Reserved),
        entry(0x18000, 0x1ffff, E820Kind::Reserved),
        entry(0x4000, 0x4fff, E820Kind::AcpiNvs),
    ];
    map.update_table();
    let kinds = [
        entry(0, 0x3fff, E820Kind::Usable),
        entry(0x4000, 0x4fff, E820Kind::AcpiNvs),
        entry(0x5000, 0x7fff, E820Kind::Usable),
        entry(0x8000, 0x1ffff, E820Kind::Reserved),
    ];
    assert_eq!(map.entries, kinds);
}
