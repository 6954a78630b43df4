//! How soon the page of a long run opens, and how smoothly it moves, in a real browser. Figures, and no verdict:
//!
//!     cargo test -p dmasim-reports --test opening -- --ignored --nocapture
//!
//! `EVENTS=500000` makes the run longer, `PAGE=run.html` measures a page of `dmasim run --report html=run.html`.

#![expect(clippy::disallowed_types, reason = "it measures how long a browser takes")]

#[expect(dead_code, reason = "the texts need more of it")]
mod toy;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use reports::html::{Heading, html};
use sim::choices::Mode;
use sim::trace::{CtxRecord, Event, EventKind, Trace};
use sim::{Finding, Kind, Label, Name, ObjId, Severity};

const FUNCTIONS: [&str; 6] = [
    "dma_map_page_attrs",
    "iommu_dma_map_page",
    "swiotlb_tbl_map_single",
    "dma_unmap_page_attrs",
    "__iommu_dma_unmap",
    "handle_irq_event",
];
const OBJECTS: [&str; 6] = [
    "struct device.dma_io_tlb_mem",
    "struct io_tlb_mem.used",
    "struct iommu_domain",
    "struct device.dma_ops",
    "struct page",
    "iova_rbtree_lock",
];

/// What the page says after each thing that a reader does: milliseconds of each frame.
const MEASURE: &str = r#"<script>
addEventListener('load', () => {
  const $ = (id) => document.getElementById(id), out = [];
  const nav = performance.getEntriesByType('navigation')[0];
  const frames = (name, n, act) => new Promise((done) => {
    const work = [], gaps = []; let last = 0, k = 0;
    const frame = (t) => {
      if (last) gaps.push(t - last);
      last = t;
      if (k === n) { out.push([name, work, gaps]); done(); return; }
      const before = performance.now(); act(k++);
      // What the act has put off to this frame or the next counts when the next one comes.
      work.push(performance.now() - before);
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  });
  const slide = (v) => { $('slider').value = v; $('slider').dispatchEvent(new Event('input', { bubbles: true })); };
  const most = +$('slider').max;
  requestAnimationFrame(() => setTimeout(async () => {
    const shown = performance.now();
    await frames('scroll the list', 60, () => { $('list').scrollTop += 300; });
    await frames('slider, one event', 60, (k) => slide((most >> 1) + k));
    await frames('slider, anywhere', 60, (k) => slide((k * 7919 * 131) % most));
    $('all').click();
    await frames('slider, all events shown', 60, (k) => slide((k * 7919 * 131) % most));
    await frames('find', 12, (k) => { $('filter').value = 'iommu_dma'.slice(0, k % 9 + 1); $('filter').dispatchEvent(new Event('input', { bubbles: true })); });
    for (const b of [...$('spaces').children].slice(0, 4)) await frames('space ' + b.textContent, 2, () => b.click());
    console.log('MEASURED ' + JSON.stringify({ ready: +document.documentElement.dataset.at || 0, dom: nav.domContentLoadedEventEnd, shown, out }));
  }, 0));
});
</script>"#;

/// A run of so many events: twelve contexts that map and unmap, with slots, bus addresses and counters.
fn long_run(events: usize) -> (Trace, Vec<Finding>) {
    let mut trace = Trace::default();
    let slot = toy::run(Mode::Seed(0)).trace.contexts[0].slot;
    for n in 0..12_u8 {
        let name = Name { text: "nvme: queue", nth: u32::from(n) };
        trace.contexts.push(CtxRecord { name, slot, cpu: Some(n % 4) });
    }
    let mut random = 1_u64;
    let mut draw = |of: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % of
    };
    let mut rows = 0;
    let mut time = 0;
    let mut used = 0;
    while rows < events {
        let ctx = u32::try_from(draw(12)).expect("small");
        let function = FUNCTIONS[usize::try_from(draw(6)).expect("small")];
        let nth = u32::try_from(draw(800)).expect("small");
        let object = |at: u64| Name { text: OBJECTS[usize::try_from(at).expect("small")], nth };
        let lock = Name::new("&mem->lock");
        let (slot, long) = (draw(32_768), 1 + draw(8));
        let part = |begins| EventKind::Interval {
            space: "slots of the bounce pool at 0x5a540000".to_owned(),
            start: slot,
            len: long,
            what: format!("0000:0{}:00.0: {} bytes", ctx % 8, long * 2048),
            begins,
        };
        let bus = EventKind::Interval {
            space: format!("addresses of 0000:0{}:00.0", ctx % 3),
            start: slot << 12,
            len: long << 12,
            what: format!("mapping by {function}"),
            begins: !rows.is_multiple_of(3),
        };
        used = (used + long) % 900;
        let step = |at| EventKind::Step {
            label: Label::new(Kind::Read, ObjId(1)),
            object: object(at),
            frame: function,
        };
        let list = [
            EventKind::Enter(function),
            step(draw(6)),
            EventKind::Took { lock },
            step(draw(6)),
            part(true),
            bus,
            EventKind::Counter { name: "used slots".into(), value: used },
            EventKind::Released { lock },
            step(draw(6)),
            EventKind::Blocked { on: Name::new("completion") },
            part(draw(4) == 0),
            EventKind::Leave(function),
        ];
        for kind in list {
            time += 20;
            rows += usize::from(!matches!(kind, EventKind::Interval { .. } | EventKind::Counter { .. }));
            trace.events.push(Event { step: time / 20, time, ctx, kind });
        }
    }
    let title = "BUG: KASAN: use-after-free in dma_unmap_page_attrs".to_owned();
    trace.events.push(Event { step: time / 20, time, ctx: 3, kind: EventKind::Found(title.clone()) });
    let finding = Finding {
        kind: "use-after-free",
        title,
        severity: Severity::Warning,
        frames: vec!["dma_unmap_page_attrs"],
        object: "struct io_tlb_mem",
        discriminator: "swiotlb_exit",
        context: Name { text: "nvme: queue", nth: 3 },
        cpu: Some(3),
        time,
        step: time / 20,
        ending: "",
        details: Vec::new(),
    };
    (trace, vec![finding])
}

