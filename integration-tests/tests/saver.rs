//! The task that saves while a client does nothing.

#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use integration_tests::store::open;
use integration_tests::world::{client, keep};
use mls_keep::{Clock, SavePolicy, Saver};
use mls_keep_conformance::fault::{Fault, FaultBackend, FaultPoint, Faults, Lasting};
use mls_keep_core::MemoryBackend;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

const EVERY: Duration = Duration::from_secs(10);
const INTERVAL: SavePolicy = SavePolicy::Interval { every: EVERY, reserve: 8 };

/// Tokio's clock, which the test holds.
struct Tokio(Instant);

impl Clock for Tokio {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_save_comes_when_it_is_due_although_nothing_happens() {
    let (_, manager) = keep();
    let mut alice = client(&manager, "alice", INTERVAL).await;
    alice.set_clock(Arc::new(Tokio(Instant::now())));
    let group = alice.create_group("tea").await.unwrap();
    let alice = Arc::new(Mutex::new(alice));
    let saver = Saver::spawn(&alice, |error| panic!("{error:?}"));
    sleep(Duration::from_secs(4)).await;
    for text in ["reserves", "waits"] {
        alice.lock().await.send(&group, text).await.unwrap();
    }
    sleep(Duration::from_millis(9_900)).await;
    assert!(alice.lock().await.has_unsaved());
    sleep(Duration::from_millis(200)).await;
    assert!(!alice.lock().await.has_unsaved());

    drop(saver);
    alice.lock().await.send(&group, "waits for ever").await.unwrap();
    sleep(10 * EVERY).await;
    assert!(alice.lock().await.has_unsaved());
}

#[tokio::test(start_paused = true)]
async fn a_save_that_fails_is_told_and_made_again() {
    let (store, faults) = (MemoryBackend::new(), Faults::new());
    let manager = open(FaultBackend::new(store, faults.clone())).unwrap();
    let mut alice = client(&manager, "alice", INTERVAL).await;
    alice.set_clock(Arc::new(Tokio(Instant::now())));
    let group = alice.create_group("tea").await.unwrap();
    for text in ["reserves", "waits"] {
        alice.send(&group, text).await.unwrap();
    }
    faults.arm(FaultPoint { at: 1, fault: Fault::BeforeApplying, lasting: Lasting::Sticky });
    let told = Arc::new(AtomicUsize::new(0));
    let telling = Arc::clone(&told);
    let alice = Arc::new(Mutex::new(alice));
    let saver = Saver::spawn(&alice, move |_| {
        telling.fetch_add(1, Ordering::Relaxed);
    });
    sleep(3 * EVERY).await;
    assert!(told.load(Ordering::Relaxed) > 2);
    assert!(alice.lock().await.has_unsaved());
    faults.disarm();
    sleep(EVERY).await;
    assert!(!alice.lock().await.has_unsaved());

    // It ends with the client.
    let weak = Arc::downgrade(&alice);
    drop(alice);
    sleep(2 * EVERY).await;
    assert!(weak.upgrade().is_none());
    drop(saver);
}
