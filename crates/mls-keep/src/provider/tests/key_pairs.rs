//! To whom the key pairs of own updates belong, and when they go.

use openmls_traits::storage::StorageProvider;

use super::lists::{reload, thing};
use super::*;

/// A storage with these groups in existence.
fn storage_with(groups: &[&[u8]]) -> TransactionStorage {
    let storage = empty_storage(groups);
    for id in groups {
        storage.write_group_state(&GroupId::from_slice(id), &thing("state")).unwrap();
    }
    storage
}

fn count(records: &Records, kind: Kind) -> usize {
    records.keys().filter(|key| key[0] == kind as u8).count()
}

#[test]
fn a_key_pair_goes_to_the_group_whose_leaf_names_it_whichever_comes_first() {
    let (mut client, mut groups) = Default::default();
    let storage = storage_with(&[b"a", b"b"]);
    let (a, b) = (GroupId::from_slice(b"a"), GroupId::from_slice(b"b"));
    let (first, second) = (thing("the first public key"), thing("the second public key"));
    storage.write_encryption_key_pair(&first, &thing("pair 1")).unwrap();
    storage.append_own_leaf_node(&b, &[&first].map(LeafNaming::from)[0]).unwrap();
    storage.append_own_leaf_node(&a, &LeafNaming::from(&second)).unwrap();
    storage.write_encryption_key_pair(&second, &thing("pair 2")).unwrap();

    let storage = reload(storage, &mut client, &mut groups);
    assert!(client.is_empty());
    for id in [b"a", b"b"] {
        assert_eq!(count(&groups[id.as_slice()], Kind::EncryptionKeyPair), 1);
    }
    storage.delete_own_leaf_nodes(&b).unwrap();
    assert_eq!(storage.encryption_key_pair::<lists::Thing, _>(&first).unwrap(), None);
    assert_eq!(storage.encryption_key_pair::<lists::Thing, _>(&second).unwrap(), Some(thing("pair 2")));
    storage.delete_encryption_key_pair(&second).unwrap();
    reload(storage, &mut client, &mut groups);
    assert!(groups.values().all(|records| count(records, Kind::EncryptionKeyPair) == 0));
}

#[test]
fn a_long_public_key_is_recognised_in_its_leaf() {
    let (mut client, mut groups) = Default::default();
    let storage = storage_with(&[b"a", b"b"]);
    let long = thing([0x5a; 1216]);
    storage.write_encryption_key_pair(&long, &thing("pair")).unwrap();
    storage.append_own_leaf_node(&GroupId::from_slice(b"b"), &LeafNaming::from(&long)).unwrap();
    let storage = reload(storage, &mut client, &mut groups);
    assert_eq!(count(&groups[b"b".as_slice()], Kind::EncryptionKeyPair), 1);
    assert_eq!(storage.encryption_key_pair::<lists::Thing, _>(&long).unwrap(), Some(thing("pair")));
}

#[test]
fn a_key_pair_without_a_leaf_goes_to_the_only_group_or_stays_with_the_client() {
    for (names, expected_in_client) in [(vec![b"a".as_slice()], 0), (vec![b"a".as_slice(), b"b"], 1), (vec![], 1)] {
        let (mut client, mut groups) = Default::default();
        let storage = storage_with(&names);
        storage.write_encryption_key_pair(&thing("public"), &thing("pair")).unwrap();
        let storage = reload(storage, &mut client, &mut groups);
        assert_eq!(count(&client, Kind::EncryptionKeyPair), expected_in_client);
        assert_eq!(storage.encryption_key_pair::<lists::Thing, _>(&thing("public")).unwrap(), Some(thing("pair")));
        storage.delete_encryption_key_pair(&thing("public")).unwrap();
        reload(storage, &mut client, &mut groups);
        assert_eq!(count(&client, Kind::EncryptionKeyPair), 0);
        assert!(groups.values().all(|records| count(records, Kind::EncryptionKeyPair) == 0));
    }
}

/// Stands for a leaf node: other fields around a public key.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
struct LeafNaming {
    before: String,
    encryption_key: lists::Thing,
    after: String,
}

impl From<&lists::Thing> for LeafNaming {
    fn from(key: &lists::Thing) -> Self {
        Self { before: "before".into(), encryption_key: key.clone(), after: "after".into() }
    }
}

impl openmls_traits::storage::Entity<1> for LeafNaming {}
impl openmls_traits::storage::traits::LeafNode<1> for LeafNaming {}
