//! [`Patience`]: how long a call goes on repeating a request.

use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use tracing::debug;

use crate::error::{Applied, Failure};

/// How often a service may refuse what it should take before that is the answer: it may have been busy with another write.
const MAX_REFUSALS: usize = 6;

/// How often an object is read before it is called damaged: it may have been cut on the way.
const MAX_READS: usize = 3;

/// How long a call goes on repeating a request.
pub(crate) struct Patience {
    until: Instant,
    delays: backon::ExponentialBackoff,
    applied: Applied,
    refusals: usize,
    reads: usize,
}

impl Patience {
    pub(crate) fn new(deadline: Duration) -> Self {
        let delays = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(20))
            .with_max_delay(Duration::from_secs(2))
            .with_jitter()
            .without_max_times();
        Self { until: Instant::now() + deadline, delays: delays.build(), applied: Applied::No, refusals: 0, reads: 1 }
    }

    /// Whether an attempt that failed may have been applied.
    pub(crate) fn may_be_applied(&self) -> bool {
        self.applied == Applied::Unknown
    }

    /// Repeats `attempt` until it has an answer, or fails in a way that repeating does not help.
    pub(crate) async fn repeat<T, F>(&mut self, attempt: impl Fn() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        loop {
            match attempt().await {
                Ok(answer) => return Ok(answer),
                Err(failure) => self.after(failure).await?,
            }
        }
    }

    /// Waits before a repetition.
    ///
    /// # Errors
    /// `failure`, if repeating it does not help or there is no time left.
    pub(crate) async fn after(&mut self, failure: Failure) -> Result<(), Failure> {
        match &failure {
            Failure::ForNow { applied: Applied::Unknown, .. } => self.applied = Applied::Unknown,
            Failure::ForNow { .. } | Failure::InTheWay => {}
            Failure::Refused if self.refusals < MAX_REFUSALS => self.refusals += 1,
            Failure::Unreadable(_) if self.reads < MAX_READS => self.reads += 1,
            _ => return Err(failure),
        }
        let delay = self.delays.next().unwrap_or(Duration::from_secs(2));
        if Instant::now() + delay >= self.until {
            return Err(failure);
        }
        debug!(?failure, after = ?delay, "a request is repeated");
        tokio::time::sleep(delay).await;
        Ok(())
    }
}
