//! Command lines against what the kernel's own parsers do with them.

use super::*;

fn parse(text: &str) -> CommandLine {
    CommandLine::parse(text, Version::V5_14)
}

#[test]
fn a_usual_line_says_nothing() {
    let line = parse("BOOT_IMAGE=/vmlinuz root=UUID=1-2 ro quiet splash");
    assert_eq!(line.ignored, ["BOOT_IMAGE=/vmlinuz", "root=UUID=1-2", "ro", "quiet", "splash"]);
    assert_eq!(CommandLine { ignored: Vec::new(), ..line }, CommandLine::default());
}

#[test]
fn swiotlb_takes_slots_then_a_word() {
    let line = parse("swiotlb=65536,force");
    assert_eq!(line.swiotlb, SwiotlbParam { nslabs: Some(65_536), force: true, ..Default::default() });
    assert_eq!(parse("swiotlb=1000").swiotlb.nslabs, Some(1_024), "whole segments");
    assert_eq!(parse("swiotlb=0x200").swiotlb.nslabs, Some(512));
    assert!(parse("swiotlb=noforce").swiotlb.noforce);
    assert!(!parse("swiotlb=forced").swiotlb.force, "the word must match as a whole");
    assert_eq!(parse("swiotlb=forced").notes.len(), 1);
    assert_eq!(parse("swiotlb").notes.len(), 1, "the kernel would follow a null pointer");
    let both = parse("swiotlb=1024 swiotlb=force");
    assert_eq!((both.swiotlb.nslabs, both.swiotlb.force), (Some(1_024), true), "each word adds");
}

#[test]
fn areas_came_with_6_0() {
    let old = CommandLine::parse("swiotlb=65536,4,force", Version::V5_15).swiotlb;
    assert_eq!((old.areas, old.force), (None, false));
    let new = CommandLine::parse("swiotlb=65536,4,force", Version::V6_1).swiotlb;
    assert_eq!((new.areas, new.force), (Some(4), true));
    assert_eq!(CommandLine::parse("swiotlb=,8", Version::V6_1).swiotlb.areas, Some(8));
}

#[test]
fn the_last_word_about_the_default_domain_counts() {
    assert_eq!(parse("iommu=pt").passthrough, Some(true));
    assert_eq!(parse("iommu=pt iommu.passthrough=0").passthrough, Some(false));
    assert_eq!(parse("iommu.passthrough=1 iommu=nopt").passthrough, Some(false));
    assert_eq!(parse("iommu.passthrough=maybe").passthrough, None);
    assert_eq!(parse("iommu=pt iommu.passthrough=maybe").passthrough, Some(true));
}

#[test]
fn x86_sub_options_match_by_their_beginning() {
    let line = parse("iommu=soft,offended,pt");
    assert!(line.iommu.soft && line.iommu.off, "`offended` begins with `off`");
    assert_eq!(line.passthrough, Some(true));
    let line = parse("iommu=usedac,pt");
    assert_eq!((line.iommu.usedac, line.passthrough), (true, None), "nothing counts behind usedac");
    assert_eq!(parse("iommu=strict").notes.len(), 1);
    let (force, noforce) = (parse("iommu=force").iommu.force, parse("iommu=force,noforce").iommu.force);
    assert!(force && !noforce);
}

#[test]
fn vendor_options() {
    let line = parse("amd_iommu=fullflush,force_isolation intel_iommu=on,strict,sm_off amd-iommu=off");
    assert!(line.amd_iommu.fullflush && line.amd_iommu.force_isolation);
    assert!(line.amd_iommu.off, "dash and underscore are the same");
    assert_eq!((line.intel_iommu.enable, line.intel_iommu.strict), (Some(true), true));
    assert_eq!(line.intel_iommu.scalable, Some(false));
    assert_eq!(parse("amd_iommu=on").notes.len(), 1, "there is no `on`");
    assert_eq!(parse("amd_iommu").unknown, ["amd_iommu"]);
}

#[test]
fn sizes_and_flags() {
    let line = parse("mem=4G memblock=debug nr_cpus=2 mem_encrypt=on iommu.strict=1 init_on_alloc=on");
    assert_eq!(line.mem_limit, Some(4 << 30));
    assert!(line.memblock_debug);
    assert_eq!((line.nr_cpus, line.mem_encrypt, line.strict), (Some(2), Some(true), Some(true)));
    assert_eq!(line.init_on_alloc, Some(true));
    for bad in ["mem=0", "mem=nopentium", "mem_encrypt=1", "nr_cpus=0", "nr_cpus=x", "iommu.strict=", "mem"] {
        let line = parse(bad);
        assert_eq!(line.notes.len(), 1, "{bad}");
        assert_eq!(CommandLine { notes: Vec::new(), ..line }, CommandLine::default(), "{bad}");
    }
}

#[test]
fn quotes_keep_blanks_and_are_dropped() {
    let line = parse(r#"  foo="a b" "bar baz=1 2" iommu="pt"  x"#);
    assert_eq!(line.unknown, ["foo=a b", "bar baz=1 2", "x"]);
    assert_eq!(line.passthrough, Some(true));
}

#[test]
fn what_follows_two_dashes_is_for_init() {
    let line = parse("quiet -- iommu=pt single");
    assert_eq!((line.passthrough, line.unknown.len()), (None, 0));
}

#[test]
fn a_line_that_is_too_long_is_cut() {
    let line = parse(&format!("{}iommu=pt", "quiet ".repeat(400)));
    assert_eq!(line.passthrough, None);
    assert_eq!(line.notes.len(), 1);
}

#[test]
fn any_text_is_read() {
    for text in [
        "",
        "\"",
        "=",
        "==",
        "\"\"",
        "a=\"",
        "\"=\"",
        "iommu=,,,",
        "swiotlb=,",
        "swiotlb=99999999999999999999999",
        "é=ü",
        "mem=0xE",
    ] {
        let _ = CommandLine::parse(text, Version::V6_12);
    }
}
