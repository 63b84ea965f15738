//! Which messages were received: the last 224 to 256 of a group, so that one that arrives again is recognised before OpenMLS is asked.
//!
//! They stand in pages that are written over in turn, so that they take the same room however long a group lives. A message
//! that arrives again later than that is refused by OpenMLS, as its key is used up.

use std::borrow::Cow;

use mls_keep_core::{Result, Value};
use openmls::group::GroupId;
use serde::{Deserialize, Serialize};

use super::history::{GroupRecord, after};
use crate::provider::TransactionStorage;
use crate::records::{Digest, Kind, codec};
use crate::scope::Scope;

const PAGES: u8 = 8;
const PER_PAGE: u64 = 32;

/// Stands for a message that is not in the history.
const NO_NUMBER: u64 = u64::MAX;

/// Some of the messages that were received: record `04` of their group's scope. All pages are looked through for each message
/// that arrives, so that they are read where they stand.
#[derive(Default, Deserialize, Serialize)]
struct Page<'r> {
    /// The first 16 bytes of the SHA-256 of each.
    #[serde(borrow)]
    digests: Cow<'r, [u8]>,
    /// The number of each in the history, 8 bytes, all ones if it is not there.
    #[serde(borrow)]
    numbers: Cow<'r, [u8]>,
}

/// What is known of a message that was received.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Arrival {
    /// Its number in the history, if it is there.
    pub(super) number: Option<u64>,
}

/// Looks for a message among those that were received. `record` reads a record of the group's scope.
pub(super) fn find(record: impl Fn(&[u8]) -> Option<Value>, digest: &Digest) -> Result<Option<Arrival>> {
    for page in 0..PAGES {
        let Some(page) = record(&Kind::Arrivals.with(&[page])) else { continue };
        let page: Page<'_> = codec::decode(Kind::Arrivals, &page)?;
        if let Some(at) = page.position(digest) {
            let number = page.numbers.as_chunks().0.get(at).map(|number| u64::from_be_bytes(*number));
            return Ok(Some(Arrival { number: number.filter(|number| *number != NO_NUMBER) }));
        }
    }
    Ok(None)
}

/// As [`find`], in a transaction.
pub(super) fn find_in(storage: &TransactionStorage, group: &GroupId, digest: &Digest) -> Result<Option<Arrival>> {
    let scope = Scope::group(group);
    find(|key| storage.get(&scope, key), digest)
}

/// Remembers that a message was received, or under which number it is in the history now.
pub(super) fn note(storage: &TransactionStorage, group: &GroupId, digest: &Digest, arrival: Arrival) -> Result<()> {
    let scope = Scope::group(group);
    for index in 0..PAGES {
        let Some(page) = storage.get(&scope, &Kind::Arrivals.with(&[index])) else { continue };
        let mut page: Page<'_> = codec::decode(Kind::Arrivals, &page)?;
        if let Some(at) = page.position(digest) {
            if let Some(number) = page.numbers.to_mut().as_chunks_mut().0.get_mut(at) {
                *number = arrival.to_bytes();
            }
            return page.write(storage, &scope, index);
        }
    }
    let mut counters = GroupRecord::read(storage, group)?;
    let place = counters.next_arrival;
    counters.next_arrival = after(place)?;
    counters.write(storage, group)?;
    let index = ((place / PER_PAGE) % u64::from(PAGES)) as u8;
    let begun = storage.get(&scope, &Kind::Arrivals.with(&[index])).filter(|_| place % PER_PAGE != 0);
    let mut page: Page<'_> =
        begun.as_ref().map(|page| codec::decode(Kind::Arrivals, page)).transpose()?.unwrap_or_default();
    page.digests.to_mut().extend_from_slice(digest);
    page.numbers.to_mut().extend_from_slice(&arrival.to_bytes());
    page.write(storage, &scope, index)
}

/// Forgets that a message was received: it may come again.
pub(super) fn forget(storage: &TransactionStorage, group: &GroupId, digest: &Digest) -> Result<()> {
    let scope = Scope::group(group);
    for index in 0..PAGES {
        let Some(page) = storage.get(&scope, &Kind::Arrivals.with(&[index])) else { continue };
        let mut page: Page<'_> = codec::decode(Kind::Arrivals, &page)?;
        if let Some(at) = page.position(digest) {
            page.remove(at);
            return page.write(storage, &scope, index);
        }
    }
    Ok(())
}

impl Arrival {
    fn to_bytes(self) -> [u8; 8] {
        self.number.unwrap_or(NO_NUMBER).to_be_bytes()
    }
}

impl Page<'_> {
    fn position(&self, digest: &Digest) -> Option<usize> {
        self.digests.as_chunks().0.iter().position(|known: &Digest| known == digest)
    }

    fn remove(&mut self, at: usize) {
        fn cut(bytes: &mut Cow<'_, [u8]>, at: usize, len: usize) {
            bytes.to_mut().drain(at * len..(at + 1) * len);
        }
        cut(&mut self.digests, at, size_of::<Digest>());
        cut(&mut self.numbers, at, size_of::<u64>());
    }

    /// An empty one has no record.
    fn write(&self, storage: &TransactionStorage, scope: &Scope, index: u8) -> Result<()> {
        let is_empty = self.digests.is_empty();
        let record = if is_empty { None } else { Some(codec::encode(Kind::Arrivals, self, 1024)?) };
        storage.put(scope, Kind::Arrivals.with(&[index]), record);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records;

    #[test]
    fn the_last_ones_are_known_however_many_there_were() {
        let storage = TransactionStorage::new(Default::default(), Default::default());
        let group = GroupId::from_slice(b"tea");
        let digest = |at: u64| records::digest(&at.to_be_bytes());
        let known = |at| find_in(&storage, &group, &digest(at)).unwrap();
        for at in 0..1000_u64 {
            let number = (at % 3 != 0).then_some(at);
            note(&storage, &group, &digest(at), Arrival { number }).unwrap();
            assert_eq!(known(at), Some(Arrival { number }));
            let oldest = at.saturating_sub(u64::from(PAGES - 1) * PER_PAGE);
            assert!((oldest..at).all(|at| known(at).is_some()), "one of the last 224 is not known after {at}");
        }
        assert_eq!(known(100), None);
        // One that is known gets its number, and no place of its own.
        note(&storage, &group, &digest(999), Arrival { number: Some(7) }).unwrap();
        assert_eq!(known(999), Some(Arrival { number: Some(7) }));
        assert_eq!(GroupRecord::read(&storage, &group).unwrap().next_arrival, 1000);
        // One that is forgotten takes no other one with it.
        forget(&storage, &group, &digest(998)).unwrap();
        let numbers: Vec<_> = (996..1000).map(|at| known(at).map(|arrival| arrival.number)).collect();
        assert_eq!(numbers, [Some(None), Some(Some(997)), None, Some(Some(7))]);
    }
}
