//! Names as text: base32hex in lower case, without padding (RFC 4648 section 7), safe on file systems that ignore case.

use data_encoding::BASE32_DNSSEC;

pub(crate) fn encode(bytes: &[u8]) -> String {
    BASE32_DNSSEC.encode(bytes)
}

pub(crate) fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    BASE32_DNSSEC.decode(text.as_bytes()).ok()?.try_into().ok()
}
