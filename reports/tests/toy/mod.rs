//! A world of three contexts with a use after free and, behind it, an oops: enough to make every part of a report.

use std::rc::Rc;

use sim::choices::{ChoiceList, Choices, Mode, Stream};
use sim::context::Draft;
use sim::schedule::Random;
use sim::sync::Atomic;
use sim::{Cx, RunConfig, RunEnd, Sim, SpawnSpec};

/// Runs the world with everything recorded.
pub(crate) fn run(mode: Mode) -> RunEnd {
    let config =
        RunConfig { cpus: 2, record: true, record_choices: true, details: true, ..RunConfig::default() };
    let engine = Sim::new(config, Choices::new(mode, true), Box::new(Random));
    engine.spawn(SpawnSpec::task("swapper/0", 0), boot);
    engine.run()
}

/// The same from a list of choices.
pub(crate) fn replay(list: &ChoiceList) -> RunEnd {
    run(Mode::Replay(list.clone()))
}

async fn boot(cx: Cx) {
    let _frame = cx.enter("start_kernel");
    cx.note(|| "options: delays up to 300 us, strategy random".to_owned());
    let alive = Rc::new(Atomic::new(&cx, "io_tlb_mem.nslabs", 1));
    let junk = cx.choose(Stream::Content, "junk", 4);
    cx.delay(1_000_000).await;
    cx.note(|| "memblock_alloc struct io_tlb_mem at 0x5653f000, 193 pages".to_owned());
    cx.log(|| "software IO TLB: mapped [mem 0x56540000-0x5a540000] (64MB)".to_owned());
    for device in 0..4 {
        cx.point().await;
        cx.note(|| format!("device_initialize 0000:0{device}:00.0: dma_io_tlb_mem = 0x5653f000"));
    }
    let seen = Rc::clone(&alive);
    cx.spawn(SpawnSpec::task("kworker/1:0 nvme", 1), |cx| worker(cx, seen, junk));
    cx.spawn(SpawnSpec::device("0000:01:00.0"), |cx| async move {
        for _ in 0..3 {
            cx.point().await;
        }
    });
    {
        let _frame = cx.enter("pci_swiotlb_late_init");
        let _frame = cx.enter("swiotlb_exit");
        cx.delay(340_000).await;
        alive.set(&cx, 0).await;
        cx.note(|| "swiotlb_exit frees struct io_tlb_mem at 0x5653f000".to_owned());
    }
    for _ in 0..20 {
        cx.point().await;
    }
}

async fn worker(cx: Cx, alive: Rc<Atomic>, junk: u64) {
    let _frame = cx.enter("nvme_irq");
    let _frame = cx.enter("dma_unmap_page_attrs");
    for _ in 0..3 {
        cx.delay(150_000).await;
        let _frame = cx.enter("is_swiotlb_buffer");
        if alive.read(&cx).await == 0 {
            let draft = Draft::warning(
                "use-after-free",
                "BUG: KASAN: use-after-free in is_swiotlb_buffer, read of size 8 at ffff88805653f000"
                    .to_owned(),
            );
            cx.report(
                draft.object("struct io_tlb_mem").discriminator("swiotlb_exit").ending("use after free"),
                || {
                    let lines = |list: &[&str]| list.iter().map(|line| (*line).to_owned()).collect();
                    vec![
                        (
                            "Object struct io_tlb_mem at ffff88805653f000 (193 pages, lock at +0x24)"
                                .to_owned(),
                            lines(&[
                                "allocated at [    0.001000] by swapper/0 from memblock",
                                "  swiotlb_init",
                            ]),
                        ),
                        (
                            "Freed".to_owned(),
                            lines(&[
                                "at [    0.341000] by swapper/0",
                                "  swiotlb_exit <- pci_swiotlb_late_init",
                            ]),
                        ),
                    ]
                },
            );
        }
    }
    let _frame = cx.enter("_raw_spin_lock_irqsave");
    if junk == 3 {
        cx.report(
            Draft::fatal(
                "page-fault",
                "BUG: unable to handle page fault for address: 00000000003a8290".to_owned(),
            )
            .ending("oops"),
            Vec::new,
        );
    }
}
