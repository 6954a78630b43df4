//! Running statements.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use sim::choices::Stream;

use super::instance::{Env, wait_all};
use super::io;
use super::items::draw;
use super::maps;
use super::program::{Block, Op};
use crate::dma;
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

/// Runs a block. Boxed: blocks nest.
pub(super) fn run_block<'a>(
    kx: &'a Kx,
    env: &'a Rc<Env>,
    block: &'a Block,
) -> Pin<Box<dyn Future<Output = Flow> + 'a>> {
    Box::pin(async move {
        for op in block.iter() {
            if let Flow::Return(errno) = run_op(kx, env, op).await {
                return Flow::Return(errno);
            }
        }
        Flow::Next
    })
}

async fn run_op(kx: &Kx, env: &Rc<Env>, op: &Op) -> Flow {
    let dev = env.instance.ptr;
    let result = match op {
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
        Op::Repeat { times, body } => return repeat(kx, env, draw(kx, "repetitions", times), body).await,
        Op::Requeue { times, delay_us, body } => return requeue(kx, env, *times, delay_us, body).await,
        Op::Call { function, body } => {
            let _frame = kx.enter(function);
            return run_block(kx, env, body).await;
        }
        Op::Lock { lock, irqsave, body } => return locked(kx, env, *lock, *irqsave, body).await,
        Op::Sleep(us) => {
            kx.sleep(draw(kx, "sleep", us) * 1000).await;
            Ok(())
        }
        Op::Maybe { percent, body } => {
            if kx.chance(Stream::Workload, "maybe", u64::from(*percent) * 10) {
                return run_block(kx, env, body).await;
            }
            Ok(())
        }
        Op::ReturnError(errno) => Err(*errno),
    };
    match result {
        Ok(()) => Flow::Next,
        Err(errno) => Flow::Return(errno),
    }
}

async fn repeat(kx: &Kx, env: &Rc<Env>, times: u64, body: &Block) -> Flow {
    for _ in 0..times {
        if env.instance.going.get() && !env.is_probe {
            break;
        }
        if let Flow::Return(errno) = run_block(kx, env, body).await {
            return Flow::Return(errno);
        }
    }
    Flow::Next
}

/// Tries until it works, as the block layer does with a request.
///
/// Source: `block/blk-mq.c: blk_mq_dispatch_rq_list()`, `blk_mq_handle_dev_resource()`, v6.1.
async fn requeue(kx: &Kx, env: &Rc<Env>, times: u32, delay_us: &Dist, body: &Block) -> Flow {
    let mut left = times;
    loop {
        left = left.saturating_sub(1);
        let before = env.snapshot();
        env.tries.set(env.tries.get() + u32::from(left > 0));
        let flow = run_block(kx, env, body).await;
        env.tries.set(env.tries.get() - u32::from(left > 0));
        if flow == Flow::Next || left == 0 || (env.instance.going.get() && !env.is_probe) {
            return flow;
        }
        // The driver's error path undoes what it has done of the request.
        for item in env.made_since(&before).into_iter().rev() {
            io::free_item(kx, item).await;
        }
        super::maps::pause(kx, draw(kx, "time until the next try", delay_us)).await;
    }
}

async fn locked(kx: &Kx, env: &Rc<Env>, lock: u16, irqsave: bool, body: &Block) -> Flow {
    let Some(lock) = env.instance.locks.get(usize::from(lock)) else { return Flow::Next };
    if irqsave {
        let flags = lock.lock_irqsave(kx).await;
        let flow = run_block(kx, env, body).await;
        lock.unlock_irqrestore(kx, flags);
        return flow;
    }
    lock.lock(kx).await;
    let flow = run_block(kx, env, body).await;
    lock.unlock(kx);
    flow
}
