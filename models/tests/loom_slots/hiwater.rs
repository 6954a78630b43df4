//! Slots in use, and the most there ever were.

use loom::sync::Arc;
use models::swiotlb::{SharedUsage, SharedWord, Usage};

use crate::explore::{explore, fails, holds};
use crate::platform::{SOUND, Word};

trait Counts: Send + Sync + 'static {
    fn create() -> Self;
    fn add(&self, nslots: u32);
    fn sub(&self, nslots: u32);
    fn get(&self) -> Usage;
}

impl Counts for SharedUsage<Word<SOUND>> {
    fn create() -> Self {
        Self::default()
    }

    fn add(&self, nslots: u32) {
        Self::add(self, nslots);
    }

    fn sub(&self, nslots: u32) {
        Self::sub(self, i64::from(nslots));
    }

    fn get(&self) -> Usage {
        Self::get(self)
    }
}

/// Broken: the mark is compared and stored, but something can come between.
struct MarkStored(Word<SOUND>, Word<SOUND>);

impl Counts for MarkStored {
    fn create() -> Self {
        Self(Word::new(0), Word::new(0))
    }

    fn add(&self, nslots: u32) {
        let used = self.0.add_return(u64::from(nslots));
        if used > self.1.read_once() {
            self.1.write_once(used);
        }
    }

    fn sub(&self, nslots: u32) {
        self.0.add_return(u64::from(nslots).wrapping_neg());
    }

    fn get(&self) -> Usage {
        Usage { total_used: self.0.read_once(), used_hiwater: self.1.read_once() }
    }
}

/// Broken: the total is loaded and stored.
struct TotalStored(MarkStored);

impl Counts for TotalStored {
    fn create() -> Self {
        Self(MarkStored::create())
    }

    fn add(&self, nslots: u32) {
        let used = self.0.0.read_once() + u64::from(nslots);
        self.0.0.write_once(used);
        let mut mark = self.0.1.read_once();
        while used > mark {
            match self.0.1.try_cmpxchg(mark, used) {
                Ok(()) => return,
                Err(higher) => mark = higher,
            }
        }
    }

    fn sub(&self, nslots: u32) {
        self.0.0.write_once(self.0.0.read_once().wrapping_sub(u64::from(nslots)));
    }

    fn get(&self) -> Usage {
        self.0.get()
    }
}

/// Each thread takes its slots; when all have theirs, each gives them back.
fn all_hold<C: Counts>(takes: &[u32]) {
    let counts = Arc::new(C::create());
    // Loom knows five threads in all, so the last of many is this one.
    let each = |step: fn(&C, u32)| {
        let (aside, here) = takes.split_at(takes.len().min(2));
        let threads: Vec<_> = aside
            .iter()
            .map(|&nslots| {
                let counts = Arc::clone(&counts);
                loom::thread::spawn(move || step(&counts, nslots))
            })
            .collect();
        here.iter().for_each(|&nslots| step(&counts, nslots));
        for thread in threads {
            thread.join().unwrap();
        }
    };
    let sum = takes.iter().copied().map(u64::from).sum();
    each(C::add);
    assert_eq!(counts.get(), Usage { total_used: sum, used_hiwater: sum }, "while all hold theirs");
    each(C::sub);
    assert_eq!(counts.get(), Usage { total_used: 0, used_hiwater: sum }, "at the end");
}

/// Each thread takes its slots and gives them back: the mark lies between the largest and the sum.
fn churn<C: Counts>(takes: &[u32]) {
    let counts = Arc::new(C::create());
    let threads: Vec<_> = takes
        .iter()
        .map(|&nslots| {
            let counts = Arc::clone(&counts);
            loom::thread::spawn(move || {
                counts.add(nslots);
                counts.sub(nslots);
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let Usage { total_used, used_hiwater } = counts.get();
    assert_eq!(total_used, 0, "slots in use at the end");
    let most = takes.iter().copied().map(u64::from).max().unwrap();
    let sum: u64 = takes.iter().copied().map(u64::from).sum();
    assert!((most..=sum).contains(&used_hiwater), "mark of {used_hiwater}");
}

#[test]
fn hiwater_2_threads() {
    holds("hiwater_2_threads", None, || all_hold::<SharedUsage<_>>(&[2, 3]));
}

#[test]
fn hiwater_3_threads_bound_3() {
    holds("hiwater_3_threads_bound_3", Some(3), || all_hold::<SharedUsage<_>>(&[1, 2, 4]));
}

#[test]
fn hiwater_churn_2_threads() {
    holds("hiwater_churn_2_threads", None, || churn::<SharedUsage<_>>(&[2, 3]));
}

/// The twin must fail, but not with one thread.
fn is_caught(symptom: &str, model: fn(&[u32])) {
    assert_eq!(explore("one thread", None, move || model(&[5])).failure, None);
    fails("two threads", None, symptom, move || model(&[2, 3]));
}

#[test]
fn hiwater_2_threads_with_mark_stored_is_caught() {
    is_caught("while all hold theirs", all_hold::<MarkStored>);
}

#[test]
fn hiwater_churn_2_threads_with_mark_stored_is_caught() {
    is_caught("mark of 2", churn::<MarkStored>);
}

#[test]
fn hiwater_2_threads_with_total_stored_is_caught() {
    is_caught("slots in use at the end", churn::<TotalStored>);
}
