//! Work beside other work: [`Helper`], a thread that does one piece after the other while its owner prepares the next, and
//! [`Begun`], a future that goes on before somebody waits for it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::thread::{self, JoinHandle};

use crate::error::{Error, ErrorKind, Result};

/// How many pieces are with a thread at once.
const UNDERWAY: usize = 8;

/// So much of the stack is overwritten after the work, bytes: what compressing takes, and little enough for threads of others.
const STACK_LEN: usize = 64 << 10;

type Work<I, O> = Box<dyn FnMut(I) -> Result<O> + Send>;

/// Does one kind of work, in the order of the pieces. The first piece is done by its owner, since what is small has no second
/// one; the others by a thread, where one can be had. When it is dropped the thread has ended.
pub(crate) struct Helper<I, O> {
    worker: Worker<I, O>,
    /// Results that nobody has taken yet, in the order of the pieces.
    done: VecDeque<Result<O>>,
    given: usize,
}

enum Worker<I, O> {
    Here(Work<I, O>),
    Thread(Hand<I, O>),
}

/// A thread, and what it has to do.
struct Hand<I, O> {
    pieces: Option<Sender<I>>,
    results: Option<Receiver<Result<O>>>,
    underway: usize,
    thread: Option<JoinHandle<()>>,
}

impl<I: Send + 'static, O: Send + 'static> Helper<I, O> {
    pub(crate) fn new(work: impl FnMut(I) -> Result<O> + Send + 'static) -> Self {
        Self { worker: Worker::Here(Box::new(work)), done: VecDeque::new(), given: 0 }
    }

    /// Gives it a piece. Waits for an earlier one if many are under way.
    pub(crate) fn give(&mut self, piece: I) {
        self.given += 1;
        if self.given == 2 {
            self.start();
        }
        match &mut self.worker {
            Worker::Here(work) => {
                self.done.push_back(work(piece));
                wipe_stack();
            }
            Worker::Thread(hand) => {
                while hand.underway >= UNDERWAY {
                    self.done.push_back(hand.wait());
                }
                hand.underway += 1;
                // If it has ended, that shows when a result is waited for.
                drop(hand.pieces.as_ref().map(|pieces| pieces.send(piece)));
            }
        }
    }

    /// The next result that is there without waiting.
    pub(crate) fn take(&mut self) -> Option<Result<O>> {
        if let (true, Worker::Thread(hand)) = (self.done.is_empty(), &mut self.worker) {
            let result = hand.results.as_ref()?.try_recv().ok()?;
            hand.underway -= 1;
            return Some(result);
        }
        self.done.pop_front()
    }

    /// The next result, `None` if there is one for each piece that was given.
    pub(crate) fn wait(&mut self) -> Option<Result<O>> {
        match (self.done.pop_front(), &mut self.worker) {
            (None, Worker::Thread(hand)) if hand.underway > 0 => Some(hand.wait()),
            (done, _) => done,
        }
    }

    fn start(&mut self) {
        let Worker::Here(work) = &mut self.worker else { return };
        let work = std::mem::replace(work, Box::new(|_| Err(ended())));
        // If there is no thread, its closure is dropped, and the work is still here.
        let place = Arc::new(Mutex::new(Some(work)));
        let (to, pieces) = mpsc::channel();
        let (results, from) = mpsc::channel();
        let its = Arc::clone(&place);
        let spawned = thread::Builder::new().name("mls-keep helper".into()).spawn(move || {
            let Some(mut work) = its.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
            // Nobody waits for what its owner has dropped.
            while let Ok(piece) = pieces.recv() {
                if results.send(work(piece)).is_err() {
                    break;
                }
            }
            wipe_stack();
        });
        match spawned {
            Ok(thread) => {
                let (pieces, thread) = (Some(to), Some(thread));
                self.worker = Worker::Thread(Hand { pieces, results: Some(from), underway: 0, thread });
            }
            Err(_) => {
                let work = place.lock().unwrap_or_else(PoisonError::into_inner).take();
                self.worker = Worker::Here(work.unwrap_or_else(|| Box::new(|_| Err(ended()))));
            }
        }
    }
}

