//! What `dmasim size` says.

use std::fmt::Write;

use models::sizing::{Demand, DeviceDemand, Diagnosis, Outcome, Recommendation};
use models::swiotlb::{IO_TLB_SHIFT, PoolSize};
use reports::{Paint, SCREEN, wrap};
use serde_json::{Value, json};

use crate::args::SizeArgs;

/// One pool that was tried.
#[derive(Debug)]
pub(super) struct Line {
    /// Slots on the command line.
    pub(super) asked: u64,
    pub(super) size: PoolSize,
    pub(super) outcome: Outcome,
}

/// Real runs with the recommended pool.
#[derive(Debug)]
pub(super) struct Verified {
    pub(super) runs: usize,
    /// Runs in which a mapping failed.
    pub(super) failed: usize,
    /// Slots that boot made.
    pub(super) slots: u64,
    pub(super) cmdline: String,
}

/// All that was found out.
#[derive(Debug)]
pub(super) struct Sized {
    pub(super) about: String,
    pub(super) runs: usize,
    pub(super) dropped: u64,
    /// Mappings that had no place while the workload was recorded.
    pub(super) refused: u64,
    pub(super) maps: u64,
    pub(super) peak: u64,
    pub(super) devices: Vec<DeviceDemand>,
    pub(super) now: Option<(PoolSize, Outcome)>,
    pub(super) asked: Option<u64>,
    pub(super) by_size: Vec<Line>,
    pub(super) by_areas: Vec<Line>,
    pub(super) diagnosis: Vec<Diagnosis>,
    pub(super) recommended: Option<Recommendation>,
    pub(super) margin: u32,
    pub(super) force: bool,
    pub(super) most: u64,
    pub(super) verified: Option<Verified>,
}

impl Sized {
    /// Whether the pool that there is holds.
    pub(super) fn good(&self) -> bool {
        self.diagnosis == [Diagnosis::Holds]
    }

    /// The word for the command line.
    fn word(&self) -> Option<String> {
        let best = self.recommended.as_ref()?;
        Some(format!("swiotlb={}{}", best.word, if self.force { ",force" } else { "" }))
    }
}

/// The devices of all runs, each with the worst that it did, the hungriest first.
pub(super) fn devices(demands: &[Demand]) -> Vec<DeviceDemand> {
    let mut all: Vec<DeviceDemand> = Vec::new();
    for device in demands.iter().flat_map(|demand| &demand.devices) {
        match all.iter_mut().find(|known| known.name == device.name) {
            Some(known) => {
                known.maps += device.maps;
                known.kept = known.kept.max(device.kept);
                known.peak = known.peak.max(device.peak);
                known.largest = known.largest.max(device.largest);
            }
            None => all.push(device.clone()),
        }
    }
    all.sort_by(|a, b| b.peak.cmp(&a.peak).then_with(|| a.name.cmp(&b.name)));
    all
}

fn bytes(slots: u64) -> String {
    let kib = slots << IO_TLB_SHIFT >> 10;
    match kib {
        0..1024 => format!("{kib} KiB"),
        _ if kib.is_multiple_of(1024) => format!("{} MiB", kib >> 10),
        _ => format!("{}.{} MiB", kib >> 10, (kib & 1023) * 10 / 1024),
    }
}

fn mappings(count: u64) -> String {
    format!("{count} mapping{}", if count == 1 { "" } else { "s" })
}

