//! How values are read.

use std::ops::Range;

/// Seeds stay below this: each is exact in JSON, and counting on from them cannot overflow.
const SEED_LIMIT: u64 = 1 << 53;

pub(super) fn parse_seed(text: &str) -> Result<u64, String> {
    match text.replace('_', "").parse::<u64>() {
        Ok(seed) if seed < SEED_LIMIT => Ok(seed),
        Ok(_) => Err("a seed is below 2^53".to_owned()),
        Err(_) => Err(format!("`{text}` is not a seed: a whole number is expected")),
    }
}

pub(super) fn parse_seeds(text: &str) -> Result<Range<u64>, String> {
    let range = match text.split_once("..") {
        Some((start, end)) => parse_seed(start)?..parse_seed(end)?,
        None => 0..parse_seed(text)?,
    };
    if range.is_empty() {
        return Err(format!("`{text}` holds no seed: a run of nothing proves nothing"));
    }
    Ok(range)
}

pub(super) fn parse_jobs(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(jobs @ 1..=1024) => Ok(jobs),
        _ => Err(format!("`{text}` is not a number of threads: 1 to 1024 are allowed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_a_number_or_a_range() {
        assert_eq!(parse_seeds("1_000"), Ok(0..1000));
        assert_eq!(parse_seeds("7..9"), Ok(7..9));
        for wrong in ["0", "9..7", "7..7", "", "x", "1..", "-1", "9223372036854775808", "1..2..3"] {
            assert!(parse_seeds(wrong).is_err(), "{wrong}");
        }
    }
}
