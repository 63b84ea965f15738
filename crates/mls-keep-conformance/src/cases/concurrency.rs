//! Several users at the same time: threads, futures that are dropped, other backends on the same store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use mls_keep_core::{Commit, ErrorKind, Key, Result, StorageBackend};

use crate::harness::Harness;
use crate::support::{assert_kind, join_all, key, load, names, noise, open, race, save, start_and_drop, swap, value};

const RACERS: usize = 8;

/// How often racers really have to meet before a case ends. A backend that compares first and writes later is right when
/// they do not, and mostly even then: a race is found with a probability, which grows with the meetings.
pub(super) const MEETINGS: usize = 40;

/// Racers that all replace the same root: in each round exactly one wins, and the root is the winner's. There are at least
/// `rounds`, and up to four times as many until racers were at work at the same time in enough of them.
async fn one_winner(harness: &dyn Harness, backends: &[Arc<dyn StorageBackend>], rounds: usize) {
    let root = key("root");
    let mut expected: Option<Bytes> = None;
    let mut meetings = 0;
    for round in 0..4 * rounds {
        if round >= rounds && meetings >= MEETINGS.min(rounds) {
            break;
        }
        let attempt = |racer: usize| {
            let replacement = value(&format!("round {round}, racer {racer}"));
            let mut commit = swap(&root, expected.as_ref(), Some(&replacement));
            commit.puts = vec![(key(&format!("n/{round}/{racer}")), noise(racer as u64, 500))];
            let backend = backends.get(racer % backends.len()).map(Arc::clone).expect("there is a backend");
            async move {
                let began = Instant::now();
                let result = backend.commit(commit).await;
                (result, replacement, began, Instant::now())
            }
        };
        let results = race(harness, RACERS, attempt);
        let won = results.iter().find(|(result, ..)| result.is_ok()).map(|(.., ended)| *ended);
        let late = |began: &Instant| won.is_some_and(|won| *began > won);
        meetings += usize::from(results.iter().any(|(result, _, began, _)| result.is_err() && !late(began)));
        let mut winners = Vec::new();
        for (result, replacement, ..) in results {
            match result {
                Ok(()) => winners.push(replacement),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Conflict, "round {round}: a loser's error: {error:?}")
                }
            }
        }
        assert_eq!(winners.len(), 1, "round {round}: exactly one of {RACERS} wins: {winners:?}");
        expected = winners.pop();
        for backend in backends {
            assert_eq!(load(&**backend, "root").await, expected, "round {round}: the root is the winner's");
        }
    }
}

/// Users of one backend race for a root: exactly one wins each round.
pub async fn one_winner_each_round(harness: &dyn Harness) {
    let backend = open(harness).await;
    one_winner(harness, &[backend], 20).await;
}

/// Backends on one store race for a root: exactly one wins each round.
pub async fn one_winner_among_backends(harness: &dyn Harness) {
    let backends = [open(harness).await, open(harness).await, open(harness).await];
    one_winner(harness, &backends, 10).await;
}

/// Adds one to the counter that the root is, until it succeeds. Returns how often somebody else was faster.
pub(crate) async fn increment(backend: &dyn StorageBackend, root: &Key) -> usize {
    for faster in 0.. {
        let before = backend.load(root).await.expect("loading succeeds");
        let count: u64 = before.as_deref().map_or(0, |text| {
            std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).expect("the counter is a number")
        });
        match backend.commit(swap(root, before.as_ref(), Some(&value(&(count + 1).to_string())))).await {
            Ok(()) => return faster,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}"),
        }
    }
    unreachable!("somebody succeeds")
}

/// Racers that add one to the same counter, each at least 10 times, and up to 30 times until they have met often enough.
async fn counter(harness: &dyn Harness, backends: &[Arc<dyn StorageBackend>]) {
    let root = key("root");
    let meetings = AtomicUsize::new(0);
    let meetings = &meetings;
    let added = race(harness, RACERS, |racer| {
        let backend = backends.get(racer % backends.len()).map(Arc::clone).expect("there is a backend");
        let root = root.clone();
        async move {
            let mut added = 0;
            while added < 10 || added < 30 && meetings.load(Ordering::Relaxed) < MEETINGS {
                meetings.fetch_add(increment(&*backend, &root).await, Ordering::Relaxed);
                added += 1;
            }
            added
        }
    });
    let sum: usize = added.iter().sum();
    for backend in backends {
        assert_eq!(load(&**backend, "root").await, Some(value(&sum.to_string())), "racers added {added:?}");
    }
}

