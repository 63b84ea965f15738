//! [`FaultBackend`]: a backend that fails, tears or stalls at the call that a test names. [`FourMethods`]: a backend that
//! has nothing but the four methods.
//!
//! For tests of what stands on top of a backend: your own program, or a keep. [`every_point`] runs an operation over and
//! over, with a fault at the first call, at the second, and so on, until it ends before the fault is reached. So every place
//! where the operation can be interrupted was one, and the test says by itself when it is complete.
//!
//! ```
//! use futures_executor::block_on;
//! use mls_keep_conformance::fault::{Fault, FaultBackend, Faults, FourMethods, every_point};
//! use mls_keep_core::{Commit, ErrorKind, Key, MemoryBackend, Result, StorageBackend, Swap};
//!
//! /// The operation under test: a counter that grows by one.
//! async fn increment(backend: &dyn StorageBackend) -> Result<()> {
//!     let root = Key::new("counter")?;
//!     let expected = backend.load(&root).await?;
//!     let count = expected.as_ref().map_or(0, |bytes| bytes[0]);
//!     let swap = Swap { key: root, expected, replacement: Some(vec![count + 1].into()) };
//!     backend.commit(Commit { puts: Vec::new(), swap, deletes: Vec::new() }).await
//! }
//!
//! let all = [Fault::BeforeApplying, Fault::AfterApplying, Fault::Torn { parts: 0 }];
//! let points = every_point(&all, |point| {
//!     let (store, faults) = (MemoryBackend::new(), Faults::new());
//!     // Four methods around it, so that each save of a commit is a call.
//!     let backend = FourMethods(FaultBackend::new(store.clone(), faults.clone()));
//!     faults.arm(point);
//!     let result = block_on(increment(&backend)).map_err(|error| error.kind());
//!     let reached = faults.disarm() > 0;
//!     // What must hold after any fault: it was applied, or it was not and can be done again.
//!     let count = block_on(store.load(&Key::new("counter").unwrap())).unwrap();
//!     match result {
//!         Err(ErrorKind::OutcomeUnknown) => {}
//!         Err(_) => assert_eq!(count, None),
//!         Ok(()) => assert_eq!(count.as_deref(), Some(&[1][..])),
//!     }
//!     block_on(increment(&backend)).unwrap();
//!     reached
//! });
//! assert!(points > 6, "a load, a save, and a failure for good at each");
//! # Ok::<(), mls_keep_core::Error>(())
//! ```

mod backend;
mod faults;
mod four_methods;

use std::future::poll_fn;
use std::task::Poll;

pub use backend::FaultBackend;
pub use faults::Faults;
pub use four_methods::FourMethods;

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// The call does nothing and is `Unavailable`.
    BeforeApplying,
    /// The call does its work and the reply is lost. A write is `OutcomeUnknown`, reading is `Unavailable`.
    AfterApplying,
    /// The first `parts` parts of a write are applied, and it is `OutcomeUnknown`; reading is `Unavailable`.
    ///
    /// A commit's parts are its puts, its root and its deletes, in this order. A save or a delete is one part. A backend
    /// that promises [`atomic_commit`](mls_keep_core::Capabilities::atomic_commit) keeps its word: the commit is applied wholly if its root
    /// is among the parts, else not at all. Put [`FourMethods`] *inside* to tear it.
    Torn {
        /// How many parts are applied.
        parts: usize,
    },
}

/// How long a fault lasts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lasting {
    /// One call, then all is well.
    Once,
    /// All calls from then on.
    Sticky,
}

/// One way in which an operation fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FaultPoint {
    /// The call that fails, counted from 1.
    pub at: u64,
    /// What goes wrong with it.
    pub fault: Fault,
    /// Whether all later calls fail as well.
    pub lasting: Lasting,
}

/// Calls `try_one` with every point that an operation reaches: for each of `faults`, once and for good, at its first call, at
/// its second, and so on, until `try_one` says that the operation ended before the point. Returns how many were reached.
pub fn every_point(faults: &[Fault], mut try_one: impl FnMut(FaultPoint) -> bool) -> u64 {
    let mut reached = 0;
    for fault in faults.iter().copied() {
        for lasting in [Lasting::Once, Lasting::Sticky] {
            let points = (1..).map(|at| FaultPoint { at, fault, lasting });
            reached += points.take_while(|point| try_one(*point)).count() as u64;
        }
    }
    reached
}

/// Where a call waits before it goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stall {
    /// Nothing has been done yet.
    BeforeApplying,
    /// The work has been done, and the reply is under way.
    AfterApplying,
}

/// Is pending at its first poll and asks to be polled again.
pub(crate) async fn pending_once() {
    let mut polled = false;
    poll_fn(|context| {
        if std::mem::replace(&mut polled, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
