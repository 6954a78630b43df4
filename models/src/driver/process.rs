//! Processes: those who take memory, fill it and give it back, and who plug and bind.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use sim::SpawnSpec;
use sim::choices::Stream;

use super::io::free_memory;
use super::items::{Buffer, Home, draw, fill, weighted};
use super::program::ProcOp;
use super::vfio::{self, Container};
use crate::boot::{kernel_reboot, pm_suspend};
use crate::device::{
    DeviceNode, device_release_driver, driver_probe_device, pci_rescan_one, pci_stop_and_remove,
};
use crate::iommu::core::is_bound_for_good;
use crate::kernel::{GfpFlags, Kx};
use crate::scenario::schema::CpuChoice;

/// Starts all processes.
pub fn start_processes(kx: &Kx) {
    let programs = Arc::clone(&kx.k.programs);
    for (number, process) in programs.processes.iter().enumerate() {
        let cpus = kx.k.cpus();
        let chosen = match process.cpu {
            CpuChoice::Any => {
                let cpu = u8::try_from(kx.choose(Stream::Workload, "CPU of a process", u64::from(cpus)))
                    .unwrap_or(0);
                cpu..=cpu
            }
            CpuChoice::Cpu(cpu) => {
                let cpu = u8::try_from(cpu).unwrap_or(0);
                cpu..=cpu
            }
            CpuChoice::PerCpu => 0..=cpus - 1,
        };
        for cpu in chosen {
            let k = Rc::clone(&kx.k);
            kx.spawn(SpawnSpec::task(process.name, cpu), move |cx| async move {
                let kx = Kx::new(cx, k);
                let process = &kx.k.programs.processes[number];
                let start = draw(&kx, "start of a process", &process.start_ms);
                kx.sleep(start * 1_000_000).await;
                let mut held = Held::default();
                kx.k.power.count_task(true);
                run(&kx, process.pages, &process.body, &mut held).await;
                if let Some(container) = held.container.take() {
                    // The process ends, and its files are closed.
                    vfio::detach(&kx, container).await;
                }
                kx.k.power.count_task(false);
            });
        }
    }
}

/// What a process holds.
#[derive(Debug, Default)]
struct Held {
    pages: Vec<Buffer>,
    objects: Vec<Buffer>,
    container: Option<Container>,
}

fn run<'a>(
    kx: &'a Kx,
    pages: &'static str,
    body: &'a [ProcOp],
    held: &'a mut Held,
) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
    Box::pin(async move {
        for op in body {
            kx.k.power.try_to_freeze(kx).await;
            if kx.k.power.is_over() {
                return;
            }
            match op {
                ProcOp::AllocPages { order, count, fill: classes } => {
                    let _frame = kx.enter("handle_mm_fault");
                    for _ in 0..draw(kx, "blocks", count) {
                        let order = u8::try_from(draw(kx, "order", order).min(10)).unwrap_or(0);
                        let Ok((phys, id)) = kx.alloc_pages(pages, order, GfpFlags::KERNEL).await else {
                            break;
                        };
                        let size = 4096 << order;
                        if let Some(class) = weighted(kx, Stream::Content, "class of content", classes) {
                            fill(kx, phys, size, *class, id);
                        }
                        held.pages.push(Buffer { phys, size, id, home: Home::Pages(order) });
                    }
                }
                ProcOp::FreePages(percent) => {
                    let _frame = kx.enter("zap_pte_range");
                    let keep = held.pages.len()
                        * usize::try_from(100_u32.saturating_sub(*percent)).unwrap_or(0)
                        / 100;
                    for buffer in held.pages.split_off(keep) {
                        free_memory(kx, &buffer).await;
                    }
                }
                ProcOp::AllocObjects { size, count } => {
                    let _frame = kx.enter("do_sys_openat2");
                    for _ in 0..draw(kx, "objects", count) {
                        let size = draw(kx, "size of an object", size).max(1);
                        let Ok((phys, id)) = kx.kmalloc("object of a process", size, GfpFlags::KERNEL).await
                        else {
                            break;
                        };
                        held.objects.push(Buffer { phys, size, id, home: Home::Slab });
                    }
                }
                ProcOp::FreeObjects(percent) => {
                    let _frame = kx.enter("__fput");
                    let gone = held.objects.len() * usize::try_from((*percent).min(100)).unwrap_or(0) / 100;
                    for buffer in held.objects.drain(..gone).collect::<Vec<_>>() {
                        free_memory(kx, &buffer).await;
                    }
                }
                ProcOp::Sleep(us) => {
                    kx.k.power.count_frozen(true);
                    kx.sleep(draw(kx, "sleep", us) * 1000).await;
                    kx.k.power.wait_until_thawed(kx).await;
                    kx.k.power.count_frozen(false);
                }
                ProcOp::Repeat { times, body } => {
                    for _ in 0..draw(kx, "repetitions", times) {
                        run(kx, pages, body, held).await;
                    }
                }
                ProcOp::Plug(index) => pci_rescan_one(kx, *index).await,
                ProcOp::Unplug(index) => {
                    if let Some(node) = kx.find_device(*index) {
                        pci_stop_and_remove(kx, &node).await;
                    }
                }
                ProcOp::Bind { device, driver } => {
                    let _frame = kx.enter("bind_store");
                    let found = kx.find_device(*device);
                    if let Some(node) = found.filter(|node| has_bind_files(kx, node)) {
                        driver_probe_device(kx, &node, *driver).await;
                    }
                }
                ProcOp::VfioAttach(index) => {
                    if held.container.is_none() {
                        held.container = vfio::attach(kx, *index).await;
                    }
                }
                ProcOp::VfioMap { iova, pages } => {
                    if let Some(container) = held.container.as_mut() {
                        vfio::map(kx, container, *iova, *pages).await;
                    }
                }
                ProcOp::VfioUnmap { iova, pages } => {
                    if let Some(container) = held.container.as_mut() {
                        vfio::unmap(kx, container, *iova, *pages).await;
                    }
                }
                ProcOp::VfioDma { device, iova, pages } => {
                    if held.container.is_some() {
                        vfio::dma(kx, *device, *iova, *pages).await;
                    }
                }
                ProcOp::VfioDetach => {
                    if let Some(container) = held.container.take() {
                        vfio::detach(kx, container).await;
                    }
                }
                ProcOp::Suspend => pm_suspend(kx).await,
                ProcOp::Reboot(how) => kernel_reboot(kx, *how).await,
                ProcOp::Unbind(index) => {
                    let _frame = kx.enter("unbind_store");
                    let found = kx.find_device(*index);
                    if let Some(node) = found.filter(|node| has_bind_files(kx, node)) {
                        device_release_driver(kx, &node).await;
                    }
                }
            }
        }
    })
}

/// Whether there are files to bind and unbind a device's driver with.
fn has_bind_files(kx: &Kx, node: &DeviceNode) -> bool {
    let there = !is_bound_for_good(kx, node);
    if !there {
        kx.note(|| format!("{}: its driver has no bind and unbind in sysfs (suppress_bind_attrs)", node.bdf));
    }
    there
}
