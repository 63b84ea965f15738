//! An S3 server on loopback for the tests of the S3 adapter: objects in memory, conditional writes that are atomic, every
//! request on record, and a layer in front that fails as scripted. And [`RacingServer`], which is wrong: its conditional
//! writes compare first and write later.
//!
//! It checks no signatures. It knows what the adapter asks for, and answers 501 to the rest.

// A test server that cannot start, or whose lock is poisoned, ends the test.
#![allow(clippy::unwrap_used, clippy::panic)]

mod fault;
mod objects;
mod proxy;
mod racing;
mod service;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

pub use fault::{Fault, Hold};
pub use objects::Quirks;
pub use proxy::{Proxy, Way};
pub use racing::RacingServer;
pub use service::Request;

use fault::Script;
use objects::Objects;

/// The bucket that is there.
pub const BUCKET: &str = "bucket";

/// A server with one bucket, [`BUCKET`]. It stops when it is dropped.
pub struct Server {
    shared: Arc<Shared>,
    running: Running,
}

#[derive(Default)]
struct Shared {
    objects: Mutex<Objects>,
    script: Mutex<Script>,
    requests: Mutex<Vec<Request>>,
    /// What a policy forbids: a method, or `LIST`.
    forbidden: Mutex<Option<String>>,
    /// What requests that met [`Fault::Late`] do when they take effect.
    late: Mutex<Vec<Box<dyn FnOnce() + Send>>>,
    /// How many requests there were in all.
    arrived: AtomicUsize,
    /// How many bytes went into bodies that have no end.
    endless: AtomicUsize,
}

impl Shared {
    fn land(&self) -> usize {
        let late = std::mem::take(&mut *self.late.lock().unwrap());
        let count = late.len();
        late.into_iter().for_each(|land| land());
        count
    }
}

impl Server {
    /// A server that does everything right.
    #[must_use]
    pub fn start() -> Self {
        Self::with(Quirks::default())
    }

    /// A server that differs from AWS as `quirks` say.
    #[must_use]
    pub fn with(quirks: Quirks) -> Self {
        let shared = Arc::new(Shared { objects: Mutex::new(Objects::new(quirks)), ..Shared::default() });
        let state = Arc::clone(&shared);
        let running = Running::start(move |listener| async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let state = Arc::clone(&state);
                tokio::spawn(async move {
                    let service = service_fn(move |request| service::answer(Arc::clone(&state), request));
                    // A connection that a fault or the client has cut.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { shared, running }
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.running.endpoint()
    }

    /// The requests since the last call, in the order in which they arrived.
    #[must_use]
    pub fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut *self.shared.requests.lock().unwrap())
    }

    /// How many requests there were since the last call of [`take_requests`](Self::take_requests).
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared.requests.lock().unwrap().len()
    }

    /// Lets the `k`-th request from now meet `fault`, 1 being the next one; and all later ones as well if `sticky`.
    pub fn fail(&self, k: usize, fault: Fault, sticky: bool) {
        let then = sticky.then(|| fault.clone());
        self.fail_then(k, fault, then);
    }

    /// Lets the `k`-th request from now meet `fault`, and all later ones `then`.
    pub fn fail_then(&self, k: usize, fault: Fault, then: Option<Fault>) {
        self.shared.script.lock().unwrap().set(k, fault, then);
    }

    /// Lets `permille` of a thousand requests meet one of `faults`, different ones for each seed.
    pub fn fail_at_random(&self, seed: u64, permille: u64, faults: &[Fault]) {
        self.shared.script.lock().unwrap().set_random(seed, permille, faults.to_vec());
    }

    /// Lets the requests that met [`Fault::Late`] take effect, in their order. Returns how many there were.
    pub fn land(&self) -> usize {
        self.shared.land()
    }

    /// Ends all faults. Returns whether the last one that was set has been met.
    pub fn heal(&self) -> bool {
        self.shared.script.lock().unwrap().clear()
    }

    /// Whether the fault that was set has been met.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.shared.script.lock().unwrap().is_met()
    }

    /// How many bytes were sent in answers to [`Fault::Endless`].
    #[must_use]
    pub fn endless_len(&self) -> usize {
        self.shared.endless.load(Ordering::Relaxed)
    }

    /// The keys of all current objects.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.shared.objects.lock().unwrap().keys()
    }

    /// How many versions are kept that are not current, markers of deletion among them.
    #[must_use]
    pub fn old_versions(&self) -> usize {
        self.shared.objects.lock().unwrap().old_versions()
    }

    /// Puts `body` in place of the object `key`, behind everybody's back.
    pub fn tamper(&self, key: &str, body: &[u8]) {
        self.shared.objects.lock().unwrap().put(key, body.to_vec().into());
    }

    /// Whether no `If-Match` holds from here on.
    pub fn refuse_conditions(&self, refuse: bool) {
        self.shared.objects.lock().unwrap().quirks.refuses_if_match = refuse;
    }

    /// Forbids all requests of this kind from here on, `GET`, `PUT`, `DELETE` or `LIST`, as a policy does.
    pub fn forbid(&self, kind: Option<&str>) {
        *self.shared.forbidden.lock().unwrap() = kind.map(str::to_owned);
    }

    /// Whether versions are kept from here on: `Some(false)` where that was suspended, `None` where it never was.
    pub fn set_versioning(&self, versioning: Option<bool>) {
        self.shared.objects.lock().unwrap().set_versioning(versioning);
    }

    /// Whether `marker` stands in any version of any object.
    #[must_use]
    pub fn contains(&self, marker: &[u8]) -> bool {
        self.shared.objects.lock().unwrap().contains(marker)
    }
}

/// A listener on a free port of 127.0.0.1, with a thread of its own that stops when this is dropped.
struct Running {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start<F, S>(serve: S) -> Self
    where
        S: FnOnce(TcpListener) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener) => {}
                    _ = stopped => {}
                }
            });
            runtime.shutdown_background();
        });
        Self { address, stop: Some(stop), thread: Some(thread) }
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
