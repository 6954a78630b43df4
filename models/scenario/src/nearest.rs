//! The nearest of the names that are allowed, for "did you mean".

/// The name among `allowed` that is nearest to `found`, if any is near enough to be meant.
#[must_use]
pub fn nearest<'a>(found: &str, allowed: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A name that long is no misspelling, and the distance below takes time in proportion to the product.
    if found.is_empty() || found.len() > 80 {
        return None;
    }
    let limit = (found.chars().count() / 3).max(1) + 1;
    let folded = found.to_lowercase();
    let names: Vec<&str> = allowed.into_iter().filter(|name| name.len() <= 80).collect();
    let near = names
        .iter()
        .copied()
        .map(|name| (distance(&folded, &name.to_lowercase()), name))
        .filter(|(d, name)| *d <= limit && *d < name.chars().count())
        .min_by_key(|(d, _)| *d)
        .map(|(_, name)| name);
    near.or_else(|| names.into_iter().find(|name| has_all_words(name, &folded)))
}

/// Whether each of several words of `found` stands in `name`: `static-pool` is meant for `static-default-pool`.
fn has_all_words(name: &str, found: &str) -> bool {
    let words = |text: &str| text.split(['-', '_', ' ']).map(str::to_lowercase).collect::<Vec<_>>();
    let (has, wanted) = (words(name), words(found));
    wanted.len() > 1 && wanted.iter().all(|w| has.contains(w))
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut previous = None;
    for (i, ca) in a.chars().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, &cb) in b.iter().enumerate() {
            let replaced = last[j] + usize::from(ca != cb);
            let mut best = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if j > 0 && previous == Some(cb) && b[j - 1] == ca {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        previous = Some(ca);
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("dirvers", "drivers"), 1, "a swap of neighbours is one edit");
    }

    #[test]
    fn nearest_ignores_case_and_far_names() {
        assert_eq!(nearest("usable", ["Usable", "Unusable"]), Some("Usable"));
        assert_eq!(nearest("swiotlb", ["cmdline", "machine"]), None);
        assert_eq!(nearest("x", ["y"]), None, "nothing of it is left");
        assert_eq!(nearest("static-pool", ["heap-pool", "static-default-pool"]), Some("static-default-pool"));
        assert_eq!(nearest(&"a".repeat(1_000_000), ["aaa"]), None);
    }
}
