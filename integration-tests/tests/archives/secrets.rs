//! What a backup without the secrets of groups holds: every secret of the live client is looked for in it.

use std::collections::HashSet;

use integration_tests::needles::runs;
use integration_tests::store::contents;
use integration_tests::wait::block_on;
use integration_tests::world::{World, keep};
use mls_keep::{BackupOptions, Change};

use super::{key, opened};

/// Names of fields in records of secrets that hold no secret: what everybody in the group knows, or sees.
const PUBLIC: [&str; 12] = [
    "serialized_context",
    "leaves",
    "group_context",
    "public_key",
    "credential",
    "signature_key",
    "public",
    "key_package",
    "own_index",
    "size",
    "epoch",
    "group_epoch",
];

/// Every byte string of a record of OpenMLS, but those in public fields.
fn secrets(record: &[u8], found: &mut Vec<Vec<u8>>) {
    // A codec and the version of OpenMLS's storage stand before it.
    let mut rest = &record[3..];
    while !rest.is_empty() {
        walk(&mut rest, false, found);
    }
}

/// Walks a value of MessagePack.
fn walk(rest: &mut &[u8], is_public: bool, found: &mut Vec<Vec<u8>>) {
    let marker = take(rest, 1)[0];
    let mut number = |len: usize| take(rest, len).iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
    let (bytes, items, fields) = match marker {
        0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => (0, 0, 0),
        0x80..=0x8f => (0, 0, usize::from(marker & 0x0f)),
        0x90..=0x9f => (0, usize::from(marker & 0x0f), 0),
        0xa0..=0xbf => (usize::from(marker & 0x1f), 0, 0),
        0xc4..=0xc6 => (number(1 << (marker - 0xc4)), 0, 0),
        0xcc..=0xcf => (1 << (marker - 0xcc), 0, 0),
        0xd0..=0xd3 => (1 << (marker - 0xd0), 0, 0),
        0xd9..=0xdb => (number(1 << (marker - 0xd9)), 0, 0),
        0xdc | 0xdd => (0, number(2 << (marker - 0xdc)), 0),
        0xde | 0xdf => (0, 0, number(2 << (marker - 0xde))),
        other => panic!("MessagePack of type {other:02x}"),
    };
    let bytes = take(rest, bytes);
    if (0xc4..=0xc6).contains(&marker) && bytes.len() >= 16 && !is_public {
        found.push(bytes.to_vec());
    }
    (0..items).for_each(|_| walk(rest, is_public, found));
    for _ in 0..fields {
        let before = *rest;
        walk(rest, true, found);
        let name = &before[..before.len() - rest.len()];
        let named_public = PUBLIC.iter().any(|public| name.ends_with(public.as_bytes()));
        walk(rest, is_public || named_public, found);
    }
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> &'a [u8] {
    let (taken, left) = rest.split_at(len);
    *rest = left;
    taken
}

#[test]
fn a_backup_without_the_secrets_of_groups_has_none_of_them() {
    /// Records in which OpenMLS keeps what nobody else may know.
    const SECRET: [u8; 8] = [0x10, 0x11, 0x15, 0x17, 0x1c, 0x1d, 0x29, 0x2a];
    let World { mut alice, mut bob, group, manager, .. } = block_on(World::new());
    block_on(async {
        alice.key_packages(2, Default::default()).await.unwrap();
        for _ in 0..2 {
            let message = bob.send(&group, "hello").await.unwrap().to_bytes().unwrap();
            alice.receive(&message).await.unwrap();
            alice.send(&group, "hello").await.unwrap();
            let commit = alice.commit_at_once(&group, Change::new().update()).await.unwrap().commit;
            bob.receive(&commit).await.unwrap();
        }
        alice.stage(&group, Change::new().update()).await.unwrap();
        alice.transact(&group, |tx| Ok(tx.records.put("application", "record")?)).await.unwrap();
    });
    let live = contents(manager.keep(), "alice").unwrap();
    let mut needles = Vec::new();
    for (key, value) in live.values().flatten().filter(|(key, _)| SECRET.contains(&key[0])) {
        let before = needles.len();
        secrets(value, &mut needles);
        assert!(key[0] == 0x11 || needles.len() > before, "no secret was found in a record of kind {:02x}", key[0]);
    }
    println!("{} secrets are looked for", needles.len());
    assert!(needles.len() > 40);
    for (label, len) in [("one", 32), ("two", 64)] {
        needles.push(block_on(alice.export_secret(&group, label, b"", len)).unwrap().to_vec());
    }

    let decrypted = |options: BackupOptions<'_>| {
        let mut archive = Vec::new();
        block_on(manager.create_backup_of("alice", &mut archive, options)).unwrap();
        let (_, elsewhere) = keep();
        // As it stands in the archive: nothing is left out of it on the way.
        let everything = mls_keep_core::RestorePlan::new(&|_, _, _| true);
        let mut archives = [block_on(opened(&archive)).unwrap()];
        block_on(elsewhere.keep().restore_client(&mut archives, &everything, &mut |_| ())).unwrap();
        let records = contents(elsewhere.keep(), "alice").unwrap();
        let bytes: Vec<Vec<u8>> = records.values().flatten().map(|(key, value)| [&key[..], value].concat()).collect();
        bytes
    };
    let has = |records: &[Vec<u8>], needle: &[u8]| {
        records.iter().any(|record| record.windows(needle.len()).any(|window| window == needle))
    };
    let without = decrypted(BackupOptions::new(key()).without_group_secrets());
    assert!(has(&without, b"application") && has(&without, b"hello"), "the history and the application's records");
    let mut runs_of_it = HashSet::new();
    without.iter().for_each(|record| runs_of_it.extend(runs(record)));
    for needle in &needles {
        let mut windows = needle.windows(16);
        assert!(
            !windows.any(|window| runs_of_it.contains(window)),
            "a secret of {} bytes is in the backup",
            needle.len()
        );
    }
    // The control: a whole backup has them.
    let whole = decrypted(BackupOptions::new(key()));
    let there = needles.iter().filter(|needle| has(&whole, needle)).count();
    assert!(there >= needles.len() - 2, "{there} of {} are in a whole backup", needles.len());
}
