//! The pages in a real browser: they open without a complaint, and what a reader does has its effect.

#[expect(dead_code, reason = "the texts need more of it")]
mod toy;

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use reports::campaign::{CampaignPage, campaign};
use reports::compared::Compared;
use reports::html::{Heading, html};
use reports::json::ExpectationJson;
use reports::summary::Head;
use serde_json::Value;
use sim::RunEnd;
use sim::choices::Mode;
use sim::explore::{Outcome, Summary};
use sim::trace::{Event, EventKind};

/// What a test does with a page: `act` fills `out`, which comes back as JSON.
/// Without a screen frames come when the browser likes, so that they are asked of the clock.
const WATCH: &str = "<script>const errors=[];requestAnimationFrame=(f)=>setTimeout(f,16);addEventListener('error',e=>errors.push(e.message));\
                     addEventListener('securitypolicyviolation',e=>errors.push('refused: '+e.blockedURI));</script>";

fn acting(act: &str) -> String {
    format!(
        "<script>addEventListener('load',()=>{{const out={{}},$=(id)=>document.getElementById(id);\
         const key=(k,more)=>document.dispatchEvent(new KeyboardEvent('keydown',{{key:k,bubbles:true,...more}}));\
         const type=(id,v)=>{{$(id).value=v;$(id).dispatchEvent(new Event('input',{{bubbles:true}}));}};\
         const back=()=>getComputedStyle(document.body).backgroundColor;\
         try{{{act}}}catch(e){{errors.push(String(e));}}\
         setTimeout(()=>{{out.errors=errors;out.counters=($('counters')||{{}}).textContent;out.wide=document.documentElement.scrollWidth-innerWidth;\
         if($('rows'))out.shown=$('rows').children.length;if($('map'))out.map=$('map').height;\
         const pre=document.createElement('pre');pre.id='told';pre.textContent=JSON.stringify(out);\
         document.body.append(pre);}},600);}});</script>"
    )
}

fn chromium() -> Option<&'static str> {
    let there =
        |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|out| out.status.success());
    ["chromium", "chromium-browser", "google-chrome"].into_iter().find(there)
}

