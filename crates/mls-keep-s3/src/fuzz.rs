//! Fuzz targets of what a bucket can hold.

use std::collections::BTreeMap;

use bytes::Bytes;
use fuzzing::Target;
use mls_keep_core::{ErrorKind, Key};

use crate::look::{Look, Quotes};
use crate::object::{Object, REMOVED_LEN};

#[test]
fn object() {
    let nodes = [("n/x/1", "one"), ("n/x/2", "")].map(|(key, node)| (Key::new(key).unwrap(), Bytes::from(node)));
    let whole = Object { id: [7; 16], history: None, value: Some(Bytes::from_static(b"root")), nodes: nodes.into() };
    let removed = Object { id: [8; 16], history: None, value: None, nodes: BTreeMap::new() };
    let look = Look { at: 9, place: [9; 8], quotes: Quotes::Without, keeps_versions: true };
    let swapped = whole.clone().in_place_of(Some(&removed), look);
    let seeds = [whole, removed, swapped].map(|object| object.encode().to_vec());
    Target::new(env!("CARGO_PKG_NAME"), "object").seeds(seeds).memory(1 << 20).run(|input| {
        match Object::decode(Bytes::copy_from_slice(input)) {
            Ok(object) => {
                assert_eq!(object.encode(), input, "an object that is read is written the same");
                assert_eq!(object.value.is_none(), input.len() == REMOVED_LEN);
            }
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::UnsupportedVersion), "{error}");
            }
        }
    });
}
