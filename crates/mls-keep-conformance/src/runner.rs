//! Running cases: one, as a test of its own, or all of them.

use std::io::Write as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use mls_keep_core::{Capabilities, Result, StorageBackend};

use crate::harness::{CaseFuture, Harness};
use crate::registry::{CASES, Case, Hook};
use crate::support::wait;

/// What became of the cases.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Summary {
    /// The cases that were run to their end.
    pub run: Vec<&'static str>,
    /// The cases that were not run: the backend does not promise to pass them, or the harness lacks a hook.
    pub not_run: Vec<&'static str>,
    /// The hooks for want of which some of them were not run.
    pub missing_hooks: Vec<Hook>,
}

/// Runs the case `name` on `harness`. Says whether it was run; if the backend does not promise what the case needs, or the
/// harness lacks the hook for it, it is not, and standard error says so.
///
/// # Panics
/// When the backend breaks the contract, when the harness does not begin with an empty store, and when there is no case
/// of that name.
pub fn run_case(name: &str, harness: &dyn Harness) -> bool {
    let observed = Observed::new(harness, None);
    run(find(name), &observed, &observed)
}

/// As [`run_case`], for the tests that `conformance_suite!` made in `module`.
#[doc(hidden)]
pub fn run_case_of<H: Harness>(module: Option<&str>, name: &str, make: impl Fn() -> H) -> bool {
    let (case, harness) = (find(name), make());
    let observed = Observed::new(&harness, module);
    if case.hook != Some(Hook::Processes) {
        return run(case, &observed, &observed);
    }
    // Nobody has opened the store before the processes do, so that they make it.
    let other = make();
    run(case, &Observed::new(&other, module), &observed)
}

fn find(name: &str) -> &'static Case {
    CASES.iter().find(|case| case.name == name).unwrap_or_else(|| panic!("there is no case {name:?}"))
}

/// Runs `case` on `observed`, if `asked` promises and offers what it needs.
fn run(case: &Case, asked: &Observed<'_>, observed: &Observed<'_>) -> bool {
    let name = case.name;
    let promised = promises(asked);
    let missing = case.hook.filter(|hook| !offers(asked, *hook));
    if !(case.needs)(&promised) {
        say(&format!("NOT RUN: {name}: capability not promised"));
        return false;
    }
    if let Some(hook) = missing {
        say(&format!("NOT RUN: {name}: the harness does not implement {hook}"));
        return false;
    }
    observed.opens.store(0, Ordering::Relaxed);
    observed.block_on((case.run)(observed));
    let opened = observed.opens.load(Ordering::Relaxed) > 0;
    assert!(opened, "{name} ended without opening the store: Harness::block_on must run it");
    true
}

/// Runs every case that the backend promises to pass, each on a harness that `make` makes for it, and prints a summary to
/// standard error.
///
/// [`conformance_suite!`](crate::conformance_suite) makes a test of each case instead; this is for where one test is all
/// there can be.
///
/// # Panics
/// As [`run_case`] does.
pub fn run_all<H: Harness>(make: impl Fn() -> H) -> Summary {
    let mut summary = select(&Observed::new(&make(), None));
    let planned = summary.clone();
    (summary.run, summary.not_run) = Default::default();
    for case in CASES {
        let list = if run_case_of(None, case.name, &make) { &mut summary.run } else { &mut summary.not_run };
        list.push(case.name);
    }
    assert_eq!(summary, planned, "the cases that were run are those that the promises and hooks ask for");
    say(&summary.to_string());
    summary
}

/// Asserts that `tests`, which were made in `module` from the list of cases, are all of [`CASES`], and prints what the promises
/// of `harness` ask for.
#[doc(hidden)]
pub fn check_suite(module: &str, tests: &[&str], harness: &dyn Harness) {
    let all: Vec<&str> = CASES.iter().map(|case| case.name).collect();
    assert_eq!(tests, all, "every case is a test");
    let summary = select(&Observed::new(harness, Some(module)));
    assert_eq!(summary.run.len() + summary.not_run.len(), tests.len(), "every case is run or named as not run");
    say(&summary.to_string());
}

/// What would become of the cases on `harness`.
fn select(harness: &Observed<'_>) -> Summary {
    let promised = promises(harness);
    let missing = [Hook::Copy, Hook::Processes, Hook::CutConnections].map(|hook| (hook, offers(harness, hook)));
    let is_missing = |hook: Hook| missing.contains(&(hook, false));
    let mut summary = Summary::default();
    for case in CASES {
        let hook = case.hook.filter(|hook| is_missing(*hook));
        let promises_it = (case.needs)(&promised);
        let list = if promises_it && hook.is_none() { &mut summary.run } else { &mut summary.not_run };
        list.push(case.name);
        summary.missing_hooks.extend(hook.filter(|hook| promises_it && !summary.missing_hooks.contains(hook)));
    }
    summary
}

/// Opens the store, to see that it is empty and what the backend promises.
fn promises(harness: &dyn Harness) -> Capabilities {
    wait(harness, async {
        let backend = harness.open().await.expect("the harness opens its store");
        let keys = backend.list("").await.expect("listing succeeds");
        assert!(keys.is_empty(), "a harness begins with an empty store, this one has {keys:?}");
        let promised = backend.capabilities();
        backend.close().await.expect("closing succeeds");
        promised
    })
}

/// Whether the harness implements `hook`. Its store was opened before.
fn offers(harness: &dyn Harness, hook: Hook) -> bool {
    match hook {
        Hook::Copy => wait(harness, async { harness.copy().await.is_some() }),
        Hook::Processes => harness.location().is_some() && harness.child().is_some(),
        Hook::CutConnections => wait(harness, harness.cut_connections()),
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { run, not_run, missing_hooks } = self;
        write!(f, "conformance: {} cases, {} run, {} NOT RUN", run.len() + not_run.len(), run.len(), not_run.len())?;
        for (index, name) in not_run.iter().enumerate() {
            write!(f, "{} {name}", if index == 0 { ":" } else { "," })?;
        }
        for (index, hook) in missing_hooks.iter().enumerate() {
            write!(f, "{} {hook}", if index == 0 { "; more are run with" } else { "," })?;
        }
        Ok(())
    }
}

/// Writes a line to standard error itself: what `eprintln!` writes is hidden while tests pass.
fn say(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}

/// Counts how often a case opens its store: a case that never does has tested nothing. Knows how to start the program again.
struct Observed<'a> {
    inner: &'a dyn Harness,
    /// The module of the test that serves as another process.
    module: Option<&'a str>,
    opens: AtomicUsize,
}

impl<'a> Observed<'a> {
    fn new(inner: &'a dyn Harness, module: Option<&'a str>) -> Self {
        Self { inner, module, opens: AtomicUsize::new(0) }
    }
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

    async fn copy(&self) -> Option<Box<dyn Harness>> {
        self.inner.copy().await
    }

    fn location(&self) -> Option<String> {
        self.inner.location()
    }

    async fn open_at(&self, location: &str) -> Result<Arc<dyn StorageBackend>> {
        self.inner.open_at(location).await
    }

    fn child(&self) -> Option<Command> {
        self.inner.child().or_else(|| {
            // The name of a test is its path without the crate.
            let (_, module) = self.module?.split_once("::")?;
            let mut command = Command::new(std::env::current_exe().ok()?);
            command.arg(format!("{module}::in_another_process")).args(["--exact", "--ignored", "--nocapture"]);
            Some(command)
        })
    }

    async fn cut_connections(&self) -> bool {
        self.inner.cut_connections().await
    }
}
