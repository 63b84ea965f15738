//! Sending as fast as possible, while others send as the same client.

use mls_keep::{Client, ErrorKind};

use crate::wait::block_on;

/// What was sent and acknowledged.
#[derive(Debug)]
pub struct Sent {
    /// The text.
    pub text: String,
    /// The ciphertext.
    pub message: Vec<u8>,
}

/// Sends the texts `name-0`, `name-1` and so on to the only group. Returns how often another writer was faster.
///
/// # Panics
/// If anything else goes wrong.
pub fn send_all(client: &mut Client, name: &str, count: usize, mut sent: impl FnMut(Sent)) -> usize {
    let group = block_on(client.groups()).unwrap().remove(0).0;
    let mut again = 0;
    for number in 0..count {
        let text = format!("{name}-{number}");
        loop {
            match block_on(client.send(&group, &text)) {
                Ok(message) => {
                    sent(Sent { text, message: message.to_bytes().unwrap() });
                    break;
                }
                Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Busy) => again += 1,
                Err(error) => panic!("{error:?}"),
            }
        }
    }
    again
}
