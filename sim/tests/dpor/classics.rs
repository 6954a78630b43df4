//! The programs on which such searches are compared in the papers, and how many classes of interleavings they have.

use std::rc::Rc;

use sim::explore::dpor::Limits;
use sim::sync::{Atomic, LockClass, Mutex, Var};
use sim::{Cx, RunConfig, SpawnSpec};

use crate::common::{Program, enumerate, search};

const LEFT: LockClass = LockClass::new(0, "locki");
const RIGHT: LockClass = LockClass::new(1, "lockb");
/// A page that says what is asserted here.
const PAGE: &str = include_str!("../../../docs/check.md");

fn config() -> RunConfig {
    RunConfig { races: false, max_steps: 2_000, ..RunConfig::default() }
}

fn vars(cx: &Cx, count: u64) -> Rc<Vec<Var<u64>>> {
    Rc::new((0..count).map(|_| Var::new(cx, "cell", 0)).collect())
}

fn mutexes(cx: &Cx, class: LockClass, count: u64) -> Rc<Vec<Mutex>> {
    Rc::new((0..count).map(|_| Mutex::new(cx, class)).collect())
}

fn thread(cx: &Cx, body: impl AsyncFnOnce(&Cx) + 'static) {
    cx.spawn(SpawnSpec::device("thread"), |cx| async move { body(&cx).await });
}

fn index(n: u64) -> usize {
    usize::try_from(n).expect("small")
}

fn values(cells: &[Var<u64>]) -> String {
    format!("{:?}", cells.iter().map(Var::peek).collect::<Vec<_>>())
}

/// One writes a variable, `n` read it.
fn readers(n: u64) -> Program {
    Rc::new(move |cx| {
        let cells = vars(cx, 1);
        let seen = vars(cx, n);
        let inner = Rc::clone(&cells);
        thread(cx, async move |cx| inner[0].write_once(cx, 1).await);
        for reader in 0..n {
            let (cells, seen) = (Rc::clone(&cells), Rc::clone(&seen));
            thread(cx, async move |cx| {
                let value = cells[0].read_once(cx).await;
                seen[index(reader)].init(value);
            });
        }
        Box::new(move || values(&seen))
    })
}

/// `n` threads set each cell to one more than the one before it; one looks for the last zero.
fn last_zero(n: u64) -> Program {
    Rc::new(move |cx| {
        let cells = vars(cx, n + 1);
        let inner = Rc::clone(&cells);
        thread(cx, async move |cx| {
            let mut at = index(n);
            while inner[at].read_once(cx).await != 0 {
                at -= 1;
            }
        });
        for at in 1..=index(n) {
            let cells = Rc::clone(&cells);
            thread(cx, async move |cx| {
                let before = cells[at - 1].read_once(cx).await;
                cells[at].write_once(cx, before + 1).await;
            });
        }
        Box::new(move || values(&cells))
    })
}

/// `n` threads put four messages each into a hash table of 128 entries.
fn indexer(n: u64) -> Program {
    Rc::new(move |cx| {
        let table: Rc<Vec<Atomic>> = Rc::new((0..128).map(|_| Atomic::new(cx, "entry", 0)).collect());
        for tid in 0..n {
            let table = Rc::clone(&table);
            thread(cx, async move |cx| {
                for message in 1..=4 {
                    let w = message * 11 + tid;
                    let mut h = index((w * 7) % 128);
                    while table[h].compare_exchange(cx, 0, i64::try_from(w).expect("small")).await != 0 {
                        h = (h + 1) % 128;
                    }
                }
            });
        }
        Box::new(move || format!("{:?}", table.iter().map(Atomic::peek).collect::<Vec<_>>()))
    })
}

