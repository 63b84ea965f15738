//! Fuzz targets of what stands alone, and the store that the targets of this crate begin with.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_executor::block_on;
use fuzzing::Target;
use sha2::{Digest, Sha256};

use crate::envelope::{self, Encryption, OpenError};
use crate::secret_vec::SecretVec;
use crate::{
    Changes, Commit, Entropy, ErrorKind, Keep, Key, MasterKey, MemoryBackend, Result, ScopeId, StorageBackend, Swap,
    Value, copy_store,
};

/// SHA-256 of a counter: the same store in every run.
#[derive(Default)]
pub(crate) struct Counted(AtomicU64);

impl Entropy for Counted {
    fn fill(&self, out: &mut [u8]) -> Result<()> {
        for part in out.chunks_mut(32) {
            let block = Sha256::digest(self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes());
            part.copy_from_slice(&block[..part.len()]);
        }
        Ok(())
    }
}

pub(crate) fn encryption() -> Encryption {
    Encryption::hkdf_sha256(MasterKey::new([7; 32])).salt(b"salt")
}

pub(crate) const IDENTITY: &[u8] = b"alice@example.com";

/// Every kind of node is in it: leaves and inner nodes of scopes and of the directory, index nodes, chunks.
pub(crate) fn store() -> MemoryBackend {
    let backend = MemoryBackend::new();
    block_on(async {
        let keep = Keep::create(Arc::new(backend.clone()), &encryption(), Arc::new(Counted::default())).await?;
        keep.create_client(b"bob").await?;
        let mut client = keep.create_client(IDENTITY).await?;
        let mut changes = Changes::new();
        let long: Vec<u8> = (0..20_000_u32).flat_map(|at| Sha256::digest(at.to_be_bytes())).collect();
        let tea = changes.scope(ScopeId::group(b"tea")?, None);
        tea.put(b"\x10".to_vec(), Value::from(long), None)?;
        tea.put(b"\x11".to_vec(), Value::from(vec![b'm'; 9_000]), None)?;
        tea.put(b"\x80empty".to_vec(), Value::from(Vec::new()), None)?;
        let coffee = changes.scope(ScopeId::group(b"coffee")?, None);
        for at in 0..100_u32 {
            coffee.put(at.to_be_bytes().to_vec(), Value::from(at.to_be_bytes().repeat(50)), None)?;
        }
        for at in 0..150_u32 {
            let group = changes.scope(ScopeId::group(&[&[b'g'; 60][..], &at.to_be_bytes()].concat())?, None);
            group.put(b"\x02".to_vec(), Value::from(vec![at as u8]), None)?;
        }
        client.commit(&changes).await?;
        Ok::<_, crate::Error>(())
    })
    .unwrap();
    backend
}

/// Everything that is stored.
pub(crate) fn dump(backend: &MemoryBackend) -> BTreeMap<Key, Bytes> {
    block_on(async {
        let keys = backend.list("").await.unwrap();
        let values = backend.load_many(&keys).await.unwrap();
        keys.into_iter().zip(values).filter_map(|(key, value)| Some((key, value?))).collect()
    })
}

#[test]
fn envelope() {
    const KEY: [u8; 32] = [9; 32];
    let seal = |len: usize| envelope::seal(&KEY, b"context", &vec![b'x'; len], &Counted::default()).unwrap();
    let seeds: Vec<_> = [0, 100, 20_000].map(seal).into();
    let genuine = seeds.clone();
    Target::new(env!("CARGO_PKG_NAME"), "envelope").seeds(seeds).run(|input| {
        match envelope::open(&KEY, b"context", input) {
            Ok(plaintext) => {
                assert!(genuine.iter().any(|sealed| sealed == input), "{} forged bytes open", plaintext.len());
            }
            Err(OpenError::Length | OpenError::Commitment | OpenError::Tag) => {}
        }
    });
}

#[test]
fn node_body() {
    let pointer = [3; 32];
    let genuine = envelope::seal_node(&pointer, SecretVec::new(vec![b'x'; 256])).unwrap();
    let seeds = [genuine.clone(), vec![0; 15], vec![0; 16]];
    Target::new(env!("CARGO_PKG_NAME"), "node_body").seeds(seeds).run(|input| {
        assert_eq!(envelope::open_node(&pointer, input).is_ok(), input == genuine);
    });
}