/// Increments by compare-and-swap from several threads add up: none is lost.
pub async fn increments_add_up(harness: &dyn Harness) {
    let backend = open(harness).await;
    counter(harness, &[backend]).await;
}

/// Increments through several backends on one store add up.
pub async fn increments_among_backends_add_up(harness: &dyn Harness) {
    let backends = [open(harness).await, open(harness).await];
    counter(harness, &backends).await;
}

/// The nodes of a generation, as its root implies them.
fn nodes(generation: u64) -> Vec<(Key, Bytes)> {
    (0..4).map(|index| (key(&format!("n/{generation}/{index}")), noise(generation * 4 + index, 1500))).collect()
}

fn next_generation(generation: u64) -> Commit {
    let earlier = generation.checked_sub(1);
    let expected = earlier.map(|earlier| value(&earlier.to_string()));
    let mut commit = swap(&key("root"), expected.as_ref(), Some(&value(&generation.to_string())));
    commit.puts = nodes(generation);
    commit.deletes = earlier.into_iter().flat_map(nodes).map(|(key, _)| key).collect();
    commit
}

/// Loads the root and all of its nodes. Nodes may be gone only if the root is another one by then.
async fn read_generation(backend: &dyn StorageBackend, at_least: u64) -> u64 {
    let number = |root: Option<Bytes>| -> u64 {
        let root = root.expect("there is a root all the time");
        std::str::from_utf8(&root).ok().and_then(|text| text.parse().ok()).expect("the root is whole")
    };
    loop {
        let generation = number(load(backend, "root").await);
        assert!(generation >= at_least, "the root went back from {at_least} to {generation}");
        let (keys, data): (Vec<_>, Vec<_>) = nodes(generation).into_iter().unzip();
        let found = backend.load_many(&keys).await.expect("loading succeeds");
        for (found, data) in found.iter().zip(&data) {
            assert!(found.is_none() || found.as_ref() == Some(data), "a node of generation {generation} is not whole");
        }
        if found.iter().all(Option::is_some) {
            return generation;
        }
        let now = number(load(backend, "root").await);
        assert!(now > generation, "the root names generation {generation} and a node of it is missing: {found:?}");
    }
}

/// Says that the writer is done, also when it panics: else the readers would go on for ever.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

async fn readers(harness: &dyn Harness, writer: Arc<dyn StorageBackend>, reader: Arc<dyn StorageBackend>) {
    writer.commit(next_generation(0)).await.expect("the first commit succeeds");
    let done = AtomicBool::new(false);
    let done = &done;
    let seen = race(harness, 4, |index| {
        let (writer, reader) = (Arc::clone(&writer), Arc::clone(&reader));
        async move {
            if index == 0 {
                let _done = Done(done);
                for generation in 1..=60 {
                    writer.commit(next_generation(generation)).await.expect("the only writer succeeds");
                }
                return 60;
            }
            let mut generation = 0;
            while !done.load(Ordering::Acquire) {
                generation = read_generation(&*reader, generation).await;
            }
            read_generation(&*reader, generation).await
        }
    });
    assert_eq!(seen, [60; 4], "after the last commit everybody sees its root and all of its nodes");
}

/// While one user commits, the others see a root with all of its nodes at any time.
pub async fn readers_see_whole_generations(harness: &dyn Harness) {
    let backend = open(harness).await;
    readers(harness, Arc::clone(&backend), backend).await;
}

/// The same through another backend on the same store.
pub async fn readers_of_another_backend(harness: &dyn Harness) {
    let (writer, reader) = (open(harness).await, open(harness).await);
    readers(harness, writer, reader).await;
}

/// What one backend has written, another one on the same store sees at once, and compares with.
pub async fn backends_see_each_other(harness: &dyn Harness) {
    let (first, second) = (open(harness).await, open(harness).await);
    let (a, b, root) = (value("a"), value("b"), key("root"));
    assert_eq!(load(&*second, "root").await, None);
    first.commit(swap(&root, None, Some(&a))).await.expect("the first commit succeeds");
    assert_eq!(load(&*second, "root").await, Some(a.clone()), "a commit of the other backend");
    let late = second.commit(swap(&root, None, Some(&b))).await;
    assert_kind(late, ErrorKind::Conflict, "a commit that does not expect the other backend's root");
    second.commit(swap(&root, Some(&a), Some(&b))).await.expect("a commit that expects it succeeds");
    assert_kind(first.commit(swap(&root, Some(&a), None)).await, ErrorKind::Conflict, "the first one is late now");
    save(&*first, "k", &value("x")).await;
    assert_eq!(names(&*second, "").await, ["k", "root"]);
    second.close().await.expect("closing one of them succeeds");
    assert_eq!(load(&*first, "root").await, Some(b), "the other one goes on");
}

