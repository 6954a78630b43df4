//! Running statements.

use std::rc::Rc;
use std::sync::Arc;

use sim::choices::Stream;
use sim::sync::SpinLock;
use sim::{Frame, IrqFlags};
use smallvec::SmallVec;

use super::instance::{Env, wait_all};
use super::io;
use super::items::draw;
use super::maps;
use super::program::{Block, Op};
use crate::dma;
use crate::kernel::Kx;

/// How a statement ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// The next one follows.
    Next,
    /// The function returns with this error.
    Return(u32),
}

/// What a block is the body of, and what is to be undone when it is left.
enum Level<'a> {
    Plain,
    Repeat { left: u64 },
    Call { _frame: Frame<'a> },
    Locked { lock: &'a SpinLock, irqs: Option<IrqFlags> },
}

/// A block that has been entered.
struct Entered<'a> {
    ops: &'a [Op],
    next: usize,
    level: Level<'a>,
}

impl<'a> Entered<'a> {
    fn new(ops: &'a [Op], level: Level<'a>) -> Self {
        Self { ops, next: 0, level }
    }

    fn leave(self, kx: &Kx) {
        if let Level::Locked { lock, irqs } = self.level {
            match irqs {
                Some(flags) => lock.unlock_irqrestore(kx, flags),
                None => lock.unlock(kx),
            }
        }
    }
}

/// Runs a block. Blocks nest: those that were entered stand on a list of our own, so that a preemption point in the
/// innermost one costs no more than in the outermost.
pub(super) async fn run_block(kx: &Kx, env: &Rc<Env>, block: &Block) -> Flow {
    let mut entered: SmallVec<[Entered<'_>; 6]> = SmallVec::new();
    entered.push(Entered::new(block, Level::Plain));
    while let Some(top) = entered.last_mut() {
        let Some(op) = top.ops.get(top.next) else {
            if let Level::Repeat { left } = &mut top.level
                && *left > 1
                && !leaving(env)
            {
                *left -= 1;
                top.next = 0;
            } else if let Some(done) = entered.pop() {
                done.leave(kx);
            }
            continue;
        };
        top.next += 1;
        let inner = match op {
            Op::Repeat { times, body } => {
                let left = draw(kx, "repetitions", times);
                if left == 0 || leaving(env) {
                    continue;
                }
                Entered::new(body, Level::Repeat { left })
            }
            Op::Call { function, body } => Entered::new(body, Level::Call { _frame: kx.enter(function) }),
            Op::Lock { lock, irqsave, body } => {
                let Some(lock) = env.instance.locks.get(usize::from(*lock)) else { continue };
                let irqs = if *irqsave {
                    Some(lock.lock_irqsave(kx).await)
                } else {
                    lock.lock(kx).await;
                    None
                };
                Entered::new(body, Level::Locked { lock, irqs })
            }
            Op::Maybe { percent, body } => {
                if !kx.chance(Stream::Workload, "maybe", u64::from(*percent) * 10) {
                    continue;
                }
                Entered::new(body, Level::Plain)
            }
            op => {
                if let Err(errno) = run_op(kx, env, op).await {
                    while let Some(done) = entered.pop() {
                        done.leave(kx);
                    }
                    return Flow::Return(errno);
                }
                continue;
            }
        };
        entered.push(inner);
    }
    Flow::Next
}

/// Whether the driver is being removed, so that its work ends before the next repetition.
fn leaving(env: &Env) -> bool {
    env.instance.going.get() && !env.is_probe
}

/// Runs a statement that has no body.
async fn run_op(kx: &Kx, env: &Rc<Env>, op: &Op) -> Result<(), u32> {
    let dev = env.instance.ptr;
    match op {
        Op::SetMask(bits) => dma::dma_set_mask(kx, dev, *bits).await,
        Op::SetCoherentMask(bits) => dma::dma_set_coherent_mask(kx, dev, *bits).await,
        Op::SetParms { min_align, max_seg, boundary } => {
            dma::dma_set_parms(kx, dev, *min_align, *max_seg, *boundary).await
        }
        Op::AllocCoherent { name, size } => io::alloc_coherent(kx, env, *name, size).await,
        Op::FreeCoherent(name) => io::free_coherent(kx, env, *name).await,
        Op::AllocBuffer { name, size, slab, fill } => {
            io::alloc_buffer(kx, env, *name, size, *slab, *fill).await
        }
        Op::FreeBuffer(name) => io::free_buffer(kx, env, *name).await,
        Op::AllocObject { name, type_name, size } => io::alloc_object(kx, env, *name, type_name, *size).await,
        Op::FreeObject(name) => io::free_object(kx, env, *name).await,
        Op::Map(args) => maps::map(kx, env, args).await,
        Op::MapSg(args) => maps::map_sg(kx, env, args).await,
        Op::Unmap(name) => maps::unmap(kx, env, *name).await,
        Op::UnmapSg(name) => maps::unmap_sg(kx, env, *name).await,
        Op::Sync { name, for_cpu } => maps::sync(kx, env, *name, *for_cpu).await,
        Op::CpuWrite(name) => io::cpu_write(kx, env, *name).await,
        Op::CpuRead(name) => io::cpu_read(kx, env, *name).await,
        Op::Device { name, write } => io::device(kx, env, *name, *write).await,
        Op::Submit { name, write, latency_us, irq } => {
            io::submit(kx, env, *name, *write, latency_us, Arc::clone(irq));
            Ok(())
        }
        Op::WaitAll => {
            wait_all(kx, env).await;
            Ok(())
        }
        Op::Sleep(us) => {
            kx.sleep(draw(kx, "sleep", us) * 1000).await;
            Ok(())
        }
        Op::ReturnError(errno) => Err(*errno),
        Op::Repeat { .. } | Op::Call { .. } | Op::Lock { .. } | Op::Maybe { .. } => {
            unreachable!("run_block enters the bodies")
        }
    }
}
