//! The end that a user asks for: Ctrl-C, or SIGTERM from a service manager.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// How soon the end is noticed.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Whether the program is to end.
pub(crate) struct End(Arc<AtomicBool>);

impl End {
    /// From here on the signals are noted. A second one ends the program at once. Where they cannot be caught they end it, as
    /// they do without this.
    pub(crate) fn watched() -> Self {
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            drop(flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&asked)));
            drop(flag::register(signal, Arc::clone(&asked)));
        }
        Self(asked)
    }

    pub(crate) fn is_asked_for(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Waits, but not beyond the end.
    pub(crate) fn wait(&self, time: Duration) {
        let begun = Instant::now();
        while !self.is_asked_for()
            && let Some(left) = time.checked_sub(begun.elapsed())
            && !left.is_zero()
        {
            thread::sleep(left.min(LOOK_EVERY));
        }
    }
}
