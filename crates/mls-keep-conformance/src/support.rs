//! What the cases share: short ways to make keys, values and commits, and to run work at the same time.

use std::future::Future;
use std::panic::resume_unwind;
use std::pin::{Pin, pin};
use std::sync::{Arc, Barrier};
use std::task::Poll;
use std::thread;

use bytes::Bytes;
use mls_keep_core::{Commit, ErrorKind, Key, Result, StorageBackend, Swap};

use crate::harness::Harness;

pub(crate) fn key(name: &str) -> Key {
    Key::new(name).expect("the suite uses valid keys")
}

pub(crate) fn keys(names: &[&str]) -> Vec<Key> {
    names.iter().map(|name| key(name)).collect()
}

pub(crate) fn value(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// `len` bytes that do not compress and that differ for each `seed` (xorshift64).
pub(crate) fn noise(seed: u64, len: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()
    });
    words.flatten().take(len).collect()
}

/// What a message says of a value: its length and a digest (FNV-1a), not its bytes.
#[cfg(feature = "model")]
pub(crate) fn shown(data: Option<&Bytes>) -> String {
    let Some(data) = data else { return "none".to_owned() };
    let digest = data
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{} bytes #{:08x}", data.len(), digest >> 32 ^ digest & 0xffff_ffff)
}

/// A commit that only swaps the root `key`.
pub(crate) fn swap(key: &Key, expected: Option<&Bytes>, replacement: Option<&Bytes>) -> Commit {
    Commit {
        puts: Vec::new(),
        swap: Swap { key: key.clone(), expected: expected.cloned(), replacement: replacement.cloned() },
        deletes: Vec::new(),
    }
}

/// The first backend on the harness's store.
pub(crate) async fn open(harness: &dyn Harness) -> Arc<dyn StorageBackend> {
    harness.open().await.expect("the harness opens its store")
}

/// Closes and drops `backend`, and opens its store again.
pub(crate) async fn reopen(harness: &dyn Harness, backend: Arc<dyn StorageBackend>) -> Arc<dyn StorageBackend> {
    close(backend).await;
    harness.open().await.expect("a store that was closed opens again")
}

pub(crate) async fn close(backend: Arc<dyn StorageBackend>) {
    backend.close().await.expect("closing succeeds");
    drop(backend);
}

pub(crate) async fn save(backend: &dyn StorageBackend, name: &str, data: &Bytes) {
    backend.save(&key(name), data.clone()).await.unwrap_or_else(|error| panic!("saving {name}: {error:?}"));
}

pub(crate) async fn load(backend: &dyn StorageBackend, name: &str) -> Option<Bytes> {
    backend.load(&key(name)).await.unwrap_or_else(|error| panic!("loading {name}: {error:?}"))
}

pub(crate) async fn names(backend: &dyn StorageBackend, prefix: &str) -> Vec<String> {
    let keys = backend.list(prefix).await.unwrap_or_else(|error| panic!("listing {prefix:?}: {error:?}"));
    keys.iter().map(Key::to_string).collect()
}

#[track_caller]
pub(crate) fn assert_kind<T>(result: Result<T>, kind: ErrorKind, what: &str) {
    match result {
        Ok(_) => panic!("{what}: must be {kind}, was Ok"),
        Err(error) => assert_eq!(error.kind(), kind, "{what}: {error:?}"),
    }
}

/// Runs `work(0)` to `work(count - 1)` at the same time, each on a thread of its own, and returns what they return.
pub(crate) fn race<'a, T, F>(harness: &dyn Harness, count: usize, work: impl Fn(usize) -> F + Sync) -> Vec<T>
where
    T: Send,
    F: Future<Output = T> + Send + 'a,
{
    let start = Barrier::new(count);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|index| {
                let (start, work) = (&start, &work);
                scope.spawn(move || {
                    start.wait();
                    wait(harness, work(index))
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}

/// Runs `future` to its end on this thread.
pub(crate) fn wait<T: Send>(harness: &dyn Harness, future: impl Future<Output = T> + Send) -> T {
    let mut result = None;
    harness.block_on(Box::pin(async { result = Some(future.await) }));
    result.expect("Harness::block_on runs the future to its end")
}

/// Polls `future` once and drops it, as a timeout or a cancelled task does.
pub(crate) async fn start_and_drop<T>(future: impl Future<Output = T> + Send) {
    let mut future = pin!(future);
    std::future::poll_fn(|context| {
        let _ = future.as_mut().poll(context);
        Poll::Ready(())
    })
    .await;
}

/// Waits for all of `futures` on one thread. Each is polled, and so started, before any of them is waited for.
pub(crate) async fn join_all<T: Send>(futures: Vec<impl Future<Output = T> + Send>) -> Vec<T> {
    let mut waiting: Vec<_> = futures.into_iter().map(|future| State::Waiting(Box::pin(future))).collect();
    std::future::poll_fn(|context| {
        let mut done = true;
        for state in &mut waiting {
            if let State::Waiting(future) = state {
                match future.as_mut().poll(context) {
                    Poll::Ready(result) => *state = State::Done(result),
                    Poll::Pending => done = false,
                }
            }
        }
        if done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    let done = waiting.into_iter().filter_map(|state| match state {
        State::Done(result) => Some(result),
        State::Waiting(_) => None,
    });
    done.collect()
}

enum State<F: Future> {
    Waiting(Pin<Box<F>>),
    Done(F::Output),
}