/// What the page told, and how long the browser ran until then. `None` without a browser.
fn measure(page: &Path, profile: &Path) -> Option<(serde_json::Value, Duration)> {
    let begin = Instant::now();
    let mut child = ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(|name| {
        Command::new(name)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
                "--remote-debugging-port=0",
            ])
            .args(["--enable-logging=stderr", "--v=0", "--window-size=1280,900"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg(format!("file://{}", page.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .ok()
    })?;
    let lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    let told = lines.map_while(Result::ok).find_map(|line| {
        let (_, rest) = line.split_once("MEASURED ")?;
        let end = rest.rfind('}')? + 1;
        serde_json::from_str(&rest[..end]).ok()
    });
    let took = begin.elapsed();
    let _ = child.kill();
    let _ = child.wait();
    Some((told.expect("the page tells its figures"), took))
}

fn numbers(list: &serde_json::Value) -> Vec<f64> {
    let mut list: Vec<f64> =
        list.as_array().into_iter().flatten().filter_map(serde_json::Value::as_f64).collect();
    list.sort_by(f64::total_cmp);
    list
}

#[test]
#[ignore = "it measures, and decides nothing"]
fn how_soon_a_long_run_opens() {
    let events = std::env::var("EVENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000);
    let mut out = std::io::stdout();
    let folder = tempfile::tempdir().expect("a folder");
    let page = match std::env::var("PAGE") {
        Ok(file) => std::fs::read_to_string(file).expect("the page"),
        Err(_) => {
            let (trace, findings) = long_run(events);
            let begin = Instant::now();
            let heading = Heading { title: format!("{events} events"), ..Heading::default() };
            let page = html(&heading, &trace, &findings).expect("it can be written");
            let _ = writeln!(out, "written in {} ms, without optimisation", begin.elapsed().as_millis());
            page
        }
    };
    let _ = writeln!(out, "{} KiB", page.len() / 1024);
    let file = folder.path().join("page.html");
    if let Ok(kept) = std::env::var("KEEP") {
        std::fs::write(kept, &page).expect("it can be written");
    }
    std::fs::write(&file, page.replacen("</body>", &format!("{MEASURE}</body>"), 1))
        .expect("it can be written");
    for round in 0..3 {
        let profile = folder.path().join(format!("profile{round}"));
        let Some((told, took)) = measure(&file, &profile) else {
            let _ = writeln!(out, "SKIPPED: chromium is not installed");
            return;
        };
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let _ = writeln!(
            out,
            "opened: scripts done after {:.0} ms, shown after {:.0} ms; all of it with the browser {:.1} s; load {}",
            told["dom"].as_f64().unwrap_or_default(),
            told["shown"].as_f64().unwrap_or_default(),
            took.as_secs_f64(),
            load.split(' ').next().unwrap_or_default()
        );
        for part in told["out"].as_array().into_iter().flatten() {
            let (work, gaps) = (numbers(&part[1]), numbers(&part[2]));
            let at = |list: &[f64], share: usize| {
                list.get((list.len() * share / 100).min(list.len() - 1)).copied()
            };
            let _ = writeln!(
                out,
                "  {:<28} frame to frame median {:>6.1} ms, most {:>6.1} ms; in the handler {:>6.1} / {:>6.1} ms",
                part[0].as_str().unwrap_or_default(),
                at(&gaps, 50).unwrap_or_default(),
                at(&gaps, 100).unwrap_or_default(),
                at(&work, 50).unwrap_or_default(),
                at(&work, 100).unwrap_or_default(),
            );
        }
    }
}
