//! [`Clock`]: what time it is, for those saves that wait.

use std::time::{Duration, Instant, SystemTime};

/// Tells how much time has passed. Only [`SavePolicy::Interval`](crate::SavePolicy::Interval) asks it.
pub trait Clock: Send + Sync + 'static {
    /// The time since some moment, which stays the same as long as the clock is used.
    fn now(&self) -> Duration;
}

/// The clock of the standard library ([`Instant`]). On most systems it stands still while the device sleeps.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock(Instant);

impl Default for SystemClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

/// The time of the system's clock.
#[expect(clippy::disallowed_methods, reason = "nothing is decided by it, and another one may be given")]
pub(crate) fn system_time() -> SystemTime {
    SystemTime::now()
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}
