//! Answering choices by enumeration: every run of a small scenario, once each.

/// A depth-first walk over all answers. Start with [`Enumeration::new`], run, then [`Enumeration::advance`] until
/// it says that nothing is left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Enumeration {
    path: Vec<(u64, u64)>,
    position: usize,
}

impl Enumeration {
    /// The walk at its first run, in which every answer is 0.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn answer(&mut self, of: u64) -> u64 {
        let answer = match self.path.get_mut(self.position) {
            Some((taken, alternatives)) => {
                *alternatives = of;
                (*taken).min(of.saturating_sub(1))
            }
            None => {
                self.path.push((0, of));
                0
            }
        };
        self.position += 1;
        answer
    }

    /// Goes to the next run; `false` when all were seen.
    pub fn advance(&mut self) -> bool {
        self.path.truncate(self.position);
        self.position = 0;
        while let Some((taken, of)) = self.path.pop() {
            if taken + 1 < of {
                self.path.push((taken + 1, of));
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_comes_once() {
        let mut walk = Enumeration::new();
        let mut seen = Vec::new();
        loop {
            let first = walk.answer(3);
            // The second choice exists only on some paths.
            let second = (first != 1).then(|| walk.answer(2));
            seen.push((first, second));
            if !walk.advance() {
                break;
            }
        }
        assert_eq!(seen, [(0, Some(0)), (0, Some(1)), (1, None), (2, Some(0)), (2, Some(1))]);
    }
}
