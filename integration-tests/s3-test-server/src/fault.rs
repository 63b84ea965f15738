//! [`Fault`]: what a request meets.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

/// What goes wrong with a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Answered with this status, not applied.
    Status(u16),
    /// Applied, and answered with this status.
    AppliedThenStatus(u16),
    /// The connection is cut before the request is applied.
    Reset,
    /// Applied, then the connection is cut without an answer.
    AppliedThenReset,
    /// Applied; half of the answer's body is sent, then the connection is cut.
    Truncated,
    /// Applied; the answer's body has no end.
    Endless,
    /// Not applied; answered with 200 and an error in the body.
    ErrorInside200,
    /// Applied, and answered after this time.
    Delay(Duration),
    /// Applied, and never answered.
    Silence,
    /// Waits until the test lets it go on.
    Hold(Hold),
    /// Waits until the test lets it go on, then the connection is cut. Applied only if it waited after that.
    HoldThenReset(Hold),
    /// Answered with this status, this code and these headers, not applied.
    Answer(u16, &'static str, &'static [(&'static str, &'static str)]),
}

/// Stops a request before it is applied, or after that and before the answer.
#[derive(Clone, Debug)]
pub struct Hold {
    pub(crate) after: bool,
    reached: Arc<Semaphore>,
    released: Arc<Semaphore>,
}

impl Hold {
    /// Stops the request before it is applied.
    #[must_use]
    pub fn before() -> Self {
        Self { after: false, reached: Arc::new(Semaphore::new(0)), released: Arc::new(Semaphore::new(0)) }
    }

    /// Stops the request after it was applied.
    #[must_use]
    pub fn after() -> Self {
        Self { after: true, ..Self::before() }
    }

    /// Waits until the request is here.
    pub async fn reached(&self) {
        self.reached.acquire().await.unwrap().forget();
    }

    /// Lets the request go on.
    pub fn release(&self) {
        self.released.add_permits(1);
    }

    pub(crate) async fn stop(&self) {
        self.reached.add_permits(1);
        self.released.acquire().await.unwrap().forget();
    }
}

/// The fault that is to come.
#[derive(Default)]
pub(crate) struct Script {
    left: usize,
    fault: Option<Fault>,
    sticky: bool,
    met: bool,
}

impl Script {
    pub(crate) fn set(&mut self, k: usize, fault: Fault, sticky: bool) {
        *self = Self { left: k, fault: Some(fault), sticky, met: false };
    }

    pub(crate) fn clear(&mut self) -> bool {
        std::mem::take(self).met
    }

    pub(crate) fn is_met(&self) -> bool {
        self.met
    }

    /// What the next request meets.
    pub(crate) fn next(&mut self) -> Option<Fault> {
        self.fault.as_ref()?;
        self.left = self.left.saturating_sub(1);
        if self.left > 0 {
            return None;
        }
        self.met = true;
        if self.sticky { self.fault.clone() } else { self.fault.take() }
    }
}
