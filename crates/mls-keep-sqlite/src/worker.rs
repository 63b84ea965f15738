//! The thread that owns the connection. Commits that wait for it are applied together, with one flush.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;

use bytes::Bytes;
use futures_channel::oneshot::Sender;
use mls_keep_core::{Key, Result};

use crate::store::{Change, Store};

/// Most changes that are applied together, so that the first of them does not wait long for its answer.
const MAX_GROUP: usize = 256;

/// Most bytes that are stored together. A larger change goes alone.
const MAX_GROUP_LEN: usize = 8 << 20;

/// What the thread is asked to do, and where the answer goes. Nobody may be waiting for it any more.
pub(crate) enum Request {
    Load { keys: Vec<Key>, reply: Sender<Result<Vec<Option<Bytes>>>> },
    List { prefix: String, after: Option<Key>, limit: usize, reply: Sender<Result<Vec<Key>>> },
    Write { changes: Vec<Change>, reply: Sender<Vec<Result<()>>> },
    Checkpoint { reply: Sender<Result<()>> },
    Close { reply: Sender<Result<()>> },
}

/// Serves `requests` until a close, or until nobody can send any more. Sets `closed` before it stops to take them.
pub(crate) fn run(mut store: Store, requests: &Receiver<Request>, closed: &AtomicBool) {
    while let Ok(first) = requests.recv() {
        let Turn { group, rest } = gather(&mut store, first, requests);
        group.apply(&mut store);
        for request in rest {
            if let Request::Close { reply } = request {
                let result = store.close();
                closed.store(true, Ordering::Release);
                answer(reply, result);
                return;
            }
            serve(&mut store, request);
        }
    }
    // Best effort: nobody is left to be told.
    drop(store.close());
}

/// What is taken from the queue at once: the writes that go together, and what has to come after them.
#[derive(Default)]
struct Turn {
    group: Group,
    rest: Vec<Request>,
}

/// Takes `first` and what waits behind it, as much as fits a group.
///
/// Whoever has sent a write and then asks for a value gets the answer that holds after that write, also when nobody waits
/// for the write any more. So a read that is behind a write is served after the group. All others are served at once.
fn gather(store: &mut Store, first: Request, requests: &Receiver<Request>) -> Turn {
    let mut turn = Turn::default();
    let mut next = Some(first);
    while let Some(request) = next {
        match request {
            Request::Write { changes, reply } => turn.group.add(changes, reply),
            Request::Load { .. } | Request::List { .. } if turn.group.changes.is_empty() => serve(store, request),
            Request::Load { .. } | Request::List { .. } => turn.rest.push(request),
            Request::Checkpoint { .. } | Request::Close { .. } => {
                turn.rest.push(request);
                break;
            }
        }
        // Reads that are served at once cannot hold up a write: a write that waits is the next to be taken.
        let full = turn.group.is_full() || turn.rest.len() >= MAX_GROUP;
        next = if full { None } else { requests.try_recv().ok() };
    }
    turn
}

fn serve(store: &mut Store, request: Request) {
    match request {
        Request::Load { reply, .. } if reply.is_canceled() => {}
        Request::Load { keys, reply } => answer(reply, store.load_many(&keys)),
        Request::List { prefix, after, limit, reply } => answer(reply, store.list(&prefix, after.as_ref(), limit)),
        Request::Checkpoint { reply } => answer(reply, store.checkpoint()),
        Request::Write { changes, reply } => answer(reply, store.apply(&changes)),
        // `run` alone can end the thread.
        Request::Close { reply } => drop(reply),
    }
}

/// Writes that are applied together.
#[derive(Default)]
struct Group {
    changes: Vec<Change>,
    len: usize,
    /// Who waits for how many of the results, in the order of the changes.
    replies: Vec<(usize, Sender<Vec<Result<()>>>)>,
}

impl Group {
    fn add(&mut self, changes: Vec<Change>, reply: Sender<Vec<Result<()>>>) {
        self.len += changes.iter().map(Change::len).sum::<usize>();
        self.replies.push((changes.len(), reply));
        self.changes.extend(changes);
    }

    fn is_full(&self) -> bool {
        self.changes.len() >= MAX_GROUP || self.len >= MAX_GROUP_LEN
    }

    fn apply(self, store: &mut Store) {
        if self.changes.is_empty() {
            return;
        }
        let mut results = store.apply(&self.changes).into_iter();
        for (count, reply) in self.replies {
            answer(reply, results.by_ref().take(count).collect());
        }
    }
}

fn answer<T>(reply: Sender<T>, result: T) {
    // Whoever dropped the future does not want to know.
    drop(reply.send(result));
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures_channel::oneshot;
    use futures_executor::block_on;

    use super::*;
    use crate::Config;

    #[test]
    fn a_read_behind_a_write_sees_it_and_a_read_before_it_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(crate::open::open(&dir.path().join("keep"), &Config::default()).unwrap());
        let key = Key::new("k").unwrap();
        let (queue, requests) = mpsc::channel();
        let load = || {
            let (reply, answer) = oneshot::channel();
            queue.send(Request::Load { keys: vec![key.clone()], reply }).unwrap();
            answer
        };
        let before = load();
        let (reply, write) = oneshot::channel();
        let change = Change { puts: vec![(key.clone(), Bytes::from_static(b"v"))], ..Change::default() };
        queue.send(Request::Write { changes: vec![change], reply }).unwrap();
        drop(write);
        let after = load();
        let (reply, close) = oneshot::channel();
        queue.send(Request::Close { reply }).unwrap();

        run(store, &requests, &AtomicBool::new(false));
        assert_eq!(block_on(before).unwrap().unwrap(), [None]);
        assert_eq!(block_on(after).unwrap().unwrap(), [Some(Bytes::from_static(b"v"))]);
        block_on(close).unwrap().unwrap();
    }
}
