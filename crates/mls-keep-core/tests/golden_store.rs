//! A store written by version 1 of the format opens, for ever (docs/format.md).
//!
//! `vectors/store.json` holds its keys and values in hex. `vectors/read_store.py` is an independent reader of the same file.

// A test fails by panicking.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use bytes::Bytes;
use common::{SeededEntropy, dump, encryption, keep_in};
use futures_executor::block_on;
use mls_keep_core::{Changes, ErrorKind, Keep, Key, MemoryBackend, RecordRange, ScopeId, StorageBackend, Value};
use serde_json::{Map, json};

const STORE: &str = include_str!("vectors/store.json");

fn parse() -> Vec<(Key, Bytes)> {
    let stored: Map<String, serde_json::Value> = serde_json::from_str(STORE).unwrap();
    let decode = |(key, value): (String, serde_json::Value)| {
        let value = data_encoding::HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap();
        (Key::new(&key).unwrap(), Bytes::from(value))
    };
    stored.into_iter().map(decode).collect()
}

async fn load(stored: Vec<(Key, Bytes)>) -> MemoryBackend {
    let backend = MemoryBackend::new();
    for (key, value) in stored {
        backend.save(&key, value).await.unwrap();
    }
    backend
}

/// Compressible and not, so that both kinds of frame occur.
fn long_value() -> Vec<u8> {
    use sha2::{Digest, Sha256};
    let random = (0..600_u32).flat_map(|at| Sha256::digest(at.to_be_bytes()));
    random.chain([b'm'; 40_000]).collect()
}

fn records() -> Vec<(ScopeId, Vec<u8>, Vec<u8>)> {
    let mut records = vec![
        (ScopeId::client(), b"\x01".to_vec(), b"the client".to_vec()),
        (ScopeId::group(b"tea").unwrap(), b"\x10".to_vec(), long_value()),
        (ScopeId::group(b"tea").unwrap(), b"\x80empty".to_vec(), Vec::new()),
    ];
    // Enough for inner nodes, in the scope and in the directory.
    for at in 0..120_u32 {
        let key = [&[0x30][..], &at.to_be_bytes()].concat();
        records.push((ScopeId::group(b"coffee").unwrap(), key, at.to_be_bytes().repeat(50)));
        records.push((ScopeId::group(&at.to_be_bytes()).unwrap(), b"\x02".to_vec(), vec![at as u8]));
    }
    records
}

/// Writes the store: once in each version of the format, by `MLS_KEEP_WRITE_GOLDEN=1`.
async fn write() -> MemoryBackend {
    let backend = MemoryBackend::new();
    let keep = keep_in(backend.clone(), 42).await;
    let mut client = keep.create_client(b"alice@example.com").await.unwrap();
    keep.create_client(b"bob").await.unwrap();
    let mut changes = Changes::new();
    for (scope, key, value) in records() {
        changes.scope(scope, None).put(key, Value::from(value), None).unwrap();
    }
    client.commit(&changes).await.unwrap();
    backend
}

#[test]
fn the_golden_store_opens() {
    block_on(async {
        if std::env::var_os("MLS_KEEP_WRITE_GOLDEN").is_some() {
            let stored = dump(&write().await).await;
            let hex = |value: &Bytes| json!(data_encoding::HEXLOWER.encode(value));
            let stored: Map<_, _> = stored.iter().map(|(key, value)| (key.to_string(), hex(value))).collect();
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/store.json");
            std::fs::write(path, serde_json::to_string_pretty(&stored).unwrap() + "\n").unwrap();
        }
        let keep = keep_in(load(parse()).await, 1).await;
        assert_eq!(keep.clients().await.unwrap(), [b"alice@example.com".to_vec(), b"bob".to_vec()]);
        let client = keep.open_client(b"alice@example.com").await.unwrap();
        assert_eq!(client.number(), 2);
        for (scope, key, value) in records() {
            let found = client.record(&scope, &key).await.unwrap();
            assert_eq!(found.as_ref().map(Value::as_slice), Some(value.as_slice()));
        }
        let coffee = client.records(&ScopeId::group(b"coffee").unwrap(), &RecordRange::all()).await.unwrap();
        assert_eq!(coffee.len(), 120);
        let found = client.verify(&mut |_| ()).await.unwrap();
        assert!(found.is_sound(), "{:?}", found.problems);
    });
}

#[test]
fn the_same_random_bytes_write_the_same_store() {
    let written = block_on(async { dump(&write().await).await });
    assert_eq!(written, parse(), "the writer changed: bump the version of what changed, and keep the old golden store");
}

#[test]
fn a_newer_format_is_refused_and_not_touched() {
    block_on(async {
        for (key, offset) in [("header", 9), ("r/", 9)] {
            let mut stored = parse();
            let newer = stored.iter_mut().find(|(name, _)| name.as_str().starts_with(key)).unwrap();
            let mut bytes = newer.1.to_vec();
            bytes[offset] = 2;
            newer.1 = bytes.into();
            let backend = load(stored.clone()).await;
            let opened = async {
                let backend = Arc::new(backend.clone());
                let keep = Keep::open_or_create(backend, &encryption(), Arc::new(SeededEntropy::new(1))).await?;
                keep.clients().await
            };
            assert_eq!(opened.await.unwrap_err().kind(), ErrorKind::UnsupportedVersion, "{key}");
            stored.sort();
            assert_eq!(dump(&backend).await, stored);
        }
    });
}
