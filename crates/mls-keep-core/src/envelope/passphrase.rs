//! argon2id (RFC 9106) for passphrases, with bounds on both sides.

use std::io;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use futures_channel::oneshot;
use zeroize::{Zeroize, Zeroizing};

use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret32;

/// What deriving a key from a passphrase costs, for its owner and for an attacker who guesses.
///
/// The default is the second recommended choice of RFC 9106 section 4: 64 MiB, 3 iterations, 4 lanes. Allowed are 19 MiB
/// to 1 GiB, 1 to 10 iterations (at least 2 below 46 MiB), 1 to 16 lanes, and at most 4 GiB of memory times iterations.
/// The same bounds hold for what a keep's header says: below them a hostile copy would make guessing cheap.
///
/// Within them a hostile header is still expensive: 1 GiB and 4 iterations took 1.06 GB of memory and 12.7 seconds of one
/// core on a loaded machine, before it shows that the key is wrong. A program that opens stores of others, or has little memory,
/// sets a lower bound with [`Encryption::argon2_limit`](crate::Encryption::argon2_limit).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Argon2Params {
    /// Memory, KiB.
    pub memory_kib: u32,
    /// Passes over that memory.
    pub iterations: u32,
    /// Lanes. They change the result, and are computed one after the other.
    pub parallelism: u32,
}

const MEMORY_KIB: std::ops::RangeInclusive<u32> = 19 << 10..=1 << 20;
const ITERATIONS: std::ops::RangeInclusive<u32> = 1..=10;
const PARALLELISM: std::ops::RangeInclusive<u32> = 1..=16;
/// Below this much memory one pass is too cheap to guess against.
const ONE_PASS_MEMORY_KIB: u32 = 46 << 10;
/// Memory times iterations.
const MAX_WORK_KIB: u64 = 4 << 20;

impl Default for Argon2Params {
    fn default() -> Self {
        Self { memory_kib: 64 << 10, iterations: 3, parallelism: 4 }
    }
}

impl Argon2Params {
    /// Checks the bounds; nothing is allocated. `kind` says whose mistake it is: the caller's or the header's.
    pub(super) fn check(self, kind: ErrorKind) -> Result<()> {
        let Self { memory_kib, iterations, parallelism } = self;
        let message = if !MEMORY_KIB.contains(&memory_kib) {
            "argon2 memory is not between 19 MiB and 1 GiB"
        } else if !ITERATIONS.contains(&iterations) {
            "argon2 iterations are not between 1 and 10"
        } else if !PARALLELISM.contains(&parallelism) {
            "argon2 parallelism is not between 1 and 16"
        } else if memory_kib < ONE_PASS_MEMORY_KIB && iterations < 2 {
            "argon2 with less than 46 MiB takes at least 2 iterations"
        } else if self.work_kib() > MAX_WORK_KIB {
            "argon2 memory times iterations is over 4 GiB"
        } else {
            return Ok(());
        };
        Err(Error::new(kind, message))
    }

    /// Refuses to spend more than `limit`. Lanes are computed one after the other and cost nothing.
    pub(super) fn check_limit(self, limit: Self) -> Result<()> {
        if self.memory_kib <= limit.memory_kib && self.work_kib() <= limit.work_kib() {
            return Ok(());
        }
        let Self { memory_kib, iterations, .. } = self;
        Err(Error::new(
            ErrorKind::Invalid,
            format!(
                "the header asks for argon2 with {memory_kib} KiB of memory and {iterations} iterations, which is over the \
                 limit that was set; if it is to be trusted, open it with a higher Encryption::argon2_limit"
            ),
        ))
    }

    fn work_kib(self) -> u64 {
        u64::from(self.memory_kib) * u64::from(self.iterations)
    }

    /// As [`derive`](Self::derive), on a thread of its own, so that the caller's executor goes on meanwhile; on the
    /// caller's where `spawn` starts none. If the caller stops waiting, the thread goes on to its end and wipes everything.
    pub(super) async fn derive_aside(
        self,
        passphrase: &[u8],
        salt: &[u8; 32],
        spawn: impl FnOnce(Job) -> io::Result<()>,
    ) -> Result<Secret32> {
        let (sender, receiver) = oneshot::channel();
        let started = {
            let (passphrase, salt) = (Zeroizing::new(passphrase.to_vec()), *salt);
            spawn(Box::new(move || {
                let derived = self.derive(&passphrase, &salt);
                drop(passphrase);
                // Nobody waits any more: what comes back is wiped.
                drop(sender.send(derived));
            }))
        };
        if started.is_err() {
            return self.derive(passphrase, salt);
        }
        let ended = |_| Error::new(ErrorKind::Internal, "the thread that derives the key ended without one");
        receiver.await.map_err(ended)?
    }

    /// argon2id, version 0x13, 32 bytes. The parameters have been checked.
    pub(super) fn derive(self, passphrase: &[u8], salt: &[u8; 32]) -> Result<Secret32> {
        let refused = |error| Error::new(ErrorKind::Internal, format!("argon2 refused its parameters: {error}"));
        let params = Params::new(self.memory_kib, self.iterations, self.parallelism, Some(32)).map_err(refused)?;
        let mut memory = Memory::new(params.block_count())?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        Secret32::fill_with(|out| argon2.hash_password_into_with_memory(passphrase, salt, out, &mut memory.0))
            .map_err(refused)
    }
}

/// What a thread does.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// Starts a thread. There is none on some platforms, and where there are too many.
pub(super) fn spawn(job: Job) -> io::Result<()> {
    std::thread::Builder::new().name("mls-keep argon2".to_owned()).spawn(job).map(drop)
}

/// The working memory. argon2's own frees it as it is, and its last blocks are enough to compute the key.
struct Memory(Vec<Block>);

impl Memory {
    fn new(blocks: usize) -> Result<Self> {
        let mut memory = Vec::new();
        memory
            .try_reserve_exact(blocks)
            .map_err(|error| Error::new(ErrorKind::NoSpace, "there is no memory for argon2").with_source(error))?;
        memory.resize(blocks, Block::default());
        Ok(Self(memory))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(Zeroize::zeroize);
    }
}
