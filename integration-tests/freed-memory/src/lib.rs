//! An allocator that looks at what is freed: a test plants markers where secrets go, and asks afterwards how many
//! blocks were freed that still held one.
//!
//! A marker is [`MARKER_LEN`] bytes. None stands in this crate's own memory: they are compared in a disguise.
//! [`Turn::watch`] looks at all that the process frees while it runs, so a test makes and frees what is its own before or
//! after it. Tests of one program take turns.
//!
//! With `FREED_MEMORY_BACKTRACE=1` every find prints where the block was freed.
//!
//! Memory that is not of Rust's allocator, such as that of a library in C, is not freed through it. For that there is
//! `count_in_memory`, which looks through all of the process (Linux only).

#[cfg(target_os = "linux")]
mod memory;

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

#[cfg(target_os = "linux")]
pub use memory::count_in_memory;

/// Length of a marker, bytes.
pub const MARKER_LEN: usize = 16;

/// What every marker begins with, in the disguise.
const PREFIX: [u8; 4] = [0x9c ^ DISGUISE, 0xe1 ^ DISGUISE, 0x07 ^ DISGUISE, 0xb3 ^ DISGUISE];
const DISGUISE: u8 = 0x55;

/// How many markers there may be.
const MARKERS: usize = 64;

/// What a freed block held, by the marker's number.
pub type Finds = Vec<(u8, usize)>;

/// Writes marker `number` into `out`: to be called where the secret is made, on memory that the code under test owns or
/// while nothing is watched.
pub fn write_marker(number: u8, out: &mut [u8]) {
    for (at, byte) in out.iter_mut().enumerate().take(MARKER_LEN) {
        let disguised = match PREFIX.get(at) {
            Some(byte) => *byte,
            None if at == MARKER_LEN - 1 => number ^ DISGUISE,
            None => (at as u8).wrapping_mul(37) ^ DISGUISE,
        };
        *byte = disguised ^ DISGUISE;
    }
}

/// Marker `number` as bytes of its own.
#[must_use]
pub fn marker(number: u8) -> Vec<u8> {
    let mut bytes = vec![0; MARKER_LEN];
    write_marker(number, &mut bytes);
    bytes
}

/// `len` bytes that hold marker `number` over and over, from the first byte on.
#[must_use]
pub fn marked(number: u8, len: usize) -> Vec<u8> {
    let mut bytes = vec![b'.'; len];
    // Not at a regular distance, so that compression does not reduce all but one to a reference.
    let mut at = 0;
    while at + MARKER_LEN <= len {
        write_marker(number, bytes.get_mut(at..).unwrap_or_default());
        at += MARKER_LEN + 1 + at % 7;
    }
    bytes
}

/// The right to watch: no other test of this program runs meanwhile.
pub struct Turn {
    _turn: MutexGuard<'static, ()>,
}

impl Turn {
    /// Waits for the others.
    #[must_use]
    pub fn take() -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        Self { _turn: TURN.lock().unwrap_or_else(PoisonError::into_inner) }
    }

    /// Runs `f` and says what was freed with a marker in it meanwhile: each marker's number, and in how many blocks.
    pub fn watch<T>(&self, f: impl FnOnce() -> T) -> (T, Finds) {
        self.watch_all_but(&[], &[], f)
    }

    /// As [`watch`](Self::watch), without the blocks that a library frees which is not under test: those for which, of
    /// all source files and dropped types in the backtrace, one with a part of `theirs` in its name comes before one with a
    /// part of `ours`. What cannot be attributed counts.
    pub fn watch_all_but<T>(
        &self,
        theirs: &'static [&'static str],
        ours: &'static [&'static str],
        f: impl FnOnce() -> T,
    ) -> (T, Finds) {
        *NAMES.lock().unwrap_or_else(PoisonError::into_inner) = Names { theirs, ours };
        FOUND.iter().for_each(|found| found.store(0, Ordering::Relaxed));
        PRINT.store(std::env::var_os("FREED_MEMORY_BACKTRACE").is_some(), Ordering::Relaxed);
        let on = On::new();
        let result = f();
        drop(on);
        let found = (0..).zip(&FOUND).map(|(number, found)| (number, found.load(Ordering::Relaxed)));
        (result, found.filter(|(_, count)| *count > 0).collect())
    }
}

