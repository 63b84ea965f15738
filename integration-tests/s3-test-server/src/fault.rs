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
    /// Not applied yet, and the connection is cut. It takes effect when the test lets it
    /// ([`Server::land`](crate::Server::land)), or, among random faults, before some later request.
    Late,
    /// The head of the answer and half of its body come, and then nothing more.
    Stalled,
    /// Applied; half of the answer's body comes, in an answer that says that this is all.
    CutShort,
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

/// The faults that are to come.
#[derive(Default)]
pub(crate) struct Script {
    left: usize,
    fault: Option<Fault>,
    /// What all requests meet after it.
    then: Option<Fault>,
    met: bool,
    random: Option<Random>,
}

/// Faults without a plan.
struct Random {
    faults: Vec<Fault>,
    /// Of a thousand requests so many meet one.
    permille: u64,
    seed: u64,
}

impl Script {
    pub(crate) fn set(&mut self, k: usize, fault: Fault, then: Option<Fault>) {
        *self = Self { left: k, fault: Some(fault), then, ..Self::default() };
    }

    pub(crate) fn set_random(&mut self, seed: u64, permille: u64, faults: Vec<Fault>) {
        *self = Self { random: Some(Random { faults, permille, seed }), ..Self::default() };
    }

    pub(crate) fn clear(&mut self) -> bool {
        std::mem::take(self).met
    }

    pub(crate) fn is_met(&self) -> bool {
        self.met
    }

    /// What the next request meets.
    pub(crate) fn next(&mut self) -> Option<Fault> {
        if let Some(random) = &mut self.random {
            return random.next();
        }
        if self.fault.is_some() {
            self.left = self.left.saturating_sub(1);
            if self.left > 0 {
                return None;
            }
            self.met = true;
            return self.fault.take();
        }
        self.then.clone()
    }

    /// Whether what is late takes effect before the next request.
    pub(crate) fn lands(&mut self) -> bool {
        self.random.as_mut().is_some_and(|random| random.below(4) == 0)
    }
}

impl Random {
    fn next(&mut self) -> Option<Fault> {
        if self.below(1000) >= self.permille {
            return None;
        }
        let chosen = self.below(self.faults.len() as u64);
        self.faults.get(usize::try_from(chosen).ok()?).cloned()
    }

    /// A number below `sides` (xorshift64).
    fn below(&mut self, sides: u64) -> u64 {
        self.seed |= 1;
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        (self.seed >> 11) % sides
    }
}
