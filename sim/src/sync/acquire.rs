//! How a context comes by a lock of any kind: the one future on which all of them are awaited.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::LockClass;
use crate::context::Wait;
use crate::probe::{self, Op};
use crate::{CtxId, Cx, Kind, Label, ObjId};

/// A lock, or one side of one, as a context takes it.
pub(super) trait Lock: Copy {
    /// The lock.
    fn obj(self) -> ObjId;
    /// Its class.
    fn class(self) -> LockClass;
    /// Whether who waits for it spins.
    fn spinning(self) -> bool;
    /// Whether the caller vouches for the order of two locks of the class.
    fn nested(self) -> bool;
    /// What is done before the lock is asked for: forbids what is forbidden from then on.
    fn enter(self, cx: &Cx);
    /// `id` wants it.
    fn want(self, id: CtxId);
    /// Whether it cannot be taken now.
    fn busy(self) -> bool;
    /// It is taken.
    fn take(self, cx: &Cx);
}

/// A lock was taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken;

impl From<Taken> for () {
    fn from(_: Taken) {}
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// Nothing was done yet.
    Fresh,
    /// It is to be asked for.
    Asking,
    /// It was asked for, or waited for: whoever is polled was chosen.
    Chosen,
}

/// Takes a lock, and gives what its caller needs to give it back.
///
/// A context that wants a lock that it cannot have is not eligible until it can; then the scheduler decides which of those
/// that wait gets it, which covers every order of arrival. By hand and not an `async fn`: the states of three such
/// functions inside each other cost more than all else that taking a lock means.
#[must_use = "a lock is taken when this is awaited"]
pub(super) struct Acquire<'a, L, G> {
    cx: &'a Cx,
    lock: L,
    stage: Stage,
    gives: PhantomData<G>,
}

impl<'a, L, G> Acquire<'a, L, G> {
    #[inline]
    pub(super) const fn new(cx: &'a Cx, lock: L) -> Self {
        Self { cx, lock, stage: Stage::Fresh, gives: PhantomData }
    }
}

impl<L: Lock + Unpin, G: From<Taken> + Unpin> Future for Acquire<'_, L, G> {
    type Output = G;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<G> {
        if matches!(self.stage, Stage::Fresh) {
            self.stage = Stage::Asking;
            self.begin();
        }
        if self.go_on() { Poll::Ready(G::from(Taken)) } else { Poll::Pending }
    }
}

impl<L: Lock, G> Acquire<'_, L, G> {
    /// What comes before the first try.
    #[inline(never)]
    fn begin(&self) {
        let (cx, lock) = (self.cx, self.lock);
        lock.enter(cx);
        cx.sim.check_lock_order(cx.id, lock.class(), lock.obj(), lock.nested());
        probe::touch(probe::wait_of(cx.id), Op::Write);
    }

    /// Asks for the lock, or takes it if it was asked for. `false` if somebody else goes on first.
    fn go_on(&mut self) -> bool {
        let (cx, lock) = (self.cx, self.lock);
        let (sim, id) = (&*cx.sim, cx.id);
        let label = Label::new(Kind::Acquire, lock.obj());
        loop {
            if matches!(self.stage, Stage::Chosen) {
                if !sim.execute(id, label) {
                    return false;
                }
                if !lock.busy() {
                    lock.take(cx);
                    return true;
                }
            }
            self.stage = Stage::Chosen;
            lock.want(id);
            if lock.busy() {
                let (obj, spinning) = (lock.obj(), lock.spinning());
                sim.check_deadlock(id, obj, spinning);
                sim.block(id, Wait::Object { obj, spinning });
                return false;
            }
            if !sim.ask(id, label) {
                return false;
            }
        }
    }
}
