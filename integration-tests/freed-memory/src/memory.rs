//! Looking through all memory of the process.

use std::fs::File;
use std::io::Result;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

use crate::{MARKER_LEN, find};

/// How often marker `number` stands in memory that this process can write, whoever it is of: in use, freed, on a stack.
///
/// # Errors
/// Those of reading `/proc/self`.
pub fn count_in_memory(number: u8) -> Result<usize> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let memory = File::open("/proc/self/mem")?;
    // What was read stands in the buffer as well, so it is always the same one, and is left out.
    static BUFFER: Mutex<[u8; 1 << 16]> = Mutex::new([0; 1 << 16]);
    let mut buffer = BUFFER.lock().unwrap_or_else(PoisonError::into_inner);
    let ours = buffer.as_ptr().addr()..buffer.as_ptr().addr() + buffer.len();
    let mut count = 0;
    for (start, end) in maps.lines().filter_map(writable) {
        let mut at = start;
        while at < end {
            let len = buffer.len().min(end - at);
            let part = buffer.get_mut(..len).unwrap_or_default();
            // Some mappings are the kernel's and cannot be read.
            if memory.read_exact_at(part, at as u64).is_err() {
                break;
            }
            find(part, |offset, found| count += usize::from(found == number && !ours.contains(&(at + offset))));
            // A marker may stand across the end.
            at += if len == end - at { len } else { len - MARKER_LEN + 1 };
        }
    }
    Ok(count)
}

/// The addresses of a line of `/proc/self/maps`, if it is of memory that can be written.
fn writable(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    fields.next()?.starts_with("rw").then_some((address(start)?, address(end)?))
}
