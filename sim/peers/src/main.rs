//! The engine beside its peers, on the same programs, in one run: `just bench-peers [ROUNDS]`.
//!
//! Everything that is compared is run in turn, and the fastest of the rounds counts. What everybody found is compared
//! before anything is timed; what differs is printed.

mod events;
mod exhaustive;
mod looms;
mod measure;
mod ours;
mod program;
mod shuttles;
mod states;
mod tables;
mod threads;

fn main() {
    let rounds = match std::env::args().nth(1).map(|text| text.parse::<u32>()) {
        None => 5,
        Some(Ok(rounds)) if rounds > 0 => rounds,
        Some(_) => {
            eprintln!("the number of rounds is expected: a number from 1 on");
            std::process::exit(2);
        }
    };
    // Peers report a bug that they found by a panic, hundreds of times here.
    std::panic::set_hook(Box::new(|_| {}));
    let over = std::panic::catch_unwind(|| {
        tables::schedules(rounds);
        tables::bugs();
        tables::complete(rounds);
        tables::plain_events(rounds);
        tables::workers(rounds);
    });
    if let Err(what) = over {
        let text = what
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| what.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        println!("the bench failed: {text}");
        std::process::exit(1);
    }
}
