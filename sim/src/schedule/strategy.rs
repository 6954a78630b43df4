//! The strategies by name.

use std::fmt;

use super::{Delay, Estimate, Guide, Pct, Pos, Random, Rff, RoundRobin, Schedule, Urw};

/// The strategies by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// See [`RoundRobin`].
    RoundRobin,
    /// See [`Random`].
    Random,
    /// See [`Pct`]; the number is the bug depth d.
    Pct(u32),
    /// See [`Pos`].
    Pos,
    /// See [`Urw`].
    Urw,
    /// See [`Delay`]; the number is how many delays there are at most.
    Delay(u32),
    /// See [`Rff`].
    Rff,
    /// Another strategy for each seed.
    Swarm,
}

/// Largest number behind `pct:` and `delay:`.
const MOST: u32 = 32;

impl Strategy {
    /// Names and what they are, for listings and error messages.
    pub const NAMES: [(&'static str, &'static str); 8] = [
        ("swarm", "another of the strategies below for each seed (default)"),
        ("random", "each step uniformly among the contexts that could go on"),
        (
            "pct:D",
            "random priorities with D-1 change points: finds a bug of depth D with a probability of 1/(n k^(D-1)) at least",
        ),
        (
            "pos",
            "partial-order sampling: a random priority for each step, drawn anew for those that conflict with the one taken",
        ),
        (
            "urw",
            "uniform random walk: each interleaving as likely as another, by the work that each context has left",
        ),
        (
            "delay:K",
            "one context after the other until it cannot go on, with K delays of the next one at random moments",
        ),
        ("rff", "reads-from fuzzing: seeds that showed a new order of accesses are kept and mutated"),
        ("round-robin", "each context in turn, some steps at a time; the same for every seed"),
    ];

    /// One of each, with the numbers that stand for `pct` and `delay` without any.
    pub const ALL: [Self; 8] = [
        Self::Swarm,
        Self::Random,
        Self::Pct(3),
        Self::Pos,
        Self::Urw,
        Self::Delay(2),
        Self::Rff,
        Self::RoundRobin,
    ];

    /// Reads a strategy's name.
    ///
    /// # Errors
    /// Says what was found, what is expected, and which name is nearest.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, number) = match text.split_once(':') {
            Some((name, number)) => (name, Some(number)),
            None => (text, None),
        };
        let with = |what: &str, absent: u32| match number.map(str::parse) {
            None => Ok(absent),
            Some(Ok(number @ 1..=MOST)) => Ok(number),
            Some(_) => Err(format!(
                "\"{}\" is not a {what} for {name}: a number from 1 to {MOST} is expected",
                number.unwrap_or_default()
            )),
        };
        let strategy = match name {
            "pct" => return with("depth", 3).map(Self::Pct),
            "delay" => return with("number of delays", 2).map(Self::Delay),
            "swarm" => Self::Swarm,
            "random" => Self::Random,
            "pos" => Self::Pos,
            "urw" => Self::Urw,
            "rff" => Self::Rff,
            "round-robin" => Self::RoundRobin,
            _ => {
                let names: Vec<_> = Self::NAMES.iter().map(|(name, _)| *name).collect();
                let near = nearest(name).map_or_else(String::new, |near| format!(" did you mean {near}?"));
                return Err(format!("unknown strategy \"{text}\";{near} there are {}", names.join(", ")));
            }
        };
        match number {
            None => Ok(strategy),
            Some(number) => Err(format!("{name} takes no number, found \":{number}\"")),
        }
    }

    /// What a swarm uses for a seed that drew this.
    #[must_use]
    pub fn of_swarm(drawn: u64) -> Self {
        SWARM[usize::try_from(drawn).map_or(0, |nth| nth.min(SWARM.len() - 1))]
    }

    /// The strategy for one seed. `estimate` is what is known of a run of this program. A swarm draws which one it is,
    /// from `draw`, a choice among that many alternatives.
    pub fn build(self, estimate: impl Into<Estimate>, draw: impl FnOnce(u64) -> u64) -> Box<dyn Schedule> {
        self.build_guided(estimate, None, draw)
    }

    /// The same, where [`Strategy::Rff`] tries to bring about what `guide` asks for.
    pub fn build_guided(
        self,
        estimate: impl Into<Estimate>,
        guide: Option<&Guide>,
        draw: impl FnOnce(u64) -> u64,
    ) -> Box<dyn Schedule> {
        let one = if self == Self::Swarm { Self::of_swarm(draw(SWARM.len() as u64)) } else { self };
        one.make(estimate.into(), guide)
    }

    fn make(self, estimate: Estimate, guide: Option<&Guide>) -> Box<dyn Schedule> {
        match self {
            Self::RoundRobin => Box::new(RoundRobin::new()),
            // No swarm is a part of a swarm.
            Self::Random | Self::Swarm => Box::new(Random),
            Self::Pct(depth) => Box::new(Pct::new(depth, estimate.decisions)),
            Self::Pos => Box::new(Pos::new()),
            Self::Urw => Box::new(Urw::new(estimate)),
            Self::Delay(most) => Box::new(Delay::new(most, estimate.decisions)),
            Self::Rff => Box::new(Rff::new(guide, estimate)),
        }
    }
}