impl<I, O> Hand<I, O> {
    fn wait(&mut self) -> Result<O> {
        self.underway -= 1;
        let received = self.results.as_ref().and_then(|results| results.recv().ok());
        received.unwrap_or_else(|| Err(ended()))
    }
}

impl<I, O> Drop for Hand<I, O> {
    fn drop(&mut self) {
        (self.pieces, self.results) = (None, None);
        // So that nothing of what it worked on is in memory any more.
        self.thread.take().map(JoinHandle::join);
    }
}

/// A future that was begun: what it asked others for is under way while its owner does something else.
pub(crate) enum Begun<'f, T> {
    Waiting(Pin<Box<dyn Future<Output = T> + Send + 'f>>),
    Done(T),
}

impl<'f, T> Begun<'f, T> {
    /// Goes on with `future` until it waits for the first time.
    pub(crate) async fn new(future: impl Future<Output = T> + Send + 'f) -> Self {
        let mut future: Pin<Box<dyn Future<Output = T> + Send + 'f>> = Box::pin(future);
        match poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await {
            Poll::Ready(done) => Self::Done(done),
            Poll::Pending => Self::Waiting(future),
        }
    }

    pub(crate) async fn finish(self) -> T {
        match self {
            Self::Waiting(future) => future.await,
            Self::Done(done) => done,
        }
    }
}

/// Overwrites what the calls before this one have left on the stack: the compressor keeps pieces of what it compresses there.
/// A thread's stack outlives the thread.
#[inline(never)]
fn wipe_stack() {
    std::hint::black_box(&mut [0_u8; STACK_LEN]);
}

fn ended() -> Error {
    Error::new(ErrorKind::Internal, "a thread that helps ended unexpectedly: please report it")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doubling() -> Helper<usize, usize> {
        Helper::new(|piece| match piece {
            13 => Err(Error::new(ErrorKind::Invalid, "13")),
            14 => panic!("on purpose"),
            other => Ok(2 * other),
        })
    }

    fn all(helper: &mut Helper<usize, usize>) -> Vec<Option<usize>> {
        std::iter::from_fn(|| helper.wait()).map(Result::ok).collect()
    }

    #[test]
    fn results_come_in_the_order_of_the_pieces() {
        let mut helper = doubling();
        let mut taken = Vec::new();
        for piece in 0..13 {
            helper.give(piece);
            taken.extend(std::iter::from_fn(|| helper.take()).map(Result::ok));
        }
        helper.give(13);
        helper.give(20);
        taken.extend(all(&mut helper));
        let expected: Vec<_> = (0..13).map(|piece| Some(2 * piece)).chain([None, Some(40)]).collect();
        assert_eq!(taken, expected);
    }

    #[test]
    fn a_thread_that_panics_is_an_error_and_no_hang() {
        let mut helper = doubling();
        for piece in [1, 14, 2, 3] {
            helper.give(piece);
        }
        assert_eq!(all(&mut helper), [Some(2), None, None, None]);
    }

    #[test]
    fn one_that_is_dropped_ends_its_thread() {
        let alive = Arc::new(());
        let held = Arc::clone(&alive);
        let mut helper = Helper::new(move |piece: usize| Ok(piece + Arc::strong_count(&held)));
        (0..UNDERWAY).for_each(|piece| helper.give(piece));
        drop(helper);
        assert_eq!(Arc::strong_count(&alive), 1);
    }

    #[test]
    fn a_future_that_was_begun_goes_on() {
        let (sender, receiver) = futures_channel::oneshot::channel();
        let value = futures_executor::block_on(async {
            let begun = Begun::new(async move {
                sender.send(1).unwrap();
                2
            })
            .await;
            let waiting = Begun::new(receiver).await;
            (begun.finish().await, waiting.finish().await)
        });
        assert_eq!(value, (2, Ok(1)));
    }
}