static ON: AtomicBool = AtomicBool::new(false);
static PRINT: AtomicBool = AtomicBool::new(false);
static FOUND: [AtomicUsize; MARKERS] = [const { AtomicUsize::new(0) }; MARKERS];

static NAMES: Mutex<Names> = Mutex::new(Names { theirs: &[], ours: &[] });

thread_local! {
    /// Set while a backtrace is made: that allocates and frees.
    static TRACING: Cell<bool> = const { Cell::new(false) };
}

#[derive(Clone, Copy)]
struct Names {
    theirs: &'static [&'static str],
    ours: &'static [&'static str],
}

struct On;

impl On {
    fn new() -> Self {
        ON.store(true, Ordering::SeqCst);
        Self
    }
}

impl Drop for On {
    fn drop(&mut self) {
        ON.store(false, Ordering::SeqCst);
    }
}

/// The allocator: `#[global_allocator] static ALLOCATOR: Watching = Watching;`
pub struct Watching;

// SAFETY: every call goes to `System`, with the layout that came in. Blocks are zeroed when they are handed out, so all of
// a block that is freed is initialised and may be read; and what an earlier owner left is not blamed on the next one.
// `realloc` is the provided one, which allocates, copies and frees, so that a block that grows is looked at as well.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is that of `System`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if ON.load(Ordering::Relaxed) {
            // SAFETY: until `System.dealloc` below the block is the caller's, `layout.size()` bytes long, and initialised.
            look(unsafe { std::slice::from_raw_parts(block, layout.size()) });
        }
        // SAFETY: the block came from `System` with this layout.
        unsafe { System.dealloc(block, layout) }
    }
}

fn look(block: &[u8]) {
    let mut seen = 0_u64;
    find(block, |_, number| seen |= 1 << number);
    if seen == 0 || is_theirs(block.len()) {
        return;
    }
    for (_, found) in FOUND.iter().enumerate().filter(|(number, _)| seen >> number & 1 == 1) {
        found.fetch_add(1, Ordering::Relaxed);
    }
}

/// Calls `found` with the place and the number of every marker in `bytes`. Takes no memory.
fn find(bytes: &[u8], mut found: impl FnMut(usize, u8)) {
    let [first, ..] = PREFIX;
    for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte ^ DISGUISE == first) {
        if let Some(number) = bytes.get(at..at + MARKER_LEN).and_then(recognise) {
            found(at, number);
        }
    }
}

fn recognise(candidate: &[u8]) -> Option<u8> {
    let (last, body) = candidate.split_last()?;
    let (prefix, middle) = body.split_first_chunk()?;
    let disguised = prefix.map(|byte: u8| byte ^ DISGUISE);
    let middle = (PREFIX.len()..).zip(middle).all(|(at, byte)| *byte == (at as u8).wrapping_mul(37));
    (disguised == PREFIX && middle && usize::from(*last) < MARKERS).then_some(*last)
}

/// Whether a library that is not under test frees this block. Prints where, if that is asked for and it is not so.
fn is_theirs(len: usize) -> bool {
    let names = *NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    let print = PRINT.load(Ordering::Relaxed);
    if (names.theirs.is_empty() && !print) || TRACING.replace(true) {
        return false;
    }
    let place = Backtrace::force_capture().to_string();
    let theirs = place.lines().find_map(|line| names.owner(line.trim())).unwrap_or(false);
    if print && !theirs {
        eprintln!("a marker in a freed block of {len} bytes:\n{place}");
    }
    drop(place);
    TRACING.set(false);
    theirs
}

impl Names {
    /// Whether a line of a backtrace is theirs, if it says. The names of functions do not: they name the types that they
    /// are compiled for. That of a drop does.
    fn owner(self, line: &str) -> Option<bool> {
        let has = |names: &[&str]| names.iter().any(|name| line.contains(name));
        (line.starts_with("at ") || line.contains("drop_in_place<")).then_some(())?;
        if has(self.ours) {
            return Some(false);
        }
        has(self.theirs).then_some(true)
    }
}