/// `n` threads take an inode and a block each, both behind locks.
fn file_system(n: u64) -> Program {
    Rc::new(move |cx| {
        let (inodes, busy) = (vars(cx, 32), vars(cx, 26));
        let (locki, lockb) = (mutexes(cx, LEFT, 32), mutexes(cx, RIGHT, 26));
        for tid in 0..n {
            let (inodes, busy) = (Rc::clone(&inodes), Rc::clone(&busy));
            let (locki, lockb) = (Rc::clone(&locki), Rc::clone(&lockb));
            thread(cx, async move |cx| {
                let i = index(tid % 32);
                locki[i].lock(cx).await;
                if inodes[i].read_once(cx).await == 0 {
                    let mut b = (i * 2) % 26;
                    loop {
                        lockb[b].lock(cx).await;
                        if busy[b].read_once(cx).await == 0 {
                            busy[b].write_once(cx, 1).await;
                            inodes[i].write_once(cx, b as u64 + 1).await;
                            lockb[b].unlock(cx);
                            break;
                        }
                        lockb[b].unlock(cx);
                        b = (b + 1) % 26;
                    }
                }
                locki[i].unlock(cx);
            });
        }
        Box::new(move || values(&inodes))
    })
}

/// `n` philosophers take the fork at their left and then the one at their right; if `polite`, the last one begins at his
/// right, so that nobody starves.
fn philosophers(n: u64, polite: bool) -> Program {
    Rc::new(move |cx| {
        let forks = mutexes(cx, LEFT, n);
        for seat in 0..n {
            let forks = Rc::clone(&forks);
            thread(cx, async move |cx| {
                let (mut first, mut second) = (index(seat), index((seat + 1) % n));
                if polite && seat + 1 == n {
                    std::mem::swap(&mut first, &mut second);
                }
                forks[first].lock(cx).await;
                forks[second].lock_nested(cx).await;
                forks[second].unlock(cx);
                forks[first].unlock(cx);
            });
        }
        Box::new(String::new)
    })
}

/// Name, program, published number of classes if there is one, and the number here.
fn table() -> Vec<(String, Program, Option<u64>, u64)> {
    let mut rows: Vec<(String, Program, Option<u64>, u64)> = Vec::new();
    for (n, classes) in [(2, 4), (8, 256)] {
        rows.push((format!("readers({n})"), readers(n), Some(classes), classes));
    }
    for (n, classes) in [(5, 64), (10, 3_328)] {
        rows.push((format!("last-zero({n})"), last_zero(n), Some(classes), classes));
    }
    for (n, classes) in [(12, 8), (15, 4_096)] {
        rows.push((format!("indexer({n})"), indexer(n), Some(classes), classes));
    }
    for (n, classes) in [(14, 2), (16, 8), (18, 32)] {
        rows.push((format!("file-system({n})"), file_system(n), Some(classes), classes));
    }
    for n in [2, 3, 4, 5] {
        rows.push((format!("philosophers({n})"), philosophers(n, false), None, (1 << n) - 1));
        rows.push((format!("philosophers({n}), polite"), philosophers(n, true), None, (1 << n) - 2));
    }
    rows
}

#[test]
fn the_classics_have_as_many_classes_as_is_published() {
    let mut lines = Vec::new();
    let mut wrong = Vec::new();
    for (name, program, published, expected) in table() {
        let (counts, _) = search(config(), &Limits::default(), &program, 200_000).expect("it ends");
        let published = published.map_or_else(|| "-".to_owned(), |n| n.to_string());
        lines.push(format!("| {name} | {published} | {} | {} |", counts.complete, counts.blocked));
        if counts.complete != expected {
            wrong.push(format!("{name}: {} and not {expected}", counts.complete));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    for line in lines {
        assert!(PAGE.contains(&line), "docs/check.md has no line\n{line}");
    }
}

#[test]
fn only_greedy_philosophers_starve_and_small_classics_agree_with_enumeration() {
    for n in [2, 3] {
        for polite in [false, true] {
            let program = philosophers(n, polite);
            let (_, found) = search(config(), &Limits::default(), &program, 10_000).expect("it ends");
            let starved = found.iter().any(|outcome| outcome.contains("deadlock"));
            assert_eq!(starved, !polite, "{found:?}");
            if n == 2 {
                let (_, all) = enumerate(config(), &program, 100_000).expect("small");
                assert_eq!(found, all);
            }
        }
    }
    for program in [readers(3), last_zero(2)] {
        let (_, found) = search(config(), &Limits::default(), &program, 10_000).expect("it ends");
        assert_eq!(found, enumerate(config(), &program, 200_000).expect("small").1);
    }
}
