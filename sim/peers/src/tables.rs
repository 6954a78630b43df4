//! What is measured, and how it is printed.

use std::sync::{Arc, Mutex};

use sim::schedule::Strategy;

use crate::events::{self, Load};
use crate::exhaustive::Finals;
use crate::measure::{Row, interleaved, median, short, times};
use crate::ours::{PLAIN, Settings};
use crate::program::Program;
use crate::shuttles::Choose;
use crate::{looms, ours, shuttles, states};

const BITMAP: Program = Program::Bitmap { contexts: 3, pairs: 2 };
const BUFFER: Program = Program::Buffer { producers: 2, items: 2 };

const STRATEGIES: [(Strategy, Choose); 3] =
    [(Strategy::Random, Choose::Random), (Strategy::Pct(3), Choose::Pct), (Strategy::Urw, Choose::Urw)];

/// Schedules a second, by strategy.
pub(crate) fn schedules(rounds: u32) {
    println!("## Schedules a second\n");
    println!("| program | strategy | ours | without race detection | each access a step | shuttle | ratio |");
    println!("|---|---|---|---|---|---|---|");
    for program in [BITMAP, BUFFER] {
        for (strategy, choose) in STRATEGIES {
            let mut first = 0;
            let mut fresh = move || {
                first += 1_000_000;
                first
            };
            let run = |settings: Settings, from: u64| {
                const COUNT: u64 = 20_000;
                for seed in from..from + COUNT {
                    std::hint::black_box(ours::seed(program, settings, strategy, seed).0.digest);
                }
                COUNT
            };
            let [all, bare, accesses, theirs] = interleaved(
                rounds,
                [
                    Row::new(|| run(PLAIN, 0)),
                    Row::new(|| run(Settings { races: false, ..PLAIN }, 0)),
                    Row::new(|| run(Settings { accesses: true, ..PLAIN }, 0)),
                    Row::new(|| {
                        const COUNT: u64 = 4_000;
                        shuttles::runs(program, choose, fresh(), COUNT);
                        COUNT
                    }),
                ],
            );
            let accesses = if program == BITMAP { short(accesses) } else { "-".to_owned() };
            println!(
                "| {} | {strategy} | {} | {} | {accesses} | {} | {} |",
                program.name(),
                short(all),
                short(bare),
                short(theirs),
                times(all, theirs)
            );
        }
    }
}

/// In how many schedules the planted bugs are found.
pub(crate) fn bugs() {
    const REPETITIONS: u64 = 201;
    const MOST: u64 = 2_000;
    println!("\n## Schedules until the planted bug is found (median of {REPETITIONS})\n");
    println!("| program | strategy | ours | shuttle |");
    println!("|---|---|---|---|");
    for program in [Program::CheckThenAct, Program::Deadlock] {
        for (strategy, choose) in STRATEGIES {
            let of_ours = (0..REPETITIONS)
                .map(|nth| ours::until_found(program, strategy, nth * 1_000_000, MOST))
                .collect();
            let of_shuttle = (0..REPETITIONS)
                .map(|nth| shuttles::until_found(program, choose, nth * 1_000_000 + 7, MOST))
                .collect();
            println!("| {} | {strategy} | {} | {} |", program.name(), median(of_ours), median(of_shuttle));
        }
        println!(
            "| {} | systematic | {} by partial-order reduction | loom {}, stateright {} states |",
            program.name(),
            ours::search_until_found(program),
            looms::until_found(program),
            states::until_found(program).map_or_else(|| "never".to_owned(), |count| count.to_string())
        );
    }
}

/// Beyond so many runs, an exhaustive search of a peer is stopped.
const MOST: u64 = 100_000;

fn verdict(finals: &Finals, expected: &Finals, complete: bool) -> &'static str {
    match (finals.states == expected.states, complete) {
        (true, true) => "the same",
        (true, false) => "the same so far",
        (false, true) => "DIFFERENT",
        (false, false) if finals.states.is_subset(&expected.states) => "stopped, a part of them",
        (false, false) => "DIFFERENT",
    }
}

/// Exhaustive: executions, final states, executions a second.
pub(crate) fn complete(rounds: u32) {
    println!("\n## Exhaustive\n");
    println!(
        "| program | by | executions | orders | final states | beside enumeration | executions a second | ratio |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for program in [
        Program::Bitmap { contexts: 2, pairs: 1 },
        Program::Bitmap { contexts: 2, pairs: 2 },
        Program::Bitmap { contexts: 3, pairs: 1 },
        BITMAP,
        Program::Buffer { producers: 2, items: 1 },
    ] {
        complete_of(program, rounds);
    }
    println!();
    println!(
        "An execution is a run of the program from its beginning. \"Orders\" counts the different orders in which \
         contexts came to the lock: no search that tells them apart can do with fewer executions, and what is above \
         are runs of an order that was seen. Enumeration takes the start of a context and each taking of a lock for a \
         step. The peers take more for steps, and lock once more at the end, to read the state. A state of \
         stateright is a state, not an execution."
    );
}

