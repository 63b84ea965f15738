//! [`Faults`]: which calls fail, wait or are held.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use mls_keep_core::Commit;

use super::{Fault, FaultPoint, Lasting, Stall};

/// Says when a [`FaultBackend`](super::FaultBackend) fails, and counts its calls. Clones share it, so a test holds one of them.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Plan>>);

#[derive(Debug, Default)]
struct Plan {
    calls: u64,
    /// Bytes of the commits among them.
    commit_bytes: u64,
    injected: u64,
    armed: Option<FaultPoint>,
    stall: Option<Stall>,
    hold: Option<(u64, Stall, Lasting)>,
    /// Calls that are held now.
    held: usize,
    /// How often held calls were released. A call is held until this is another number than when it began to wait.
    releases: u64,
    wakers: Vec<Waker>,
}

/// What happens to one call.
#[derive(Default)]
pub(super) struct Fate {
    pub(super) fault: Option<Fault>,
    pub(super) stall: Option<Stall>,
    pub(super) hold: Option<Stall>,
}

impl Faults {
    /// Nothing fails.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the calls fail that `point` names, counted from now.
    pub fn arm(&self, point: FaultPoint) {
        self.replace(Plan { armed: Some(point), ..Plan::default() });
    }

    /// Lets every call from now on wait once: it is pending when it is first polled there, and goes on at the next poll.
    pub fn stall(&self, stall: Stall) {
        self.replace(Plan { stall: Some(stall), ..Plan::default() });
    }

    /// Lets the `at`th call from now, counted from 1, wait until [`release`](Self::release).
    pub fn hold(&self, at: u64, stall: Stall, lasting: Lasting) {
        self.replace(Plan { hold: Some((at, stall, lasting)), ..Plan::default() });
    }

    /// How many calls are held now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.plan().held
    }

    /// Lets all held calls go on, and holds no more.
    pub fn release(&self) {
        let wakers = {
            let mut plan = self.plan();
            plan.hold = None;
            plan.releases += 1;
            std::mem::take(&mut plan.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Ends all faults and stalls, lets held calls go on, and counts from 0 again. Returns how many calls failed or were
    /// held.
    pub fn disarm(&self) -> u64 {
        self.replace(Plan::default())
    }

    /// Calls since the last [`arm`](Self::arm), [`stall`](Self::stall), [`hold`](Self::hold) or [`disarm`](Self::disarm).
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.plan().calls
    }

    /// Bytes of the commits among [these calls](Self::calls), as [`Commit::stored_bytes`] counts them.
    #[must_use]
    pub fn commit_bytes(&self) -> u64 {
        self.plan().commit_bytes
    }

    pub(super) fn count(&self, commit: &Commit) {
        self.plan().commit_bytes += commit.stored_bytes() as u64;
    }

    /// Follows `next` from now on. Returns how many calls failed or were held before.
    fn replace(&self, next: Plan) -> u64 {
        let before = {
            let mut plan = self.plan();
            let (held, releases) = (plan.held, plan.releases + 1);
            std::mem::replace(&mut *plan, Plan { held, releases, ..next })
        };
        before.wakers.into_iter().for_each(Waker::wake);
        before.injected
    }

    pub(super) fn next(&self) -> Fate {
        let mut plan = self.plan();
        plan.calls += 1;
        let calls = plan.calls;
        let reached = |at: u64, lasting: Lasting| match lasting {
            Lasting::Once => calls == at,
            Lasting::Sticky => calls >= at,
        };
        let fault = plan.armed.filter(|point| reached(point.at, point.lasting)).map(|point| point.fault);
        let hold = plan.hold.filter(|(at, _, lasting)| reached(*at, *lasting)).map(|(_, stall, _)| stall);
        plan.injected += u64::from(fault.is_some() || hold.is_some());
        Fate { fault, hold, stall: plan.stall }
    }

    /// Waits until the next release.
    pub(super) async fn wait(&self) {
        let releases = {
            let mut plan = self.plan();
            plan.held += 1;
            plan.releases
        };
        let _held = Held(self);
        poll_fn(|context| {
            let mut plan = self.plan();
            if plan.releases != releases {
                return Poll::Ready(());
            }
            plan.wakers.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        // Nothing that can panic runs while it is locked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A held call. It may also end by being dropped.
struct Held<'a>(&'a Faults);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut plan = self.0.plan();
        plan.held = plan.held.saturating_sub(1);
    }
}
