//! Results of parts, joined to what one run would have given.

use crate::json::{PartJson, TestJson, TestedJson};

/// Which of `of` parts takes the scenario or variant number `index`, both from 0.
#[must_use]
pub const fn part_of(index: usize, of: usize) -> usize {
    if of == 0 { 0 } else { index % of }
}

/// Joins the results of all parts, each with a name for messages.
///
/// # Errors
/// Says which part is missing, comes twice, was interrupted, or does not belong to the others.
pub fn merge(parts: &[(String, TestJson)]) -> Result<TestJson, String> {
    let Some((first, of)) = parts.iter().find_map(|(name, part)| Some((name, part.part.as_ref()?.of))) else {
        return Err(
            "none of these is the result of a part (`dmasim test --partition K/N --format json`)".to_owned()
        );
    };
    let mut places: Vec<Option<(&str, &TestJson)>> = vec![None; of];
    for (name, result) in parts {
        let Some(part) = &result.part else {
            return Err(format!("{name} is the result of a whole run and not of a part"));
        };
        if part.of != of {
            return Err(format!("{name} is one of {} parts, {first} is one of {of}", part.of));
        }
        if result.interrupted {
            return Err(format!("{name} was interrupted: run part {}/{of} again", part.part));
        }
        let Some(place) = part.part.checked_sub(1).and_then(|at| places.get_mut(at)) else {
            return Err(format!("{name} says that it is part {}/{of}", part.part));
        };
        if let Some((other, _)) = place {
            return Err(format!("{other} and {name} are both part {}/{of}", part.part));
        }
        *place = Some((name, result));
    }
    let missing: Vec<String> = (1..=of)
        .zip(&places)
        .filter(|(_, place)| place.is_none())
        .map(|(n, _)| format!("{n}/{of}"))
        .collect();
    if !missing.is_empty() {
        return Err(format!("part {} is missing", missing.join(", ")));
    }
    let mut queues: Vec<(&str, std::slice::Iter<'_, TestedJson>)> =
        places.into_iter().flatten().map(|(name, part)| (name, part.scenarios.iter())).collect();
    let total: usize = queues.iter().map(|(_, queue)| queue.len()).sum();
    let mut whole = TestJson::default();
    for index in 0..total {
        let (name, queue) = &mut queues[part_of(index, of)];
        let Some(tested) = queue.next() else {
            return Err(format!("{name} has too few scenarios: the parts are not of one set of scenarios"));
        };
        whole.add(tested.clone());
    }
    Ok(whole)
}

impl PartJson {
    /// Part `part` of `of`, from 1.
    #[must_use]
    pub const fn new(part: usize, of: usize) -> Self {
        Self { part, of }
    }
}
