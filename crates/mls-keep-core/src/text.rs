//! Names as text: base32hex in lower case, without padding (RFC 4648 section 7), safe on file systems that ignore case.

use data_encoding::{Encoding, Specification};
use std::sync::LazyLock;

static BASE32HEX: LazyLock<Encoding> = LazyLock::new(|| {
    let mut alphabet = Specification::new();
    alphabet.symbols.push_str("0123456789abcdefghijklmnopqrstuv");
    // The alphabet is a constant with 32 different ASCII symbols, which is all that is asked of one.
    alphabet.encoding().unwrap_or(data_encoding::BASE32HEX_NOPAD)
});

pub(crate) fn encode(bytes: &[u8]) -> String {
    BASE32HEX.encode(bytes)
}

pub(crate) fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    BASE32HEX.decode(text.as_bytes()).ok()?.try_into().ok()
}
