//! The modelled kernel's log as `dmesg` prints it.

use sim::Severity;
use sim::trace::{EventKind, Trace};

use crate::layout::{ascii, clock};

/// The log of a recorded run: what the modelled kernel prints, and what a real one would print of the findings, in order.
/// Lines are as wide as they are, so that they can be compared with a real log by `diff`.
#[must_use]
pub fn dmesg(trace: &Trace, findings: &[sim::Finding]) -> String {
    let mut out = String::new();
    for event in &trace.events {
        match &event.kind {
            EventKind::Log(text) => line(&mut out, event.time, text),
            EventKind::Found(title) => {
                line(&mut out, event.time, title);
                let own =
                    findings.iter().find(|finding| finding.step == event.step && finding.title == *title);
                if let Some(finding) = own {
                    call_trace(&mut out, finding);
                }
            }
            _ => {}
        }
    }
    out
}

fn call_trace(out: &mut String, finding: &sim::Finding) {
    if let Some(cpu) = finding.cpu {
        line(out, finding.time, &format!("CPU: {cpu} PID: 0 Comm: {}", finding.context));
    }
    if !finding.frames.is_empty() {
        line(out, finding.time, "Call Trace:");
        for frame in &finding.frames {
            line(out, finding.time, &format!(" {frame}"));
        }
    }
    if finding.severity == Severity::Fatal {
        line(out, finding.time, "---[ end trace ]---");
    }
}

fn line(out: &mut String, time: sim::Nanos, text: &str) {
    out.push_str(&format!("{} {}\n", clock(time), ascii(text)));
}
