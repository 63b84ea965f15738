//! [`Proxy`]: a bad way to a server.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Running;

/// What happens to what passes, one piece after the other, in both directions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Way {
    /// It is held up for this time.
    pub delay: Duration,
    /// Of a thousand pieces so many cut their connection instead.
    pub resets: u64,
    /// Which ones: different for each seed.
    pub seed: u64,
    /// After so many pieces nothing passes any more, and every connection is cut.
    pub ends_after: Option<u64>,
}

/// Passes connections on to a server. It stops when it is dropped.
pub struct Proxy {
    way: Arc<Mutex<Way>>,
    has_ended: Arc<AtomicBool>,
    running: Running,
}

impl Proxy {
    /// A proxy in front of the server at `address`.
    #[must_use]
    pub fn start(address: SocketAddr) -> Self {
        let way = Arc::new(Mutex::new(Way::default()));
        let has_ended = Arc::new(AtomicBool::new(false));
        let shared = (Arc::clone(&way), Arc::clone(&has_ended));
        let running = Running::start(move |listener| async move {
            loop {
                let Ok((client, _)) = listener.accept().await else { continue };
                let (way, has_ended) = shared.clone();
                tokio::spawn(async move {
                    // Whatever ends here ends the connection, and both sides notice.
                    let _ = pass(client, address, &way, &has_ended).await;
                });
            }
        });
        Self { way, has_ended, running }
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.running.endpoint()
    }

    /// From here on the way is this one.
    pub fn set(&self, way: Way) {
        *self.way.lock().unwrap() = way;
        self.has_ended.store(false, Ordering::Relaxed);
    }

    /// Whether the end of the way was met, see [`Way::ends_after`].
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }
}

async fn pass(client: TcpStream, address: SocketAddr, way: &Mutex<Way>, has_ended: &AtomicBool) -> io::Result<()> {
    let server = TcpStream::connect(address).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let ((client_reads, client_writes), (server_reads, server_writes)) = (client.into_split(), server.into_split());
    tokio::select! {
        ended = pieces(client_reads, server_writes, way, has_ended) => ended,
        ended = pieces(server_reads, client_writes, way, has_ended) => ended,
    }
}

async fn pieces(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    way: &Mutex<Way>,
    has_ended: &AtomicBool,
) -> io::Result<()> {
    let mut piece = vec![0; 64 << 10];
    loop {
        let len = from.read(&mut piece).await?;
        if len == 0 {
            return Ok(());
        }
        let Way { delay, resets, .. } = *way.lock().unwrap();
        tokio::time::sleep(delay).await;
        if ends(way) {
            has_ended.store(true, Ordering::Relaxed);
            return Err(io::Error::other("the way has ended"));
        }
        if resets > random(way) {
            return Err(io::Error::other("cut by the proxy"));
        }
        if let Some(piece) = piece.get(..len) {
            to.write_all(piece).await?;
        }
    }
}

/// Counts a piece, and says whether the way has ended before it.
fn ends(way: &Mutex<Way>) -> bool {
    match &mut way.lock().unwrap().ends_after {
        Some(0) => true,
        Some(left) => {
            *left -= 1;
            false
        }
        None => false,
    }
}

/// A number below 1000 (xorshift64).
fn random(way: &Mutex<Way>) -> u64 {
    let mut way = way.lock().unwrap();
    way.seed |= 1;
    way.seed ^= way.seed << 13;
    way.seed ^= way.seed >> 7;
    way.seed ^= way.seed << 17;
    way.seed % 1000
}