#[test]
fn key() {
    let seeds = ["n/7d3k/0a1b2c", "a/../b", "header", "r/x", ".", "a//b"].map(|name| name.as_bytes().to_vec());
    Target::new(env!("CARGO_PKG_NAME"), "key").seeds(seeds).run(|input| {
        let Ok(name) = std::str::from_utf8(input) else { return };
        let Ok(key) = Key::new(name) else { return };
        assert_eq!(key.as_str(), name);
        assert!(!name.split('/').any(|segment| segment.is_empty() || segment.starts_with("..") && segment.len() == 2));
        assert!(!name.starts_with('/') && !name.contains('\\') && name.len() <= crate::limits::MAX_KEY_LEN);
    });
}

#[test]
fn node_name() {
    let seeds = [crate::text::encode(&[0x5a; 20]), String::new(), "0".repeat(32)].map(String::into_bytes);
    Target::new(env!("CARGO_PKG_NAME"), "node_name").seeds(seeds).run(|input| {
        let Ok(name) = std::str::from_utf8(input) else { return };
        // One name for one node: another spelling of it would be another key of the backend. Keys have no capitals.
        if let (Ok(_), Some(decoded)) = (Key::new(name), crate::text::decode::<20>(name)) {
            assert_eq!(crate::text::encode(&decoded), name);
        }
    });
}

#[test]
fn master_key() {
    let text = MasterKey::new([0x5a; 32]).to_text();
    let seeds = [text.as_bytes().to_vec(), text.to_uppercase().into_bytes(), format!(" {}\r\n", *text).into_bytes()];
    let mistyped = text.replace(&text[60..], &"0".repeat(text.len() - 60));
    let refusals = ["", &text[..60], &mistyped].map(|text| MasterKey::from_text(text).unwrap_err().to_string());
    Target::new(env!("CARGO_PKG_NAME"), "master_key").seeds(seeds).run(|input| {
        // The checksum is made right for some inputs, since hardly any would have it by chance.
        let sealed = (input.len() == 32).then(|| MasterKey::from_slice(input).unwrap().to_text());
        let text = sealed.as_ref().map_or_else(|| String::from_utf8_lossy(input).into_owned(), |text| text.to_string());
        match MasterKey::from_text(&text) {
            Ok(key) => {
                assert!(key.to_text().eq_ignore_ascii_case(text.trim()) || !text.trim().is_ascii());
                assert_eq!(MasterKey::from_text(&key.to_text()).unwrap().expose(), key.expose());
            }
            Err(error) => {
                assert!(refusals.contains(&error.to_string()), "an error says something of the input: {error}");
                assert_eq!(error.kind(), ErrorKind::Invalid);
            }
        }
        assert!(sealed.is_none() || MasterKey::from_text(&text).is_ok());
    });
}

/// A source that somebody else has made: any keys, any values.
#[test]
fn copy() {
    let whole = dump(&store());
    let few: Vec<_> =
        whole.iter().filter(|(key, value)| !key.as_str().starts_with("n/") || value.len() < 400).take(8).collect();
    let field = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes(), bytes].concat();
    let pair = |(key, value): &(&Key, &Bytes)| [field(key.as_str().as_bytes()), field(value)].concat();
    let seeds = [few.iter().flat_map(pair).collect(), Vec::new()];
    Target::new(env!("CARGO_PKG_NAME"), "copy").seeds(seeds).run(|input| {
        let (source, target) = (MemoryBackend::new(), MemoryBackend::new());
        fill(&source, input);
        match block_on(copy_store(&source, &target, &mut |_| ())) {
            Ok(copied) => {
                assert_eq!(dump(&source), dump(&target));
                assert_eq!(copied.values, dump(&source).len());
                refuses_another_state(&source, &target);
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
                assert!(dump(&source).keys().all(|key| key.as_str().starts_with("n/")));
            }
        }
    });
}

/// Saves the pairs of `input` that have a key, each field behind its length of 16 bits.
fn fill(backend: &MemoryBackend, input: &[u8]) {
    let mut fields = crate::map::fuzz::split_off(input);
    while let (Some(key), Some(value)) = (fields.next(), fields.next()) {
        if let Some(key) = std::str::from_utf8(key).ok().and_then(|key| Key::new(key).ok()) {
            block_on(backend.save(&key, Bytes::copy_from_slice(value))).unwrap();
        }
    }
}

fn refuses_another_state(source: &MemoryBackend, target: &MemoryBackend) {
    let key = Key::new("r/other").unwrap();
    let swap = Swap { key, expected: None, replacement: Some(Bytes::from_static(b"other")) };
    if block_on(target.commit(Commit { puts: Vec::new(), swap, deletes: Vec::new() })).is_ok() {
        let before = dump(target);
        let refused = block_on(copy_store(source, target, &mut |_| ())).map_err(|error| error.kind());
        assert_eq!((refused, dump(target)), (Err(ErrorKind::Conflict), before));
    }
}
