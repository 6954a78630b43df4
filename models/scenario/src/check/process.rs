//! Processes: what they name, and how much they do.

use super::super::index::Seg;
use super::super::limits;
use super::{Checker, World, did_you_mean, multiplied};
use schema::{ProcStmt, Process};

pub(super) fn check(checker: &mut Checker<'_>, processes: &[Process], world: &World<'_>) {
    if processes.len() > limits::PROCESSES {
        checker.error(&[], format!("{} processes, more than {}", processes.len(), limits::PROCESSES));
        return;
    }
    for (i, process) in processes.iter().enumerate() {
        checker.at(Seg::Index(i), |c| {
            c.name("name", &process.name);
            c.cpu(process.cpu, world);
            c.dist("start_ms", &process.start_ms, 0, limits::DELAY_US / 1_000);
            let mut budget = Budget { left: limits::STATEMENTS, executed: 0 };
            c.field("body", |c| body(c, &process.body, world, 1, 0, &mut budget));
            if budget.left == 0 {
                c.error(&[Seg::Field("body")], format!("more than {} statements", limits::STATEMENTS));
            } else if budget.executed > limits::EXECUTED {
                let message = format!("it may execute more than {} statements", limits::EXECUTED);
                c.error_help(&[Seg::Field("body")], message, "nested repetitions multiply");
            }
        });
    }
}

/// What a context may still say and do.
struct Budget {
    left: usize,
    executed: u64,
}

fn body(
    checker: &mut Checker<'_>,
    list: &[ProcStmt],
    world: &World<'_>,
    times: u64,
    depth: usize,
    budget: &mut Budget,
) {
    if depth > limits::BODY_DEPTH {
        checker.error(&[], format!("statements nest deeper than {} levels", limits::BODY_DEPTH));
        return;
    }
    for (i, stmt) in list.iter().enumerate() {
        if budget.left == 0 {
            return;
        }
        budget.left -= 1;
        budget.executed = budget.executed.saturating_add(times);
        checker.at(Seg::Index(i), |c| one(c, stmt, world, times, depth, budget));
    }
}

fn one(
    checker: &mut Checker<'_>,
    stmt: &ProcStmt,
    world: &World<'_>,
    times: u64,
    depth: usize,
    budget: &mut Budget,
) {
    let bdf_at = [Seg::Field("bdf")];
    match stmt {
        ProcStmt::AllocPages { order, count, fill } => {
            checker.dist("order", order, 0, limits::ORDER);
            checker.dist("count", count, 0, limits::PAGE_BLOCKS);
            budget.executed = budget.executed.saturating_add(multiplied(times, count));
            if !fill.is_empty() && fill.iter().all(|f| f.0 == 0) {
                checker.error(&[Seg::Field("fill")], "there is nothing to choose from");
            }
        }
        ProcStmt::AllocObjects { size, count } => {
            checker.dist("size", size, 1, limits::BYTES);
            checker.dist("count", count, 0, limits::PAGE_BLOCKS);
            budget.executed = budget.executed.saturating_add(multiplied(times, count));
        }
        ProcStmt::FreePages { percent } | ProcStmt::FreeObjects { percent } => checker.percent(*percent),
        ProcStmt::Sleep { us } => checker.dist("us", us, 0, limits::DELAY_US),
        ProcStmt::Repeat { times: more, body: inner } => {
            checker.dist("times", more, 0, limits::EXECUTED);
            let times = multiplied(times, more);
            checker.field("body", |c| body(c, inner, world, times, depth + 1, budget));
        }
        ProcStmt::Plug { bdf }
        | ProcStmt::Unplug { bdf }
        | ProcStmt::Unbind { bdf }
        | ProcStmt::VfioAttach { bdf } => {
            checker.device(&bdf_at, bdf, world);
        }
        ProcStmt::VfioMap { iova, pages } | ProcStmt::VfioUnmap { iova, pages } => {
            user_range(checker, *iova, *pages, budget);
        }
        ProcStmt::VfioDma { bdf, iova, pages } => {
            checker.device(&bdf_at, bdf, world);
            user_range(checker, *iova, *pages, budget);
        }
        ProcStmt::VfioDetach | ProcStmt::Suspend => {}
        ProcStmt::Bind { bdf, driver } => {
            checker.device(&bdf_at, bdf, world);
            if !world.drivers.contains(&driver.as_str()) {
                let help = did_you_mean(driver, world.drivers.iter().copied());
                checker.error_help(
                    &[Seg::Field("driver")],
                    format!("no driver `{driver}` in the scenario"),
                    help,
                );
            }
        }
    }
}

/// Bus addresses that a process chooses: whole pages within 39 bits, as the smallest VT-d units have.
fn user_range(checker: &mut Checker<'_>, iova: u64, pages: u32, budget: &mut Budget) {
    checker.range("pages", pages.into(), 1, limits::PAGE_BLOCKS);
    budget.executed = budget.executed.saturating_add(pages.into());
    if !iova.is_multiple_of(4096) {
        checker.error(&[Seg::Field("iova")], format!("{iova:#x} is not a multiple of 4096"));
    } else if iova >= 1 << 38 {
        checker.error(&[Seg::Field("iova")], format!("{iova:#x} has more than 38 bits"));
    }
}