/// The page in a window so many columns wide, after `act`: what it told. `None`, and said so, without a browser.
fn browse(page: &str, width: u32, dark: bool, act: &str) -> Option<Value> {
    let Some(browser) = chromium() else {
        let _ = writeln!(std::io::stderr(), "SKIPPED: no page is opened: chromium is not installed");
        return None;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("page.html");
    // The page's policy allows scripts within it, and nothing else.
    let page = page.replacen("</head>", &format!("{WATCH}</head>"), 1);
    let page = page.replacen("</body>", &format!("{}</body>", acting(act)), 1);
    // The campaign's page has no script, and a policy that allows none: the test's own is let in.
    let page = page.replacen(
        "style-src 'unsafe-inline'; img-src",
        "style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src",
        1,
    );
    std::fs::write(&file, page).expect("it can be written");
    let dom = run(browser, folder.path(), &file, width, dark);
    let told = dom.split_once("<pre id=\"told\">").and_then(|(_, rest)| rest.split_once("</pre>"));
    let (told, _) = told.unwrap_or_else(|| panic!("the page told nothing:\n{}", &dom[..dom.len().min(2000)]));
    let told = told.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    Some(serde_json::from_str(&told).expect("it is JSON"))
}

fn run(browser: &str, folder: &Path, file: &Path, width: u32, dark: bool) -> String {
    let scheme = if dark { 0 } else { 1 };
    let done = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--virtual-time-budget=4000", "--dump-dom"])
        .arg(format!("--blink-settings=preferredColorScheme={scheme}"))
        .arg(format!("--window-size={width},900"))
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .arg(format!("file://{}", file.display()))
        .output()
        .expect("it was there");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

fn failing() -> RunEnd {
    (0..200)
        .map(|seed| toy::run(Mode::Seed(seed)))
        .find(|end| !end.findings.is_empty())
        .expect("one in a few does")
}

/// The run, with slots and a quantity added to it.
fn page() -> (String, usize) {
    let mut end = failing();
    let add = |end: &mut RunEnd, at: usize, kind| {
        let Event { step, time, ctx, .. } = end.trace.events[at];
        end.trace.events.insert(at, Event { step, time, ctx, kind });
    };
    for n in 0..8_u64 {
        let slots = |begins| EventKind::Interval {
            space: "slots of the bounce pool at 0x1000".to_owned(),
            start: n * 50,
            len: 7 + n,
            what: format!("0000:0{n}:00.0: 4096 bytes of 0x{n}000"),
            begins,
        };
        add(&mut end, 30, slots(false));
        add(&mut end, 10, slots(true));
        add(&mut end, 10, EventKind::Counter { name: "used slots".into(), value: n });
    }
    let heading = Heading { title: "toy".to_owned(), ..Heading::default() };
    let page = html(&heading, &end.trace, &end.findings).expect("it can be written");
    let told = |kind: &EventKind| !matches!(kind, EventKind::Interval { .. } | EventKind::Counter { .. });
    (page, end.trace.events.iter().filter(|event| told(&event.kind)).count())
}

/// `n of N` at the beginning of what the page says of the moment.
fn at(told: &Value) -> (usize, usize) {
    let text = told.as_str().expect("a text");
    let (n, rest) = text.split_once(" of ").expect("n of N");
    let all = rest.split(' ').next().unwrap_or_default();
    (n.parse().expect("a number"), all.parse().expect("a number"))
}

#[test]
fn a_run_can_be_stepped_through_and_searched() {
    let (page, events) = page();
    let act = "const where=()=>$('where').textContent;out.start=where();key('ArrowLeft');out.left=where();\
               key('Home');out.home=where();key('ArrowRight');key('ArrowRight');out.right=where();key('End');out.end=where();\
               type('slider',6);out.slid=where();key('f');out.found=where();out.all=$('count').textContent;\
               type('filter','swiotlb_exit');out.some=$('count').textContent;type('filter','no such thing');\
               out.none=$('count').textContent;type('filter','');out.before=back();key('t');out.after=back();\
               $('spaces').children[0].click();out.ready=document.documentElement.dataset.ready;";
    let Some(told) = browse(&page, 1280, false, act) else { return };
    assert_eq!(told["errors"], serde_json::json!([]), "{told}");
    assert_eq!(told["ready"], "yes");
    let (start, all) = at(&told["start"]);
    assert_eq!(all, events);
    assert_eq!(at(&told["left"]).0, start - 1);
    assert_eq!(at(&told["home"]).0, 1);
    assert_eq!(at(&told["right"]).0, 3);
    assert_eq!(at(&told["end"]).0, all);
    assert_eq!(at(&told["slid"]).0, 7);
    assert_eq!(at(&told["found"]).0, start, "the page begins at the finding");
    assert_eq!(at(&told["all"]), (all, all));
    let some = at(&told["some"]).0;
    assert!(0 < some && some < all, "{some} of {all}");
    assert_eq!(at(&told["none"]).0, 0);
    assert_ne!(told["before"], told["after"]);
    assert!(told["shown"].as_u64().is_some_and(|rows| rows > 3));
    assert!(told["counters"].as_str().is_some_and(|text| text.contains("used slots: ")), "{told}");
    assert!(told["map"].as_u64().is_some_and(|height| height > 20), "{told}");
}

#[test]
fn a_run_fits_a_phone_and_follows_the_browsers_light() {
    let (page, _) = page();
    let act = "out.back=back();";
    let Some(light) = browse(&page, 400, false, act) else { return };
    let Some(dark) = browse(&page, 400, true, act) else { return };
    for told in [&light, &dark] {
        assert_eq!(told["errors"], serde_json::json!([]), "{told}");
        assert!(told["wide"].as_i64().is_some_and(|by| by <= 0), "it is wider than the window: {told}");
    }
    assert_ne!(light["back"], dark["back"]);
}

fn campaign_page() -> String {
    let mut summary = Summary::default();
    for seed in 0..300 {
        let mut end = toy::run(Mode::Seed(seed));
        let findings = std::mem::take(&mut end.findings);
        summary.add(seed, Outcome { digest: end.digest, steps: end.steps, findings });
    }
    let head = Head {
        scenario: "toy <&>".to_owned(),
        about: "three contexts and a use after free".to_owned(),
        settings: vec![("kernel".to_owned(), "toy".to_owned())],
    };
    let compared = ["swarm", "random", "pct:3"].map(|name| Compared::new(name.to_owned(), 0, &summary, None));
    let page = CampaignPage {
        head: &head,
        from: 0,
        summary: &summary,
        coverage: None,
        compared: &compared,
        expectation: &ExpectationJson { result: "met", remarks: Vec::new() },
    };
    campaign(&page, &|seed, _| format!("dmasim replay toy.ron --seed {seed}")).expect("it can be drawn")
}

#[test]
fn the_page_of_a_campaign_loads_nothing_and_fits() {
    let page = campaign_page();
    for word in ["http://", "https://", "src=", "@import", "url(", "<script"] {
        assert!(!page.contains(word), "{word}");
    }
    assert!(page.contains("toy &lt;&amp;&gt;") && page.contains("<svg role=\"img\""));
    let act = "out.back=back();out.line=getComputedStyle(document.querySelector('svg polyline')).stroke;\
               out.rows=document.querySelectorAll('tbody tr').length;\
               out.sideways=Math.max(...[...document.querySelectorAll('.scroll')].map(e=>e.scrollWidth-e.clientWidth));";
    let Some(light) = browse(&page, 400, false, act) else { return };
    let Some(dark) = browse(&page, 1600, true, act) else { return };
    for told in [&light, &dark] {
        assert_eq!(told["errors"], serde_json::json!([]), "{told}");
        assert!(told["wide"].as_i64().is_some_and(|by| by <= 0), "it is wider than the window: {told}");
        assert!(told["rows"].as_u64().is_some_and(|rows| rows > 10), "{told}");
        assert!(told["sideways"].as_i64().is_some_and(|by| by <= 0), "a table scrolls sideways: {told}");
    }
    assert_ne!(light["back"], dark["back"]);
    assert_ne!(light["line"], dark["line"], "the lines of a chart follow, too");
}