fn complete_of(program: Program, rounds: u32) {
    let mut expected = Finals::default();
    let enumerated = ours::enumerate(program, 2_000_000, &mut expected);
    let mut of_search = Finals::default();
    let counts = ours::search(program, u64::MAX, Some(&mut of_search));
    let of_loom = Arc::new(Mutex::new(Finals::default()));
    let by_loom = looms::all(program, MOST, Some(&of_loom));
    let of_shuttle = Arc::new(Mutex::new(Finals::default()));
    let by_shuttle = shuttles::all(program, MOST, Some(&of_shuttle));
    let of_states = states::finals(program);
    let (unique, made) = states::all(program);
    // Small searches are repeated until there is something to time.
    let repeat = |runs: u64, once: &dyn Fn() -> u64| {
        let times = (2_000 / runs.max(1)).max(1);
        (0..times).map(|_| once()).sum()
    };
    let [reduced, plain, loom, shuttle, stateright] = interleaved(
        rounds,
        [
            Row::new(|| repeat(counts.runs() / 8, &|| ours::search(program, 20_000, None).runs())),
            Row::new(|| repeat(enumerated / 8, &|| ours::enumerate(program, 20_000, &mut Finals::default()))),
            Row::new(|| repeat(by_loom, &|| looms::all(program, 2_000, None))),
            Row::new(|| repeat(by_shuttle, &|| shuttles::all(program, 2_000, None))),
            Row::new(|| repeat(made / 8, &|| states::all(program).1)),
        ],
    );
    let line = |by: &str, runs: String, finals: &Finals, complete: bool, rate: f64, orders: bool| {
        println!(
            "| {} | {by} | {runs} | {} | {} | {} | {} | {} |",
            program.name(),
            if orders { finals.orders.len().to_string() } else { "-".to_owned() },
            finals.states.len(),
            verdict(finals, &expected, complete),
            short(rate),
            times(reduced, rate)
        );
    };
    let broken_off =
        if counts.blocked > 0 { format!(" and {} broken off", counts.blocked) } else { String::new() };
    line("ours, reduced", format!("{}{broken_off}", counts.complete), &of_search, true, reduced, true);
    line("ours, enumerated", enumerated.to_string(), &expected, true, plain, true);
    let stopped = |runs: u64| if runs + 1 >= MOST { format!("stopped at {runs}") } else { runs.to_string() };
    line("loom", stopped(by_loom), &of_loom.lock().unwrap(), by_loom + 1 < MOST, loom, true);
    line("shuttle, DFS", stopped(by_shuttle), &of_shuttle.lock().unwrap(), by_shuttle < MOST, shuttle, true);
    line("stateright", format!("{made} states, {unique} different"), &of_states, true, stateright, false);
}

/// Plain discrete events.
pub(crate) fn plain_events(rounds: u32) {
    println!("\n## Plain discrete events a second\n");
    println!("| pending | ours | by hand | of by hand | nexosim | of nexosim | ours, a context for each |");
    println!("|---|---|---|---|---|---|---|");
    for pending in [1_000, 100_000] {
        let load = Load::new(pending, 1_000_000);
        let expected = events::by_hand(load);
        for (name, happened) in [
            ("plain events", events::plain(load)),
            ("timers", events::timers(load)),
            ("nexosim", events::nexosim(load)),
        ] {
            assert_eq!(happened, expected, "{name} had other events");
        }
        let [plain, timers, hand, nexosim] = interleaved(
            rounds,
            [
                Row::new(|| events::plain(load).events),
                Row::new(|| events::timers(load).events),
                Row::new(|| events::by_hand(load).events),
                Row::new(|| events::nexosim(load).events),
            ],
        );
        println!(
            "| {pending} | {} | {} | {} | {} | {} | {} |",
            short(plain),
            short(hand),
            times(plain, hand),
            short(nexosim),
            times(plain, nexosim),
            short(timers)
        );
    }
}

/// Two workers beside one.
pub(crate) fn workers(rounds: u32) {
    const COUNT: u64 = 100_000;
    println!("\n## Workers\n");
    let mut digests = [0; 2];
    let [first, second] = &mut digests;
    let [one, two] = interleaved(
        rounds,
        [
            Row::new(|| {
                *first = ours::campaign(BITMAP, COUNT, 1);
                COUNT
            }),
            Row::new(|| {
                *second = ours::campaign(BITMAP, COUNT, 2);
                COUNT
            }),
        ],
    );
    assert_eq!(digests[0], digests[1], "two workers came to something else than one");
    println!("| program | one worker | two workers | ratio |");
    println!("|---|---|---|---|");
    println!("| {} | {} | {} | {} |", BITMAP.name(), short(one), short(two), times(two, one));
}