/// Where one process at a time may have the store open, a second open is `Busy` until the first is closed.
pub async fn second_open_is_busy(harness: &dyn Harness) {
    let first = open(harness).await;
    save(&*first, "k", &value("x")).await;
    assert_kind(harness.open().await, ErrorKind::Busy, "opening the store a second time");
    save(&*first, "k", &value("y")).await;
    first.close().await.expect("closing succeeds");
    drop(first);
    let second = open(harness).await;
    assert_eq!(load(&*second, "k").await, Some(value("y")));
}

/// Saves of different keys from several threads all arrive.
pub async fn parallel_saves(harness: &dyn Harness) {
    let backend = open(harness).await;
    race(harness, RACERS, |racer| {
        let backend = Arc::clone(&backend);
        async move {
            for index in 0..10 {
                save(&*backend, &format!("n/{racer}/{index}"), &noise(racer as u64 * 10 + index, 300)).await;
            }
        }
    });
    for racer in 0..RACERS {
        for index in 0..10 {
            let found = load(&*backend, &format!("n/{racer}/{index}")).await;
            assert_eq!(found, Some(noise(racer as u64 * 10 + index, 300)), "racer {racer}, save {index}");
        }
    }
    assert_eq!(names(&*backend, "n/").await.len(), RACERS * 10);
}

/// Saves of one key from several threads: the value is always one of them, whole.
pub async fn parallel_saves_of_one_key(harness: &dyn Harness) {
    let backend = open(harness).await;
    let all: Vec<Bytes> = (0..RACERS).map(|racer| noise(racer as u64, 3000 + racer)).collect();
    race(harness, RACERS, |racer| {
        let (backend, all) = (Arc::clone(&backend), all.clone());
        async move {
            for _ in 0..5 {
                save(&*backend, "k", all.get(racer).expect("one for each racer")).await;
                let found = load(&*backend, "k").await.expect("there is a value from the first save on");
                assert!(all.contains(&found), "a value that nobody saved");
            }
        }
    });
    assert_eq!(names(&*backend, "").await, ["k"]);
}

/// Many commits that one thread has started together all succeed.
pub async fn many_futures_on_one_thread(harness: &dyn Harness) {
    let backend = open(harness).await;
    let commit = |client: usize| {
        let mut commit = swap(&key(&format!("root/{client}")), None, Some(&noise(client as u64, 100)));
        commit.puts = vec![(key(&format!("n/{client}")), noise(client as u64, 1000))];
        backend.commit(commit)
    };
    let results: Vec<Result<()>> = join_all((0..64).map(commit).collect()).await;
    assert_eq!(results.len(), 64);
    for (client, result) in results.into_iter().enumerate() {
        result.unwrap_or_else(|error| panic!("client {client}: {error:?}"));
        assert_eq!(load(&*backend, &format!("root/{client}")).await, Some(noise(client as u64, 100)));
    }
}

/// Dropping a future before it is done harms nothing: the write happens or it does not, and the backend goes on.
pub async fn dropped_futures(harness: &dyn Harness) {
    let backend = open(harness).await;
    let root = key("root");
    backend.commit(swap(&root, None, Some(&value("0")))).await.expect("the first commit succeeds");
    for round in 1..=20_u64 {
        let before = load(&*backend, "root").await;
        let dropped = value(&format!("{round} dropped"));
        let mut commit = swap(&root, before.as_ref(), Some(&dropped));
        commit.puts = vec![(key(&format!("n/{round}")), noise(round, 2000))];
        start_and_drop(backend.commit(commit)).await;
        start_and_drop(backend.load(&root)).await;
        start_and_drop(backend.save(&key("k"), noise(round, 100))).await;
        start_and_drop(backend.delete(&key("absent"))).await;
        start_and_drop(backend.list("")).await;
        // The dropped commit may still land between the load and the commit of one attempt.
        let kept = value(&format!("{round} kept"));
        loop {
            let seen = load(&*backend, "root").await;
            assert!(seen == before || seen.as_ref() == Some(&dropped), "round {round}: the root is {seen:?}");
            match backend.commit(swap(&root, seen.as_ref(), Some(&kept))).await {
                Ok(()) => break,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "round {round}: {error:?}"),
            }
        }
        assert_eq!(load(&*backend, "root").await, Some(kept), "round {round}");
        let node = load(&*backend, &format!("n/{round}")).await;
        assert!(node.is_none() || node == Some(noise(round, 2000)), "round {round}: a node is not whole");
    }
}
