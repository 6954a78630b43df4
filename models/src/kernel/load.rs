//! A load of a field of a kernel object, as it is awaited.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use sim::{Kind, Step};

use super::Kx;
use super::access::Spot;
use crate::mem::{Access, Dangling, Field, Kobject, Ptr, Raw};

/// By hand, and not an `async fn`: no other code path is taken as often, and the states of three functions inside each other
/// cost more than the load.
#[must_use = "a load happens when it is awaited"]
pub(super) struct Load<'a, T, V> {
    kx: &'a Kx,
    ptr: Ptr<T>,
    field: Field<T, V>,
    how: Option<sim::sync::Access>,
    /// Until it was taken.
    step: Option<Step<'a>>,
    /// Where the pointer leads to nothing that lives: what that means is told, and may end the run.
    stale: Option<Stale<'a>>,
}

impl<'a, T: Kobject, V: Raw> Load<'a, T, V> {
    /// A load that begins with its step.
    #[inline]
    pub(super) fn new(kx: &'a Kx, ptr: Ptr<T>, field: Field<T, V>, how: Option<sim::sync::Access>) -> Self {
        let step = kx.step(Kind::Read, kx.label(ptr.id, field.index));
        Self { kx, ptr, field, how, step: Some(step), stale: None }
    }

    /// The same, as part of a step that was taken already.
    #[inline]
    pub(super) const fn within(
        kx: &'a Kx,
        ptr: Ptr<T>,
        field: Field<T, V>,
        how: Option<sim::sync::Access>,
    ) -> Self {
        Self { kx, ptr, field, how, step: None, stale: None }
    }

    #[cold]
    fn begin_stale(&mut self, dangling: Dangling, raw: u64) {
        self.stale = Some(stale(self.kx, Spot::of(self.ptr, self.field), dangling, raw));
    }
}

type Stale<'a> = Pin<Box<dyn Future<Output = u64> + 'a>>;

/// What a load through a dangling pointer means; the same for all types.
#[cold]
fn stale(kx: &Kx, spot: Spot, dangling: Dangling, raw: u64) -> Stale<'_> {
    Box::pin(async move { kx.stale_load(&spot, dangling, raw).await })
}

impl<T: Kobject, V: Raw> Future for Load<'_, T, V> {
    type Output = V;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<V> {
        let this = &mut *self;
        if this.stale.is_none() {
            if let Some(step) = &mut this.step {
                ready!(Pin::new(step).poll(context));
                this.step = None;
            }
            match this.kx.k.mem.load(this.ptr, this.field) {
                Access::Live(value) => {
                    if let Some(how) = this.how {
                        this.kx.accesses(this.ptr, this.field, how);
                    }
                    return Poll::Ready(value);
                }
                Access::Stale(value, dangling) => this.begin_stale(dangling, value.to_raw()),
                Access::Oops(dangling) => this.begin_stale(dangling, 0),
            }
        }
        match &mut this.stale {
            Some(stale) => stale.as_mut().poll(context).map(V::from_raw),
            None => Poll::Pending,
        }
    }
}