fn words(diagnosis: &Diagnosis, sized: &Sized) -> (&'static str, String) {
    match diagnosis {
        Diagnosis::Holds if sized.maps == 0 => ("holds", "Nothing bounced.".to_owned()),
        Diagnosis::Holds => ("holds", "Every mapping found a place.".to_owned()),
        Diagnosis::TooSmall { failures } => {
            let have = sized.now.as_ref().map_or(0, |(size, _)| u64::from(size.nslabs));
            let wanted = format!("to {} slots were wanted at once, and the pool has {have}", sized.peak);
            let text = match failures {
                0 => format!("Up {wanted}."),
                _ => format!("{} found too few free slots: up {wanted}.", mappings(*failures)),
            };
            ("too small", text)
        }
        Diagnosis::Fragmented { failures, longest_run } => {
            let text = format!(
                "{} found no place although enough slots were free: they did not lie side by side. \
                 At the first such failure the longest run of free slots was {longest_run}.",
                mappings(*failures)
            );
            ("fragmented", text)
        }
        Diagnosis::Impossible { requests, device, size } => {
            let text = format!(
                "{requests} request{} can be served by no pool of any size: {device} asks for {size} bytes, and a \
                 mapping is never longer than 128 slots (256 KiB), less what alignment costs. The driver must ask \
                 dma_max_mapping_size().",
                if *requests == 1 { "" } else { "s" }
            );
            ("impossible requests", text)
        }
        Diagnosis::NoRoom { asked, got: 0 } => {
            ("no room", format!("Boot found no place for a pool of {asked} slots ({}).", bytes(*asked)))
        }
        Diagnosis::NoRoom { asked, got } => {
            let text = format!(
                "{asked} slots ({}) were asked for, and boot found room for {got} ({}) below 4 GiB. A larger number \
                 on the command line changes nothing.",
                bytes(*asked),
                bytes(*got)
            );
            ("no room", text)
        }
        Diagnosis::Leak(sign) => {
            let marks: Vec<_> = sign.low_water.iter().map(u64::to_string).collect();
            let text = format!(
                "{} never gave back {} of its {} mappings; the fewest slots that it had, in eighths of the run: {}. \
                 A larger pool only takes longer to fill.",
                sign.device,
                sign.kept,
                sign.maps,
                marks.join(", ")
            );
            ("leak", text)
        }
        Diagnosis::Hangs => {
            let text = "The slot search of this version never ends for a request of this workload in a pool without \
                        room: the CPU hangs with interrupts off. A pool that is never full hides it."
                .to_owned();
            ("hangs", text)
        }
    }
}

fn row(text: &mut String, line: &Line, mark: &str) {
    let o = &line.outcome;
    let _ = writeln!(
        text,
        "  {:>8} {:>5} {:>10} {:>8} {:>7} {:>8} {:>8} {:>7} {:>7}{}",
        line.size.nslabs,
        line.size.nareas,
        bytes(u64::from(line.size.nslabs)),
        o.full,
        o.fragmented,
        o.hiwater,
        o.longest_search,
        o.stolen,
        o.contended,
        mark
    );
}

const HEAD: &str = "     slots areas     memory     full fragm.    in use   search  stolen   meets";

