//! [`Look`]: when the service was looked at, and what was found. It stands in the objects of roots, so that an opening that
//! reads one need not look again.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{BufMut, BytesMut};

/// How an `If-Match` has to name an ETag.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Quotes {
    #[default]
    With,
    Without,
}

/// After this the service is looked at again, seconds.
const LASTS: u64 = 24 * 60 * 60;

/// One look at one service.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Look {
    /// Seconds since 1970.
    pub(crate) at: u64,
    /// Of the endpoint and the bucket: objects that were copied elsewhere say nothing of the service there.
    pub(crate) place: [u8; 8],
    pub(crate) quotes: Quotes,
    /// Whether the bucket kept versions. Ceph, for one, looks at conditions only where it does not.
    pub(crate) keeps_versions: bool,
}

impl Look {
    pub(crate) const LEN: usize = 8 + 8 + 1;

    /// Whether it still stands.
    fn stands(&self) -> bool {
        now().checked_sub(self.at).is_some_and(|age| age < LASTS)
    }

    pub(crate) fn encode(&self, bytes: &mut BytesMut) {
        bytes.put_u64(self.at);
        bytes.put_slice(&self.place);
        bytes.put_u8(u8::from(self.quotes == Quotes::Without) | u8::from(self.keeps_versions) << 1);
    }

    pub(crate) fn decode(bytes: &[u8; Self::LEN]) -> Option<Self> {
        let (at, rest) = bytes.split_first_chunk()?;
        let (place, rest) = rest.split_first_chunk()?;
        let [flags @ 0..4] = rest else { return None };
        let quotes = if flags & 1 == 0 { Quotes::With } else { Quotes::Without };
        Some(Self { at: u64::from_be_bytes(*at), place: *place, quotes, keeps_versions: flags & 2 != 0 })
    }
}

#[expect(clippy::disallowed_methods, reason = "requests are signed with the same clock")]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// What is known of the service that a store is at.
pub(crate) struct Looks {
    place: [u8; 8],
    last: Mutex<Option<Look>>,
    /// Held by who looks: one is enough.
    pub(crate) looking: tokio::sync::Mutex<()>,
}

impl Looks {
    /// None yet at `endpoint`, or on AWS, and `bucket`.
    pub(crate) fn new(endpoint: Option<&str>, bucket: &str) -> Self {
        // FNV-1a. It has to differ by accident only.
        let hash = [endpoint.unwrap_or_default(), bucket]
            .join("\0")
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Self { place: hash.to_be_bytes(), last: Mutex::default(), looking: tokio::sync::Mutex::default() }
    }

    fn last(&self) -> MutexGuard<'_, Option<Look>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last one, if it still stands.
    pub(crate) fn standing(&self) -> Option<Look> {
        self.last().filter(Look::stands)
    }

    /// Takes over what an object says, that was written where versions were kept or not.
    pub(crate) fn learn(&self, look: Look, keeps_versions: bool) {
        let mut last = self.last();
        let fits = look.place == self.place && look.keeps_versions == keeps_versions;
        if fits && look.stands() && last.is_none_or(|last| last.at < look.at) {
            *last = Some(look);
        }
    }

    pub(crate) fn looked(&self, quotes: Quotes, keeps_versions: bool) -> Look {
        *self.last().insert(Look { at: now(), place: self.place, quotes, keeps_versions })
    }

    /// After a surprise.
    pub(crate) fn forget(&self) {
        *self.last() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_stands_for_a_day_and_for_its_place() {
        let looks = Looks::new(Some("http://127.0.0.1:1"), "bucket");
        let elsewhere = Looks::new(Some("http://127.0.0.1:2"), "bucket");
        let fresh = looks.looked(Quotes::Without, true);
        let aged = |seconds: u64| Look { at: now().saturating_sub(seconds), ..fresh };
        for (look, known) in [(aged(0), true), (aged(LASTS - 60), true), (aged(LASTS + 60), false)] {
            looks.forget();
            looks.learn(look, true);
            elsewhere.learn(look, true);
            assert_eq!(looks.standing().is_some(), known, "{look:?}");
            assert_eq!(elsewhere.standing(), None);
        }
        for (look, keeps_versions) in [(Look { at: now() + 3600, ..fresh }, true), (fresh, false)] {
            looks.forget();
            looks.learn(look, keeps_versions);
            assert_eq!(looks.standing(), None, "a clock that was wrong, or versions that were switched");
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for (quotes, keeps_versions) in [(Quotes::With, false), (Quotes::Without, false), (Quotes::With, true)] {
            let look = Look { at: 9, place: [8; 8], quotes, keeps_versions };
            let mut bytes = BytesMut::new();
            look.encode(&mut bytes);
            assert_eq!(Look::decode(bytes[..].try_into().unwrap()), Some(look));
        }
        assert_eq!(Look::decode(&[4; Look::LEN]), None);
    }
}