/// What a swarm draws from: a third of the seeds at random, a third by priorities with few or several change points,
/// a third by the others. Entry 0 is what a shortened run falls back to.
const SWARM: [Strategy; 12] = [
    Strategy::Random,
    Strategy::Random,
    Strategy::Random,
    Strategy::Random,
    Strategy::Pct(2),
    Strategy::Pct(3),
    Strategy::Pct(3),
    Strategy::Pct(6),
    Strategy::Pos,
    Strategy::Urw,
    Strategy::Delay(2),
    Strategy::Rff,
];

/// The name that takes the fewest letters to change, if they are few.
fn nearest(found: &str) -> Option<&'static str> {
    let found = found.to_lowercase();
    let plain = |name: &'static str| name.split(':').next().unwrap_or(name);
    Strategy::NAMES
        .iter()
        .map(|(name, _)| (distance(&found, plain(name)), *name))
        .filter(|(changes, name)| *changes <= 1 + plain(name).len() / 3 && *changes < plain(name).len())
        .min_by_key(|(changes, _)| *changes)
        .map(|(_, name)| name)
}

/// Insertions, deletions and replacements of letters that turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().take(64).enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = replaced.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()].max(a.len().saturating_sub(64))
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RoundRobin => f.write_str("round-robin"),
            Self::Random => f.write_str("random"),
            Self::Pct(depth) => write!(f, "pct:{depth}"),
            Self::Pos => f.write_str("pos"),
            Self::Urw => f.write_str("urw"),
            Self::Delay(most) => write!(f, "delay:{most}"),
            Self::Rff => f.write_str("rff"),
            Self::Swarm => f.write_str("swarm"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for strategy in Strategy::ALL.into_iter().chain([Strategy::Pct(1), Strategy::Delay(32)]) {
            assert_eq!(Strategy::parse(&strategy.to_string()), Ok(strategy));
        }
        assert_eq!(Strategy::parse("pct"), Ok(Strategy::Pct(3)));
        assert_eq!(Strategy::parse("delay"), Ok(Strategy::Delay(2)));
    }

    #[test]
    fn a_wrong_name_is_told_with_the_nearest_one() {
        let says = |text: &str| Strategy::parse(text).expect_err("no strategy");
        let all = "there are swarm, random, pct:D, pos, urw, delay:K, rff, round-robin";
        assert_eq!(says("xyzzy"), format!("unknown strategy \"xyzzy\"; {all}"));
        for (wrong, near) in [
            ("randon", "random"),
            ("Swarm", "swarm"),
            ("dely:3", "delay:K"),
            ("urv", "urw"),
            ("round_robin", "round-robin"),
        ] {
            assert!(says(wrong).contains(&format!("did you mean {near}?")), "{}", says(wrong));
        }
        assert_eq!(says("pct:0"), "\"0\" is not a depth for pct: a number from 1 to 32 is expected");
        assert_eq!(
            says("delay:many"),
            "\"many\" is not a number of delays for delay: a number from 1 to 32 is expected"
        );
        assert_eq!(says("pos:3"), "pos takes no number, found \":3\"");
        assert!(says(&"x".repeat(100_000)).len() > 100_000);
    }
}
