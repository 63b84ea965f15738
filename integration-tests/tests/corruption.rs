//! A store that somebody damaged, cut, mixed up or set back: that is found out, and no wrong data come out of it.

#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use integration_tests::observe::{Observation, observe};
use integration_tests::random::Random;
use integration_tests::store::{Contents, Image, MASTER_KEY, contents, image, load, open, open_keep, restore};
use integration_tests::wait::block_on;
use mls_keep::openmls::group::GroupId;
use mls_keep::{Argon2Params, Change, Encryption, ErrorKind, MasterKey, PersistenceManager, Result, Scope};
use mls_keep_core::{Key, MemoryBackend, StorageBackend};

const HEADER: &str = "header";

/// Where the clear prefixes of header and root say which version and which way it is (docs/format.md). Only there may
/// damage look like a newer version.
const HEADER_VERSIONS: std::ops::Range<usize> = 8..11;
const ROOT_VERSIONS: [std::ops::Range<usize>; 2] = [8..10, 16..24];

/// A client with a group, messages and a value that is stored as chunks, and all that its store ever held.
struct Truth {
    image: Image,
    /// The store after each operation, the oldest first.
    earlier: Vec<Image>,
    contents: Contents,
    observation: Observation,
    group: GroupId,
    large: Vec<u8>,
}

impl Truth {
    fn new() -> Self {
        let store = MemoryBackend::new();
        let mut earlier = Vec::new();
        let manager = open(store.clone()).unwrap();
        let mut alice = block_on(manager.client_builder("alice").create()).unwrap();
        earlier.push(image(&store));
        let group = block_on(alice.create_group("tea")).unwrap();
        earlier.push(image(&store));
        // It compresses well, which keeps the store small; but it is long enough for chunks.
        let large: Vec<u8> = (0..5000_u32).map(|at| (at / 100) as u8).collect();
        let put = |value: Vec<u8>| {
            move |tx: &mut mls_keep::Transaction<'_, _>| {
                tx.records.put("large", value)?;
                Ok(())
            }
        };
        block_on(alice.transact(&group, put(large.iter().rev().copied().collect()))).unwrap();
        earlier.push(image(&store));
        block_on(alice.transact(&group, put(large.clone()))).unwrap();
        earlier.push(image(&store));
        for text in ["one", "two"] {
            block_on(alice.send(&group, text)).unwrap();
            earlier.push(image(&store));
        }
        block_on(alice.commit_at_once(&group, Change::new().update())).unwrap();
        Self {
            image: image(&store),
            earlier,
            contents: contents(manager.keep(), "alice").unwrap(),
            observation: observe(&mut alice).unwrap(),
            group,
            large,
        }
    }

    fn root(&self) -> &Key {
        self.image.keys().find(|key| key.as_str().starts_with("r/")).unwrap()
    }

    fn with(&self, key: &Key, value: Option<&[u8]>) -> Image {
        let mut image = self.image.clone();
        match value {
            Some(value) => image.insert(key.clone(), Bytes::copy_from_slice(value)),
            None => image.remove(key),
        };
        image
    }

    /// How a damaged store shows. What is read from it without an error must be the truth.
    fn read(&self, case: &str, damaged: &Image) -> ErrorKind {
        let found = open_keep(restore(damaged)).and_then(|keep| contents(&keep, "alice"));
        match found {
            Ok(found) => {
                assert_eq!(found, self.contents, "{case}: wrong data");
                panic!("{case}: not noticed");
            }
            Err(error) => error.kind(),
        }
    }

    /// The same as a program would do it.
    fn use_it(&self, case: &str, damaged: &Image) -> ErrorKind {
        let all = || -> Result<bool> {
            let manager = open(restore(damaged))?;
            let mut alice = load(&manager, "alice")?;
            let seen = observe(&mut alice)?;
            let large = block_on(alice.record(&Scope::Group(self.group.clone()), "large"))?;
            let sound = block_on(alice.store().unwrap().verify(&mut |_| ()))?.is_sound();
            assert_eq!(seen, self.observation, "{case}: wrong data");
            assert_eq!(large.unwrap().as_slice(), self.large, "{case}: wrong data");
            Ok(sound)
        };
        match all() {
            Ok(sound) => panic!("{case}: not noticed (by verify: {})", !sound),
            Err(error) => error.kind(),
        }
    }
}