/// For people.
pub(super) fn text(sized: &Sized, args: &SizeArgs, paint: Paint) -> String {
    let mut text = format!("{}\n\n", paint.heading(&sized.about));
    let _ = writeln!(
        text,
        "{} mappings bounced in {} run{}; at most {} slots ({}) alive at once.",
        sized.maps,
        sized.runs,
        if sized.runs == 1 { "" } else { "s" },
        sized.peak,
        bytes(sized.peak)
    );
    if sized.dropped > 0 {
        let _ =
            writeln!(text, "{} events were left out: returns of older mappings, or too many.", sized.dropped);
    }
    if sized.refused > 0 {
        let line = format!(
            "{} of them had no place in the recorded system. How long they would have lived is not known, so the sizes \
             below are too small by that: record with a pool that is never full.",
            sized.refused
        );
        wrap(&line, SCREEN - 2).iter().for_each(|part| text.push_str(&format!("{part}\n")));
    }
    for device in sized.devices.iter().take(5) {
        let line = format!(
            "{}: {} mappings, at most {} slots, largest {} bytes{}",
            device.name,
            device.maps,
            device.peak,
            device.largest,
            if device.kept > 0 {
                format!(", {} not given back in one run", device.kept)
            } else {
                String::new()
            }
        );
        wrap(&line, SCREEN - 4).iter().for_each(|part| text.push_str(&format!("  {part}\n")));
    }
    text.push_str(&format!("\n{}\n", paint.heading("Sizes")));
    text.push_str(HEAD);
    text.push('\n');
    for line in &sized.by_size {
        let now = sized.now.as_ref().is_some_and(|(size, _)| *size == line.size);
        row(&mut text, line, if now { "  now" } else { "" });
    }
    if !sized.by_areas.is_empty() {
        text.push_str(&format!("\n{}\n{HEAD}\n", paint.heading("Areas")));
        sized.by_areas.iter().for_each(|line| row(&mut text, line, ""));
    }
    text.push_str(
        "  (full: mappings without a place; fragm.: of these, with enough slots free; search: slots that\n   the \
         longest search passed; stolen: taken from another CPU's area; meets: two CPUs at one lock\n   within 1 us)\n",
    );
    text.push_str(&format!("\n{}\n", paint.heading("The pool as it is")));
    match &sized.now {
        Some((size, outcome)) => {
            let _ = writeln!(
                text,
                "{} slots in {} area{} ({}); at most {} in use",
                size.nslabs,
                size.nareas,
                if size.nareas == 1 { "" } else { "s" },
                bytes(u64::from(size.nslabs)),
                outcome.hiwater
            );
        }
        None => text.push_str("There is none.\n"),
    }
    for diagnosis in &sized.diagnosis {
        let (head, what) = words(diagnosis, sized);
        let head = if *diagnosis == Diagnosis::Holds { paint.good(head) } else { paint.bad(head) };
        let lines = wrap(&what, SCREEN - 4);
        text.push_str(&format!("{head}:\n"));
        lines.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
    }
    text.push_str(&format!("\n{}\n", paint.heading("Recommended")));
    match (&sized.recommended, sized.word()) {
        (Some(best), Some(word)) => {
            let _ = writeln!(
                text,
                "{word}\n  {} slots in {} area{}, {} of memory; {} in use at most, so {} % are spare ({} % wanted)",
                best.size.nslabs,
                best.size.nareas,
                if best.size.nareas == 1 { "" } else { "s" },
                bytes(u64::from(best.size.nslabs)),
                best.outcome.hiwater,
                spare(best),
                sized.margin
            );
            if best.outcome.impossible > 0 {
                text.push_str("  The impossible requests still fail.\n");
            }
        }
        _ if sized.maps == 0 => text.push_str("Nothing bounces: no pool is needed for this.\n"),
        _ if sized.diagnosis.iter().any(|one| matches!(one, Diagnosis::Leak(_))) => {
            text.push_str("None: no size cures a leak.\n");
        }
        _ => {
            let _ = writeln!(
                text,
                "None: there is room for {} slots ({}) at most, and they are not enough with {} % to spare.",
                sized.most,
                bytes(sized.most),
                sized.margin
            );
        }
    }
    if let Some(verified) = &sized.verified {
        let _ = writeln!(
            text,
            "  tried in {} runs with that command line: mappings failed in {} of them; the pool had {} slots",
            verified.runs, verified.failed, verified.slots
        );
    } else if sized.recommended.is_some() {
        text.push_str(
            "  Not tried: in a trace nobody reacts, and whether memory is there for it is not known.\n",
        );
    }
    if let Some(path) = &args.plot {
        let _ = writeln!(text, "\nPlot: {}", path.display());
    }
    text
}

fn spare(best: &Recommendation) -> u64 {
    let slots = u64::from(best.size.nslabs);
    (slots - best.outcome.hiwater.min(slots)) * 100 / best.outcome.hiwater.max(1)
}

fn outcome(outcome: &Outcome) -> Value {
    json!({
        "maps": outcome.maps, "full": outcome.full, "fragmented": outcome.fragmented,
        "impossible": outcome.impossible, "hangs": outcome.hangs, "hiwater": outcome.hiwater,
        "longest_search": outcome.longest_search, "stolen": outcome.stolen, "contended": outcome.contended,
    })
}

/// For programs, as one line.
pub(super) fn json(sized: &Sized) -> String {
    let line = |line: &Line| {
        json!({ "asked": line.asked, "slots": line.size.nslabs, "areas": line.size.nareas,
                "outcome": outcome(&line.outcome) })
    };
    json!({
        "workload": sized.about,
        "runs": sized.runs,
        "maps": sized.maps,
        "peak_slots": sized.peak,
        "refused": sized.refused,
        "asked": sized.asked,
        "now": sized.now.as_ref().map(|(size, result)| {
            json!({ "slots": size.nslabs, "areas": size.nareas, "outcome": outcome(result) })
        }),
        "sizes": sized.by_size.iter().map(line).collect::<Vec<_>>(),
        "areas": sized.by_areas.iter().map(line).collect::<Vec<_>>(),
        "diagnosis": sized.diagnosis.iter().map(|one| {
            let (name, text) = words(one, sized);
            json!({ "name": name, "text": text })
        }).collect::<Vec<_>>(),
        "recommended": sized.recommended.as_ref().map(|best| {
            json!({ "cmdline": sized.word(), "slots": best.size.nslabs, "areas": best.size.nareas,
                    "outcome": outcome(&best.outcome) })
        }),
        "verified": sized.verified.as_ref().map(|verified| {
            json!({ "cmdline": verified.cmdline, "runs": verified.runs, "failed": verified.failed,
                    "slots": verified.slots })
        }),
    })
    .to_string()
}
