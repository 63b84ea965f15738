//! Values on the way to a record and back.

use mls_keep_core::ErrorKind;
use openmls_traits::storage::StorageProvider;

use super::lists::{Thing, thing};
use super::*;

const ID: &[u8] = b"g";

/// What reading a GroupContext says if this is the record.
fn read(record: &[u8]) -> mls_keep_core::Result<Option<Thing>> {
    let storage = empty_storage(&[ID]);
    let key = Kind::GroupContext.only();
    storage.put(&Scope::Group(GroupId::from_slice(ID)), key, Some(Value::from(record.to_vec())));
    storage.group_context(&GroupId::from_slice(ID))
}

fn record(value: &Thing) -> Vec<u8> {
    let storage = empty_storage(&[ID]);
    storage.write_context(&GroupId::from_slice(ID), value).unwrap();
    storage.get(&Scope::Group(GroupId::from_slice(ID)), &Kind::GroupContext.only()).unwrap().as_slice().to_vec()
}

#[test]
fn a_value_carries_its_codec_and_version_and_names_its_fields() {
    assert_eq!(record(&thing([0xab, 1])), b"\x01\x00\x01\x81\xa5bytes\xc4\x02\xab\x01");
}

#[test]
fn another_codec_or_a_newer_version_is_not_guessed_at() {
    let good = record(&thing("secret"));
    for (at, byte) in [(0, 0), (0, 2), (1, 1), (2, 2)] {
        let mut other = good.clone();
        other[at] = byte;
        assert_eq!(read(&other).unwrap_err().kind(), ErrorKind::UnsupportedVersion);
    }
}

#[test]
fn damage_is_an_error_that_quotes_nothing() {
    let good = record(&thing("a secret that is long enough to be recognised"));
    assert_eq!(read(&good).unwrap(), Some(thing("a secret that is long enough to be recognised")));
    for cut in 0..good.len() {
        assert_eq!(read(&good[..cut]).unwrap_err().kind(), ErrorKind::Corrupt, "cut at {cut}");
    }
    let another_type = rmp_serde::to_vec(&BTreeMap::from([("bytes", "a secret that is long enough")])).unwrap();
    for bad in
        [[&good[..], b"\xc0"].concat(), [&good[..], b"\xc1"].concat(), [b"\x01\x00\x01", &another_type[..]].concat()]
    {
        let error = read(&bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
    }
}

#[test]
fn any_bytes_at_all_are_refused_or_read_and_never_a_panic() {
    let good = record(&thing([7; 40]));
    for at in 0..good.len() {
        for byte in 0..=255 {
            let mut bad = good.clone();
            bad[at] = byte;
            let _ = read(&bad);
        }
    }
}

#[test]
fn a_damaged_proposal_is_an_error_of_whoever_reads_the_queue() {
    let storage = empty_storage(&[ID]);
    let id = GroupId::from_slice(ID);
    storage.put(&Scope::Group(GroupId::from_slice(ID)), Kind::QueuedProposal.item(0), Some(Value::from(vec![1, 0, 1])));
    assert_eq!(storage.queued_proposals::<_, Thing, Thing>(&id).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(storage.queued_proposal_refs::<_, Thing>(&id).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(storage.remove_proposal(&id, &thing("r")).unwrap_err().kind(), ErrorKind::Corrupt);
    storage.clear_proposal_queue::<_, Thing>(&id).unwrap();
    assert!(storage.queued_proposals::<_, Thing, Thing>(&id).unwrap().is_empty());
}