/// What may be said of damage at this place.
fn assert_right(case: &str, kind: ErrorKind, root: &Key, key: &Key, at: usize) {
    let versions = match key.as_str() {
        HEADER => HEADER_VERSIONS.contains(&at),
        _ => key == root && ROOT_VERSIONS.iter().any(|range| range.contains(&at)),
    };
    match kind {
        ErrorKind::Corrupt => {}
        // Salt, store id and commitment of the header: another key is what it looks like.
        ErrorKind::WrongKey => assert_eq!(key.as_str(), HEADER, "{case}"),
        ErrorKind::UnsupportedVersion => assert!(versions, "{case}: {kind}"),
        _ => panic!("{case}: {kind}"),
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let truth = Truth::new();
    let mut kinds = BTreeMap::<String, usize>::new();
    let begun = Instant::now();
    for (key, value) in &truth.image {
        for at in 0..value.len() {
            let mut damaged = value.to_vec();
            for bit in 0..8 {
                damaged[at] ^= 1 << bit;
                let case = format!("bit {bit} of byte {at} of {key}");
                let damaged_image = truth.with(key, Some(&damaged));
                let kind = truth.read(&case, &damaged_image);
                assert_right(&case, kind, truth.root(), key, at);
                *kinds.entry(kind.to_string()).or_default() += 1;
                if at % 8 == bit {
                    assert_eq!(truth.use_it(&case, &damaged_image), kind, "{case}");
                }
                damaged[at] ^= 1 << bit;
            }
        }
    }
    let bytes: usize = truth.image.values().map(Bytes::len).sum();
    println!("{bytes} bytes in {} values: {kinds:?}, {:?}", truth.image.len(), begun.elapsed());
    // A header, a root, and nodes of more than one kind.
    assert!(truth.image.len() >= 4 && kinds.values().sum::<usize>() == 8 * bytes, "too little was tried");
}

/// With nodes of every kind: inner nodes of a map, index nodes and many chunks of a long value.
#[test]
fn damage_of_any_node_of_a_larger_store_is_noticed() {
    let mut random = Random::from_environment();
    let store = MemoryBackend::new();
    let mut alice = block_on(open(store.clone()).unwrap().client_builder("alice").create()).unwrap();
    let group = block_on(alice.create_group("tea")).unwrap();
    let (long, short) = (random.bytes(500_000), random.bytes(150));
    let put = alice.transact(&group, |tx| {
        for number in 0..600 {
            tx.records.put(format!("record {number}"), short.clone())?;
        }
        Ok(tx.records.put("long", long)?)
    });
    block_on(put).unwrap();
    let undamaged = image(&store);
    let truth = contents(&open_keep(store).unwrap(), "alice").unwrap();
    let nodes: Vec<_> = undamaged.keys().filter(|key| key.as_str().starts_with("n/")).collect();
    assert!(nodes.len() > 60, "{}", nodes.len());
    for key in &nodes {
        let mut damaged = undamaged.clone();
        let mut value = undamaged[*key].to_vec();
        let at = random.below(value.len());
        value[at] ^= 1 << random.below(8);
        damaged.insert((*key).clone(), value.into());
        let mut missing = undamaged.clone();
        missing.remove(*key);
        for (case, image) in [(format!("byte {at} of {key}"), &damaged), (format!("{key} deleted"), &missing)] {
            let keep = open_keep(restore(image)).unwrap();
            match contents(&keep, "alice") {
                Ok(found) => panic!("{case}: not noticed, the data are right: {}", found == truth),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{case}"),
            }
            let client = block_on(keep.open_client(b"alice")).unwrap();
            let found = block_on(client.verify(&mut |_| ())).unwrap();
            assert_eq!(found.problems.len(), 1, "{case}");
        }
    }
    println!("{} nodes damaged and deleted", nodes.len());
}

#[test]
fn every_truncation_and_every_longer_value_is_noticed() {
    let truth = Truth::new();
    for (key, value) in &truth.image {
        for len in 0..value.len() {
            let case = format!("{key} cut at {len}");
            let kind = truth.read(&case, &truth.with(key, Some(&value[..len])));
            assert!(matches!(kind, ErrorKind::Corrupt | ErrorKind::WrongKey), "{case}: {kind}");
        }
        for more in [1, 16, 100, 1 << 20] {
            let longer = [value, vec![0; more].as_slice()].concat();
            let case = format!("{key} with {more} more bytes");
            let kind = truth.use_it(&case, &truth.with(key, Some(&longer)));
            assert!(matches!(kind, ErrorKind::Corrupt | ErrorKind::WrongKey), "{case}: {kind}");
        }
    }
}

#[test]
fn every_value_in_the_place_of_every_other_is_noticed() {
    let truth = Truth::new();
    // Values that were deleted or replaced count too, and those of another client and of another keep.
    let mut values: Vec<Bytes> =
        truth.earlier.iter().chain([&truth.image]).flat_map(BTreeMap::values).cloned().collect();
    values.extend(Truth::new().image.into_values());
    let store = restore(&truth.image);
    let mut other = block_on(open(store.clone()).unwrap().client_builder("other").create()).unwrap();
    block_on(other.create_group("tea")).unwrap();
    values.extend(image(&store).into_values());
    values.sort();
    values.dedup();
    let mut cases = 0;
    for (key, value) in &truth.image {
        for (number, other) in values.iter().enumerate().filter(|(_, other)| *other != value) {
            let case = format!("{key} replaced by value {number}");
            let kind = truth.use_it(&case, &truth.with(key, Some(other)));
            match key.as_str() {
                // Another keep's header under the same master key opens, and that keep has no such client.
                HEADER => assert!(matches!(kind, ErrorKind::Corrupt | ErrorKind::NotFound), "{case}: {kind}"),
                _ => assert_eq!(kind, ErrorKind::Corrupt, "{case}"),
            }
            cases += 1;
        }
    }
    println!("{cases} replacements");
    assert!(cases >= 50, "too little was tried");
}

#[test]
fn every_deleted_value_is_noticed() {
    let truth = Truth::new();
    for key in truth.image.keys() {
        let case = format!("{key} deleted");
        let damaged = truth.with(key, None);
        let kind = truth.use_it(&case, &damaged);
        let expected = match key.as_str() {
            // It is not taken for an empty store.
            HEADER => ErrorKind::Invalid,
            _ if key == truth.root() => ErrorKind::NotFound,
            _ => ErrorKind::Corrupt,
        };
        assert_eq!(kind, expected, "{case}");
        // Who only opens what is there finds no keep; one without a client or a node still is one.
        let opened = open_keep(restore(&damaged)).err().map(|error| error.kind());
        assert_eq!(opened, (key.as_str() == HEADER).then_some(ErrorKind::NotFound), "{case}");
    }
}

#[test]
fn an_older_root_without_all_of_its_nodes_is_noticed() {
    let truth = Truth::new();
    let mut cases = 0;
    for (number, earlier) in truth.earlier.iter().enumerate() {
        let root = &earlier[truth.root()];
        let case = format!("the root of operation {number} alone");
        assert_eq!(truth.use_it(&case, &truth.with(truth.root(), Some(root))), ErrorKind::Corrupt, "{case}");
        // With all of its nodes but one.
        for missing in earlier.keys().filter(|key| key.as_str().starts_with("n/")) {
            let mut damaged = truth.image.clone();
            damaged.extend(earlier.clone());
            damaged.remove(missing);
            let case = format!("the store of operation {number} without {missing}");
            assert_eq!(truth.read(&case, &damaged), ErrorKind::Corrupt, "{case}");
            cases += 1;
        }
    }
    println!("{cases} older roots with a node missing");
    assert!(cases >= 10, "too little was tried");
}

/// Without an anchor nothing outside of the store knows how new it is: docs/guarantees.md says so.
#[test]
fn an_older_copy_of_the_whole_store_opens_as_what_it_was() {
    let truth = Truth::new();
    let earlier = truth.earlier.last().unwrap();
    let mut alice = load(&open(restore(earlier)).unwrap(), "alice").unwrap();
    let seen = observe(&mut alice).unwrap();
    assert_ne!(seen, truth.observation);
    let texts: Vec<_> = seen.groups.values().flat_map(|group| &group.history).map(|(_, text)| text.as_str()).collect();
    assert_eq!(texts, ["one", "two"]);
}

#[test]
fn random_bytes_are_no_keep() {
    let truth = Truth::new();
    let mut random = Random::from_environment();
    for _ in 0..200 {
        for key in [&Key::new(HEADER).unwrap(), truth.root()] {
            let len = random.below(3000);
            let kind = truth.use_it("random bytes", &truth.with(key, Some(&random.bytes(len))));
            assert_eq!(kind, ErrorKind::Corrupt);
        }
    }
}

#[test]
fn the_wrong_key_is_told_from_damage() {
    let open_with = |store: &MemoryBackend, encryption| {
        block_on(PersistenceManager::builder(store.clone()).encryption(encryption).open()).map(drop)
    };
    let kind = |store: &MemoryBackend, encryption| open_with(store, encryption).unwrap_err().kind();
    let key = || Encryption::hkdf_sha256(MasterKey::new(MASTER_KEY));
    let cheap = Argon2Params { memory_kib: 19 << 10, iterations: 2, parallelism: 1 };
    let words = |words: &str| Encryption::passphrase(words).argon2(cheap);

    let keyed = MemoryBackend::new();
    open_with(&keyed, key().salt("salt")).unwrap();
    let mut wrong = MASTER_KEY;
    wrong[31] ^= 1;
    assert_eq!(kind(&keyed, Encryption::hkdf_sha256(MasterKey::new(wrong)).salt("salt")), ErrorKind::WrongKey);
    assert_eq!(kind(&keyed, key()), ErrorKind::WrongKey);
    assert_eq!(kind(&keyed, key().salt("Salt")), ErrorKind::WrongKey);
    assert_eq!(kind(&keyed, words("words")), ErrorKind::WrongKey);
    open_with(&keyed, key().salt("salt")).unwrap();

    let spoken = MemoryBackend::new();
    open_with(&spoken, words("words")).unwrap();
    assert_eq!(kind(&spoken, words("Words")), ErrorKind::WrongKey);
    assert_eq!(kind(&spoken, words("words").salt("salt")), ErrorKind::WrongKey);
    assert_eq!(kind(&spoken, key()), ErrorKind::WrongKey);
    // The raw bytes of the passphrase are no master key either.
    assert_eq!(kind(&spoken, Encryption::hkdf_sha256(MasterKey::new([b'w'; 32]))), ErrorKind::WrongKey);
    open_with(&spoken, words("words")).unwrap();
}

#[test]
fn a_newer_store_is_refused_and_not_touched() {
    let truth = Truth::new();
    for (key, at) in [(Key::new(HEADER).unwrap(), 9), (truth.root().clone(), 9)] {
        for newer in [2, 3, 255] {
            let mut value = truth.image[&key].to_vec();
            value[at] = newer;
            let damaged = truth.with(&key, Some(&value));
            let store = restore(&damaged);
            let error = open(store.clone()).and_then(|manager| {
                assert_eq!(block_on(manager.clients()).unwrap_err().kind(), ErrorKind::UnsupportedVersion);
                assert_eq!(block_on(manager.delete_client("alice")).unwrap_err().kind(), ErrorKind::UnsupportedVersion);
                let created = block_on(manager.client_builder("alice").create());
                assert_eq!(created.unwrap_err().kind(), ErrorKind::UnsupportedVersion);
                load(&manager, "alice")
            });
            assert_eq!(error.unwrap_err().kind(), ErrorKind::UnsupportedVersion);
            assert_eq!(image(&store), damaged, "the store was changed");
        }
    }
}

#[test]
fn a_hostile_header_costs_nothing() {
    let begun = Instant::now();
    let max = u32::MAX;
    let hostile = [
        (max, max, max),
        (max, 1, 1),
        (1 << 20, 10, 1),
        (64 << 10, max, 4),
        (64 << 10, 3, max),
        (64 << 10, 0, 4),
        (64 << 10, 3, 0),
        (8, 1, 1),
        (0, 0, 0),
    ];
    for (memory, iterations, lanes) in hostile {
        let mut header = b"\x89MLSK\r\n\x1a\x00\x01\x02\x00".to_vec();
        header.extend([memory, iterations, lanes].into_iter().flat_map(u32::to_be_bytes));
        header.extend([7; 250]);
        let store = MemoryBackend::new();
        block_on(store.save(&Key::new(HEADER).unwrap(), header.into())).unwrap();
        let opening = PersistenceManager::builder(store).encryption(Encryption::passphrase("words")).open();
        assert_eq!(block_on(opening).unwrap_err().kind(), ErrorKind::Corrupt, "{memory} {iterations} {lanes}");
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "it took {:?}", begun.elapsed());
}
