//! Running cases: one, as a test of its own, or all of them.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use mls_keep_core::{Capabilities, Result, StorageBackend};

use crate::harness::{CaseFuture, Harness};
use crate::registry::{CASES, Case};
use crate::support::wait;

/// What became of the cases.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Summary {
    /// The cases that were run to their end.
    pub run: Vec<&'static str>,
    /// The cases that the backend does not claim to pass.
    pub not_run: Vec<&'static str>,
}

/// Runs the case `name` on `harness`. Says whether it was run; if the backend does not claim what the case needs, it is
/// not, and standard error says so.
///
/// # Panics
/// When the backend breaks the contract, when the harness does not begin with an empty store, and when there is no case
/// of that name.
pub fn run_case(name: &str, harness: &dyn Harness) -> bool {
    let case = CASES.iter().find(|case| case.name == name).unwrap_or_else(|| panic!("there is no case {name:?}"));
    let claimed = claims(harness);
    if !(case.needs)(&claimed) {
        say(&format!("NOT RUN: {name}: capability not claimed"));
        return false;
    }
    let observed = Observed { inner: harness, opens: AtomicUsize::new(0) };
    harness.block_on((case.run)(&observed));
    assert!(observed.opens.into_inner() > 0, "{name} ended without opening the store: Harness::block_on must run it");
    true
}

/// Runs every case that the backend claims to pass, each on a harness that `make` makes for it, and prints a summary to
/// standard error.
///
/// [`conformance_suite!`](crate::conformance_suite) makes a test of each case instead; this is for where one test is all
/// there can be.
///
/// # Panics
/// As [`run_case`] does.
pub fn run_all<H: Harness>(make: impl Fn() -> H) -> Summary {
    let mut summary = Summary::default();
    for case in CASES {
        let list = if run_case(case.name, &make()) { &mut summary.run } else { &mut summary.not_run };
        list.push(case.name);
    }
    assert_eq!(summary, select(&claims(&make())), "the cases that were run are those that the claims ask for");
    say(&summary.to_string());
    summary
}

/// Asserts that `tests`, which were made from the list of cases, are all of [`CASES`], and prints what the claims of
/// `harness` ask for.
#[doc(hidden)]
pub fn check_suite(tests: &[&str], harness: &dyn Harness) {
    let all: Vec<&str> = CASES.iter().map(|case| case.name).collect();
    assert_eq!(tests, all, "every case is a test");
    let summary = select(&claims(harness));
    assert_eq!(summary.run.len() + summary.not_run.len(), tests.len(), "every case is run or named as not run");
    say(&summary.to_string());
}

fn select(claimed: &Capabilities) -> Summary {
    let (run, not_run): (Vec<&Case>, Vec<&Case>) = CASES.iter().partition(|case| (case.needs)(claimed));
    let names = |cases: Vec<&Case>| cases.iter().map(|case| case.name).collect();
    Summary { run: names(run), not_run: names(not_run) }
}

/// Opens the store, to see that it is empty and what the backend claims.
fn claims(harness: &dyn Harness) -> Capabilities {
    wait(harness, async {
        let backend = harness.open().await.expect("the harness opens its store");
        let keys = backend.list("").await.expect("listing succeeds");
        assert!(keys.is_empty(), "a harness begins with an empty store, this one has {keys:?}");
        let claimed = backend.capabilities();
        backend.close().await.expect("closing succeeds");
        claimed
    })
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { run, not_run } = self;
        write!(f, "conformance: {} cases, {} run, {} NOT RUN", run.len() + not_run.len(), run.len(), not_run.len())?;
        for (index, name) in not_run.iter().enumerate() {
            write!(f, "{} {name}", if index == 0 { ":" } else { "," })?;
        }
        Ok(())
    }
}

/// Writes a line to standard error itself: what `eprintln!` writes is hidden while tests pass.
fn say(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}

/// Counts how often a case opens its store. A case that never does has tested nothing.
struct Observed<'a> {
    inner: &'a dyn Harness,
    opens: AtomicUsize,
}

#[async_trait]
impl Harness for Observed<'_> {
    async fn open(&self) -> Result<Arc<dyn StorageBackend>> {
        self.opens.fetch_add(1, Ordering::Relaxed);
        self.inner.open().await
    }

    fn block_on(&self, case: CaseFuture<'_>) {
        self.inner.block_on(case);
    }

    async fn medium_contains(&self, marker: &[u8]) -> bool {
        self.inner.medium_contains(marker).await
    }
}
