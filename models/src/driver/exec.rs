//! Running statements.

use std::rc::Rc;
use std::sync::Arc;

use sim::choices::Stream;
use sim::sync::SpinLock;
use sim::{Frame, IrqFlags};
use smallvec::SmallVec;

use super::instance::{Env, share, take_shared, wait_all};
use super::io;
use super::items::{Item, draw};
use super::maps;
use super::power::rest;
use super::program::{Block, Op};
use crate::device::links::{device_link_add, device_link_remove};
use crate::dma;
use crate::iommu::core::amd_iommu_init_device;
use crate::kernel::Kx;
use crate::scenario::schema::Dist;

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
    Requeue(Requeue<'a>),
}

/// A request that is tried until it works, as the block layer does.
///
/// Source: `block/blk-mq.c: blk_mq_dispatch_rq_list()`, `blk_mq_handle_dev_resource()`, v6.1.
struct Requeue<'a> {
    /// Tries after this one.
    left: u32,
    delay_us: &'a Dist,
    /// What the request had not made when this try began.
    before: Vec<Option<Item>>,
}

impl<'a> Requeue<'a> {
    fn first(env: &Env, times: u32, delay_us: &'a Dist) -> Self {
        Self::attempt(env, times.saturating_sub(1), delay_us)
    }

    fn attempt(env: &Env, left: u32, delay_us: &'a Dist) -> Self {
        env.tries.set(env.tries.get() + u32::from(left > 0));
        Self { left, delay_us, before: env.snapshot() }
    }

    fn ended(&self, env: &Env) {
        env.tries.set(env.tries.get() - u32::from(self.left > 0));
    }

    /// After a failure: undoes what this try has made, waits, and begins the next one, if there is one.
    async fn again(self, kx: &Kx, env: &Rc<Env>) -> Option<Self> {
        if self.left == 0 || leaving(kx, env) {
            return None;
        }
        // The driver's error path undoes what it has done of the request.
        for item in env.made_since(&self.before).into_iter().rev() {
            io::free_item(kx, item).await;
        }
        maps::pause(kx, draw(kx, "time until the next try", self.delay_us)).await;
        Some(Self::attempt(env, self.left - 1, self.delay_us))
    }
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

    /// Undoes what entering has done. What was to be tried again is returned.
    fn leave(self, kx: &Kx, env: &Env) -> Option<(&'a [Op], Requeue<'a>)> {
        match self.level {
            Level::Locked { lock, irqs: Some(flags) } => {
                kx.order_stores();
                lock.unlock_irqrestore(kx, flags);
            }
            Level::Locked { lock, irqs: None } => {
                kx.order_stores();
                lock.unlock(kx);
            }
            Level::Requeue(requeue) => {
                requeue.ended(env);
                return Some((self.ops, requeue));
            }
            Level::Plain | Level::Repeat { .. } | Level::Call { .. } => {}
        }
        None
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
                && !leaving(kx, env)
            {
                *left -= 1;
                top.next = 0;
                rest(kx, env).await;
            } else if let Some(done) = entered.pop() {
                let _ = done.leave(kx, env);
            }
            continue;
        };
        top.next += 1;
        let inner = match op {
            Op::Repeat { times, body } => {
                let left = draw(kx, "repetitions", times);
                if left == 0 || leaving(kx, env) {
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
            Op::Requeue { times, delay_us, body } => {
                Entered::new(body, Level::Requeue(Requeue::first(env, *times, delay_us)))
            }
            op => {
                let Err(errno) = run_op(kx, env, op).await else { continue };
                let mut again = None;
                while again.is_none()
                    && let Some(done) = entered.pop()
                {
                    if let Some((ops, requeue)) = done.leave(kx, env) {
                        again = requeue.again(kx, env).await.map(|requeue| (ops, requeue));
                    }
                }
                let Some((ops, requeue)) = again else { return Flow::Return(errno) };
                Entered::new(ops, Level::Requeue(requeue))
            }
        };
        entered.push(inner);
    }
    Flow::Next
}

/// Whether the driver is being removed, or the machine is off, so that its work ends before the next repetition.
fn leaving(kx: &Kx, env: &Env) -> bool {
    (env.instance.going.get() || kx.k.power.is_over()) && !env.is_probe
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
        Op::DeclareCoherent(range) => {
            if let Err(errno) = dma::dma_declare_coherent_memory(kx, dev, *range).await {
                kx.log(|| format!("{}: no coherent memory of its own: -{errno}", kx.k.dev_string(dev)));
            }
            Ok(())
        }
        Op::ReleaseCoherent => {
            dma::dma_release_coherent_memory(kx, dev).await;
            Ok(())
        }
        Op::LimitToMaxMapping => {
            env.instance.max_mapping.set(dma::dma_max_mapping_size(kx, dev).await);
            Ok(())
        }
        Op::AddLink { supplier, flags } => {
            if let (Some(con), Some(sup)) = (kx.k.node(env.instance.device), kx.k.node(*supplier)) {
                let _ = device_link_add(kx, &con, &sup, *flags).await;
            }
            Ok(())
        }
        Op::RemoveLink { supplier } => {
            if let (Some(con), Some(sup)) = (kx.k.node_of(dev), kx.k.node(*supplier)) {
                device_link_remove(kx, &con, &sup).await;
            }
            Ok(())
        }
        Op::AllocCoherent { name, size, managed } => io::alloc_coherent(kx, env, *name, size, *managed).await,
        Op::FreeCoherent { name, cpu_offset } => io::free_coherent(kx, env, *name, *cpu_offset).await,
        Op::AllocBuffer { name, size, from, fill } => {
            io::alloc_buffer(kx, env, *name, size, *from, *fill).await
        }
        Op::FreeBuffer(name) => io::free_buffer(kx, env, *name).await,
        Op::AllocObject { name, type_name, size } => io::alloc_object(kx, env, *name, type_name, *size).await,
        Op::FreeObject(name) => io::free_object(kx, env, *name).await,
        Op::Map(args) => maps::map(kx, env, args).await,
        Op::MapSg(args) => maps::map_sg(kx, env, args).await,
        Op::Unmap(args) => maps::unmap(kx, env, args).await,
        Op::UnmapSg(args) => maps::unmap_sg(kx, env, args).await,
        Op::Sync(args) => maps::sync(kx, env, args).await,
        Op::CpuWrite(name) => io::cpu_write(kx, env, *name).await,
        Op::CpuRead(name) => io::cpu_read(kx, env, *name).await,
        Op::Device { part, write } => io::device(kx, env, part, *write).await,
        Op::Submit { part, write, latency_us, irq } => {
            io::submit(kx, env, part, *write, latency_us, Arc::clone(irq));
            Ok(())
        }
        Op::EnablePasid => amd_iommu_init_device(kx, env.instance.ptr).await,
        Op::WaitAll => {
            wait_all(kx, env).await;
            Ok(())
        }
        Op::Share(name) => {
            share(kx, env, *name).await;
            Ok(())
        }
        Op::Take { name, within_us } => {
            take_shared(kx, env, *name, *within_us).await;
            Ok(())
        }
        Op::Sleep(us) => {
            kx.sleep(draw(kx, "sleep", us) * 1000).await;
            Ok(())
        }
        Op::ReturnError(errno) => Err(*errno),
        Op::Repeat { .. } | Op::Requeue { .. } | Op::Call { .. } | Op::Lock { .. } | Op::Maybe { .. } => {
            unreachable!("run_block enters the bodies")
        }
    }
}
