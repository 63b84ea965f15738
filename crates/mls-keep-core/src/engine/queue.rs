//! What runs on the thread: requests in their order, with one flush for all batches that wait.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;

use bytes::Bytes;
use futures_channel::oneshot::Sender;

use super::{Engine, WriteBatch};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;

/// Most batches that are applied together, so that the first of them does not wait long for its answer.
const MAX_GROUP: usize = 256;

/// Most bytes that are stored together. A larger batch goes alone.
const MAX_GROUP_LEN: usize = 8 << 20;

/// Work for the thread. Nobody may be waiting for the answer any more.
pub(super) enum Request<E> {
    Load { keys: Vec<Key>, reply: Sender<Result<Vec<Option<Bytes>>>> },
    List { prefix: String, after: Option<Key>, limit: usize, reply: Sender<Result<Vec<Key>>> },
    Write { batches: Vec<WriteBatch>, reply: Sender<Vec<Result<()>>> },
    Call { work: Box<dyn FnOnce(&mut E) + Send> },
    Close { reply: Sender<Result<()>> },
}

/// Serves `requests` until a close, or until nobody can send any more. Sets `closed` before it stops to take them.
pub(super) fn run<E: Engine>(mut engine: E, requests: &Receiver<Request<E>>, closed: &AtomicBool) {
    let mut next = requests.recv().ok();
    while let Some(first) = next.take() {
        let Turn { group, rest } = gather(&mut engine, first, requests);
        let wrote = group.apply(&mut engine);
        for request in rest {
            if let Request::Close { reply } = request {
                let result = engine.close();
                closed.store(true, Ordering::Release);
                answer(reply, result);
                return;
            }
            serve(&mut engine, request);
        }
        next = requests.try_recv().ok();
        if next.is_none() {
            if wrote {
                engine.idle();
            }
            next = requests.recv().ok();
        }
    }
    // Best effort: nobody is left to be told.
    drop(engine.close());
}

/// What is taken from the queue at once: the writes that go together, and what has to come after them.
struct Turn<E> {
    group: Group,
    rest: Vec<Request<E>>,
}

/// Takes `first` and what waits behind it, as much as fits a group.
///
/// A caller that has sent a write and then asks for a value gets the answer that holds after that write, also when nobody
/// waits for the write any more. So a read behind a write is served after the group. All others are served at once.
fn gather<E: Engine>(engine: &mut E, first: Request<E>, requests: &Receiver<Request<E>>) -> Turn<E> {
    let mut turn = Turn { group: Group::default(), rest: Vec::new() };
    let mut next = Some(first);
    while let Some(request) = next {
        match request {
            Request::Write { batches, reply } => turn.group.add(batches, reply),
            Request::Load { .. } | Request::List { .. } if turn.group.batches.is_empty() => serve(engine, request),
            Request::Load { .. } | Request::List { .. } => turn.rest.push(request),
            Request::Call { .. } | Request::Close { .. } => {
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

fn serve<E: Engine>(engine: &mut E, request: Request<E>) {
    match request {
        Request::Load { reply, .. } if reply.is_canceled() => {}
        Request::Load { keys, reply } => answer(reply, engine.load_many(&keys)),
        Request::List { prefix, after, limit, reply } => answer(reply, engine.list(&prefix, after.as_ref(), limit)),
        Request::Call { work } => work(engine),
        Request::Write { batches, reply } => answer(reply, engine.apply(&batches)),
        // `run` alone can end the thread.
        Request::Close { reply } => drop(reply),
    }
}

/// Writes that are applied together.
#[derive(Default)]
struct Group {
    batches: Vec<WriteBatch>,
    len: usize,
    /// Who waits for how many of the results, in the order of the batches.
    replies: Vec<(usize, Sender<Vec<Result<()>>>)>,
}

impl Group {
    fn add(&mut self, batches: Vec<WriteBatch>, reply: Sender<Vec<Result<()>>>) {
        self.len += batches.iter().map(WriteBatch::stored_bytes).sum::<usize>();
        self.replies.push((batches.len(), reply));
        self.batches.extend(batches);
    }

    fn is_full(&self) -> bool {
        self.batches.len() >= MAX_GROUP || self.len >= MAX_GROUP_LEN
    }

    /// Says whether there was anything to apply.
    fn apply<E: Engine>(self, engine: &mut E) -> bool {
        if self.batches.is_empty() {
            return false;
        }
        let mut results = engine.apply(&self.batches);
        if results.len() != self.batches.len() {
            // Whose results they are is not known.
            let text = "the engine's apply gave another number of results than it had batches: please report it";
            results = Error::new(ErrorKind::OutcomeUnknown, text).for_each_of(self.batches.len());
        }
        let mut results = results.into_iter();
        for (count, reply) in self.replies {
            answer(reply, results.by_ref().take(count).collect());
        }
        true
    }
}

pub(super) fn answer<T>(reply: Sender<T>, result: T) {
    // A caller that dropped the future does not want to know.
    drop(reply.send(result));
}
