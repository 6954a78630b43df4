//! A whole campaign as one page for a browser: what was found and how soon, what was exercised, how strategies compare.
//! The page loads nothing and needs no script.

mod chart;

use std::fmt::Write as _;

use sim::coverage::Coverage;
use sim::explore::{SignatureStats, Summary};

use crate::causes;
use crate::compared::Compared;
use crate::coverage::CoverageJson;
use crate::json::ExpectationJson;
use crate::layout::{ascii, counted, percent};
use crate::summary::Head;
use chart::{LINES, Line, over_seeds};

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
/// So many functions are listed.
const FUNCTIONS: usize = 20;

/// What is known of a campaign.
#[derive(Clone, Copy, Debug)]
pub struct CampaignPage<'a> {
    /// Scenario and settings.
    pub head: &'a Head,
    /// Its first seed.
    pub from: u64,
    /// What it gave.
    pub summary: &'a Summary,
    /// What its runs exercised, if that was noted, and the injections that the scenario allows.
    pub coverage: Option<(&'a Coverage, &'a [&'static str])>,
    /// What each strategy gave, that of the campaign first.
    pub compared: &'a [Compared],
    /// Whether it is what the scenario expects.
    pub expectation: &'a ExpectationJson,
}

/// The page. `repeat` gives the command that repeats a seed, of a signature or of any run.
///
/// # Errors
/// None in practice: every chart can be drawn.
pub fn campaign(
    page: &CampaignPage<'_>,
    repeat: &dyn Fn(u64, Option<&SignatureStats>) -> String,
) -> Result<String, String> {
    let mut body = String::new();
    page.facts(&mut body);
    page.signatures(&mut body, repeat)?;
    page.strategies(&mut body)?;
    page.endings(&mut body);
    page.exercised(&mut body)?;
    page.slowest(&mut body, repeat);
    let mut text = PAGE.replacen("/*CSS*/", STYLE, 1);
    text = text.replace("<!--TITLE-->", &escape(&page.head.scenario));
    text = text.replacen("<!--PARTS-->", &links(&body), 1);
    text = text.replacen("<!--ABOUT-->", &escape(&page.head.about), 1);
    // What runs said goes in last: nothing in it is taken for a place to fill.
    Ok(text.replacen("<!--BODY-->", &body, 1))
}

/// Links to the parts that the page has.
fn links(body: &str) -> String {
    const PARTS: [(&str, &str); 6] = [
        ("settings", "Settings"),
        ("found", "Found"),
        ("strategies", "Strategies"),
        ("endings", "Endings"),
        ("exercised", "Exercised"),
        ("slowest", "Slowest"),
    ];
    let there = PARTS.iter().filter(|(id, _)| body.contains(&format!("<h2 id=\"{id}\">")));
    there.map(|(id, word)| format!("<a href=\"#{id}\">{word}</a>")).collect::<Vec<_>>().join(" ")
}

/// Text for HTML, in printable ASCII.
fn escape(text: &str) -> String {
    ascii(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A share as a bar behind a number.
fn bar(part: u64, whole: u64) -> String {
    let width = u128::from(part) * 100 / u128::from(whole.max(1));
    format!("<span class=\"bar\"><i style=\"width:{width}%\"></i></span>")
}

fn section(body: &mut String, id: &str, heading: &str) {
    let _ =
        writeln!(body, "<section class=\"panel\" aria-labelledby=\"{id}\"><h2 id=\"{id}\">{heading}</h2>");
}

fn figure(body: &mut String, caption: &str, svg: &str) {
    let _ = writeln!(body, "<figure><figcaption>{}</figcaption>{svg}</figure>", escape(caption));
}

/// A table that is being written. On a phone its rows are cards, in which each cell says what it is.
struct Table<'a> {
    body: &'a mut String,
    heads: &'a [&'a str],
}

impl<'a> Table<'a> {
    fn begin(body: &'a mut String, heads: &'a [&'a str]) -> Self {
        body.push_str("<div class=\"scroll\" tabindex=\"0\"><table><thead><tr>");
        for head in heads {
            let _ = write!(body, "<th scope=\"col\">{head}</th>");
        }
        body.push_str("</tr></thead><tbody>\n");
        Self { body, heads }
    }

    /// A row: class and HTML of each cell. One that has fewer cells than the table ends with a wide one.
    fn row(&mut self, cells: &[(&str, String)]) {
        self.body.push_str("<tr>");
        for (n, (class, html)) in cells.iter().enumerate() {
            let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
            let rest = self.heads.len() - n;
            if n + 1 == cells.len() && rest > 1 {
                let _ = write!(self.body, "<td{class} colspan=\"{rest}\">{html}</td>");
            } else {
                let _ = write!(self.body, "<td{class} data-head=\"{}\">{html}</td>", self.heads[n]);
            }
        }
        self.body.push_str("</tr>\n");
    }

    fn end(self) {
        self.body.push_str("</tbody></table></div>\n");
    }
}

const END: &str = "</section>\n";

/// A number that a chart can show: charts need not be exact.
#[expect(clippy::cast_precision_loss, reason = "for a picture")]
const fn place(number: u64) -> f64 {
    number as f64
}

/// How many signatures were known after so many seeds, as stairs.
fn stairs(known_after: &[u64], seeds: u64) -> Vec<(f64, f64)> {
    let mut points = vec![(1.0, 0.0)];
    let mut known = 0.0;
    for after in known_after {
        points.push((place(*after), known));
        known += 1.0;
        points.push((place(*after), known));
    }
    points.push((place(seeds.max(1)), known));
    points
}

impl CampaignPage<'_> {
    fn facts(&self, body: &mut String) {
        let summary = self.summary;
        section(body, "settings", "Settings and numbers");
        body.push_str("<dl>\n");
        let mut row = |word: &str, value: &str| {
            let _ = writeln!(body, "<dt>{}</dt><dd>{}</dd>", escape(word), escape(value));
        };
        for (word, value) in &self.head.settings {
            row(word, value);
        }
        let failed = format!("{} with findings ({})", summary.failed, percent(summary.failed, summary.ran));
        row("result", &format!("{} run, {failed}", counted(summary.ran, "seed")));
        if let Some(mean) = summary.steps.checked_div(summary.ran) {
            row("steps of a run", &format!("{mean} on average, {} at most", summary.max_steps));
        }
        row("run twice", &format!("{}, to compare", counted(summary.rechecked, "seed")));
        row("digest", &format!("{:032x}", summary.digest));
        row("engine", &sim::ENGINE_VERSION.to_string());
        row("expectation", self.expectation.result);
        for remark in &self.expectation.remarks {
            row("", remark);
        }
        body.push_str("</dl>\n");
        if summary.interrupted {
            body.push_str("<p class=\"bad\">Interrupted: this is what was found so far.</p>\n");
        }
        if summary.flat {
            body.push_str("<p>Ended early: nothing new came any more.</p>\n");
        }
        body.push_str(END);
    }

    fn signatures(
        &self,
        body: &mut String,
        repeat: &dyn Fn(u64, Option<&SignatureStats>) -> String,
    ) -> Result<(), String> {
        let list = self.summary.by_cause();
        let heading = format!("What was found: {}", counted(list.len() as u64, "signature"));
        section(body, "found", &heading);
        if list.is_empty() {
            let _ = writeln!(body, "<p>No finding in {}.</p>", counted(self.summary.ran, "seed"));
            body.push_str(END);
            return Ok(());
        }
        let own = Compared::new(String::new(), self.from, self.summary, None);
        let line = Line { points: stairs(&own.known_after, self.summary.ran), color: 0, bold: true };
        let about = format!(
            "Signatures known after so many seeds: the first after {}, all {} after {}",
            own.first(),
            list.len(),
            own.known_after.last().copied().unwrap_or_default()
        );
        if self.compared.len() < 2 {
            figure(body, &about, &over_seeds(&about, "signatures", &[line])?);
        }
        if let Some(text) = causes::following(&list) {
            let _ = writeln!(body, "<p>{}.</p>", escape(&text));
        }
        let mut table = Table::begin(body, &["no.", "signature", "seeds", "", "found after", "repeat"]);
        for (n, stats) in list.iter().enumerate() {
            let finding = &stats.finding;
            let remark =
                causes::remark(&list, n).map_or_else(String::new, |text| format!("<br>({})", escape(&text)));
            let what = format!(
                "<b>{}</b><br>{}<br><span class=\"bad\">{}</span>{remark}",
                escape(finding.kind),
                escape(&finding.signature()),
                escape(&finding.title)
            );
            table.row(&[
                ("", (n + 1).to_string()),
                ("t", what),
                ("n", format!("{}<br>{}", stats.count, percent(stats.count, self.summary.ran))),
                ("", bar(stats.count, self.summary.ran)),
                ("n", counted(stats.first_seed.saturating_sub(self.from) + 1, "seed")),
                ("t", format!("<code>{}</code>", escape(&repeat(stats.first_seed, Some(stats))))),
            ]);
        }
        table.end();
        body.push_str(END);
        Ok(())
    }

    fn strategies(&self, body: &mut String) -> Result<(), String> {
        if self.compared.len() < 2 {
            return Ok(());
        }
        section(body, "strategies", "Strategies, the same seeds with each");
        let lines: Vec<Line> = self
            .compared
            .iter()
            .enumerate()
            .map(|(n, one)| Line { points: stairs(&one.known_after, one.seeds), color: n, bold: n == 0 })
            .collect();
        let about = "Signatures known after so many seeds";
        figure(body, about, &over_seeds(about, "signatures", &lines)?);
        let most = self.compared.iter().map(|one| one.known_after.len()).max().unwrap_or(0);
        let mut table = Table::begin(
            body,
            &[
                "strategy",
                "seeds with findings",
                "signatures",
                "",
                "first found after",
                "different runs",
                "orders",
                "mean steps",
            ],
        );
        let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        for (n, one) in self.compared.iter().enumerate() {
            table.row(&[
                ("", format!("<i class=\"key s{}\"></i> {}", n % LINES, escape(&one.strategy))),
                ("n", format!("{} ({})", one.failed, percent(one.failed, one.seeds))),
                ("n", one.known_after.len().to_string()),
                ("", bar(one.known_after.len() as u64, most as u64)),
                ("n", one.first()),
                ("n", number(one.different)),
                ("n", number(one.orders)),
                ("n", one.mean_steps().to_string()),
            ]);
        }
        table.end();
        body.push_str(END);
        Ok(())
    }

    fn endings(&self, body: &mut String) {
        if self.summary.endings.is_empty() {
            return;
        }
        section(body, "endings", "How the runs ended");
        let mut table = Table::begin(body, &["ending", "runs", "share", ""]);
        let mut endings: Vec<_> = self.summary.endings.iter().collect();
        endings.sort_by_key(|(ending, count)| (std::cmp::Reverse(**count), *ending));
        for (ending, count) in endings {
            let ran = self.summary.ran;
            table.row(&[
                ("t", escape(ending)),
                ("n", count.to_string()),
                ("n", percent(*count, ran)),
                ("", bar(*count, ran)),
            ]);
        }
        table.end();
        body.push_str(END);
    }

    fn exercised(&self, body: &mut String) -> Result<(), String> {
        section(body, "exercised", "What the runs exercised");
        let Some((coverage, allowed)) = self.coverage else {
            body.push_str("<p>That was not noted.</p>\n");
            body.push_str(END);
            return Ok(());
        };
        let all = CoverageJson::new(coverage, allowed);
        let known = |count: fn(&crate::coverage::GrowthJson) -> u64| {
            all.growth.iter().map(|at| (place(at.seeds), place(count(at)))).collect()
        };
        let mut chart = |caption: String, what: &str, points| {
            let line = Line { points, color: 0, bold: true };
            over_seeds(&caption, what, &[line]).map(|svg| figure(body, &caption, &svg))
        };
        let caption = format!(
            "{} that differ in more than the order of independent steps; the next seed shows another one with a \
             probability of about {:.3} (Good-Turing)",
            counted(all.states, "run"),
            all.next_state
        );
        chart(caption, "different runs", known(|at| at.states))?;
        let caption = format!(
            "{} of two conflicting accesses: {} of {} came up in both; the next seed shows about {:.3} new ones",
            counted(all.orders, "order"),
            all.pairs_both_orders,
            counted(all.pairs, "pair"),
            all.next_orders
        );
        chart(caption, "orders", known(|at| at.orders))?;
        body.push_str("<h3>Injections</h3>\n");
        if all.injections.is_empty() && all.never_fired.is_empty() {
            body.push_str("<p>The scenario allows none.</p>\n");
        } else {
            let mut table = Table::begin(body, &["injection", "fired", "asked", ""]);
            for one in &all.injections {
                table.row(&[
                    ("", escape(&one.what)),
                    ("n", one.fired.to_string()),
                    ("n", one.asked.to_string()),
                    ("", bar(one.fired, one.asked)),
                ]);
            }
            for what in &all.never_fired {
                table.row(&[("", escape(what)), ("bad", "never fired, though allowed".to_owned())]);
            }
            table.end();
        }
        let mut functions: Vec<_> = all.functions.iter().collect();
        functions.sort_by_key(|function| (std::cmp::Reverse(function.steps), &function.name));
        let most = functions.first().map_or(0, |function| function.steps);
        let _ = writeln!(
            body,
            "<h3>{} entered, those with most steps</h3>",
            counted(functions.len() as u64, "function")
        );
        let mut table = Table::begin(body, &["function", "entered", "steps", ""]);
        for function in functions.into_iter().take(FUNCTIONS) {
            table.row(&[
                ("t", format!("<code>{}</code>", escape(&function.name))),
                ("n", function.entered.to_string()),
                ("n", function.steps.to_string()),
                ("", bar(function.steps, most)),
            ]);
        }
        table.end();
        body.push_str(END);
        Ok(())
    }

    fn slowest(&self, body: &mut String, repeat: &dyn Fn(u64, Option<&SignatureStats>) -> String) {
        if self.summary.slowest.is_empty() {
            return;
        }
        section(body, "slowest", "The seeds with most steps");
        let mut table = Table::begin(body, &["seed", "steps", "", "repeat"]);
        for slow in &self.summary.slowest {
            table.row(&[
                ("n", slow.seed.to_string()),
                ("n", slow.steps.to_string()),
                ("", bar(slow.steps, self.summary.max_steps)),
                ("t", format!("<code>{}</code>", escape(&repeat(slow.seed, None)))),
            ]);
        }
        table.end();
        body.push_str(END);
    }
}
