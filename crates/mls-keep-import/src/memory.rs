//! The JSON file of `openmls_memory_storage`: a map of keys to values, both in base64.
//!
//! A key is a label, the encoded key of OpenMLS, and the storage version (2 bytes); values are JSON.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use data_encoding::BASE64;
use mls_keep::import::{Encoding, GroupValue, StoredGroup, StoredState};
use mls_keep::{Error, ErrorKind, Result, SecretBytes};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::{MAX_LEN, io_error, too_large};

/// The storage version of OpenMLS, as it ends each key.
const VERSION: [u8; 2] = [0, 1];

/// What is stored, by its keys without their version.
type Entries = BTreeMap<SecretBytes, SecretBytes>;

#[derive(Deserialize)]
struct Stored {
    values: BTreeMap<String, Zeroizing<String>>,
}

/// The part of a `GroupContext` that is looked at.
#[derive(Deserialize)]
struct Context {
    epoch: u64,
}

/// Labels of values that a group has one of.
const VALUES: [(&str, GroupValue); 11] = [
    ("MlsGroupJoinConfig", GroupValue::JoinConfig),
    ("Tree", GroupValue::Tree),
    ("InterimTranscriptHash", GroupValue::InterimTranscriptHash),
    ("GroupContext", GroupValue::Context),
    ("ConfirmationTag", GroupValue::ConfirmationTag),
    ("GroupState", GroupValue::State),
    ("MessageSecrets", GroupValue::MessageSecrets),
    ("ResumptionPsk", GroupValue::ResumptionPskStore),
    ("OwnLeafNodeIndex", GroupValue::OwnLeafIndex),
    ("EpochSecrets", GroupValue::EpochSecrets),
    ("ApplicationExportTree", GroupValue::ApplicationExportTree),
];

pub(crate) fn read(path: &Path) -> Result<StoredState> {
    let damaged = || {
        let text = format!("{} is not as openmls_memory_storage writes it", path.display());
        Error::new(ErrorKind::Corrupt, text)
    };
    let mut text = Zeroizing::new(Vec::new());
    let mut file = File::open(path).map_err(|source| io_error(path, source))?.take(MAX_LEN + 1);
    file.read_to_end(&mut text).map_err(|source| io_error(path, source))?;
    if text.len() as u64 > MAX_LEN {
        return Err(too_large(path));
    }
    // Without its source: what it says can quote the file.
    let stored: Stored = serde_json::from_slice(&text).map_err(|_| damaged())?;
    let mut entries = Entries::new();
    for (key, value) in &stored.values {
        let key = BASE64.decode(key.as_bytes()).map_err(|_| damaged())?;
        let value = BASE64.decode(value.as_bytes()).map_err(|_| damaged())?;
        // Of another version nothing is known.
        if let Some(key) = key.strip_suffix(&VERSION) {
            entries.insert(key.into(), value.into());
        }
    }
    assemble(&entries).ok_or_else(damaged)
}

fn assemble(entries: &Entries) -> Option<StoredState> {
    let mut state = StoredState { encoding: Encoding::Json, ..StoredState::default() };
    let mut groups = BTreeMap::<SecretBytes, StoredGroup>::new();
    for (key, value) in entries {
        for (label, kind) in VALUES {
            if let Some(id) = key.strip_prefix(label.as_bytes()).filter(|id| is_map(id)) {
                group(&mut groups, id).values.insert(kind, value.clone());
            }
        }
        if let Some(id) = key.strip_prefix(b"OwnLeafNodes".as_slice()).filter(|id| is_map(id)) {
            group(&mut groups, id).own_leaf_nodes = list(value)?;
        } else if let Some(id) = key.strip_prefix(b"ProposalQueueRefs".as_slice()) {
            group(&mut groups, id).proposals = proposals(entries, id, &list(value)?);
        } else if key.starts_with(b"KeyPackage") {
            state.key_packages.push(value.clone());
        } else if key.starts_with(b"SignatureKeyPair") {
            state.signature_keys.push(value.clone());
        } else if let Some(id) = key.strip_prefix(b"Psk".as_slice()) {
            state.psks.push((id.into(), value.clone()));
        } else if let Some(public) = key.strip_prefix(b"EncryptionKeyPair".as_slice()) {
            state.encryption_keys.push((public.into(), value.clone()));
        }
    }
    // What OpenMLS has left of a group that it deleted is no group.
    groups.retain(|_, group| !group.values.is_empty());
    for group in groups.values_mut() {
        group.epoch_key_pairs.extend(key_pairs(entries, group));
    }
    state.groups = groups.into_values().collect();
    Some(state)
}

/// The queued proposals of a group in order: a proposal is stored under the pair of the group id and its reference.
fn proposals(entries: &Entries, id: &[u8], references: &[SecretBytes]) -> Vec<SecretBytes> {
    let key = |reference: &SecretBytes| SecretBytes::concat(&[b"QueuedProposal[", id, b",", reference, b"]"]);
    references.iter().filter_map(|reference| entries.get(&key(reference)).cloned()).collect()
}

/// A list of encoded values, each as a list of its bytes.
fn list(value: &[u8]) -> Option<Vec<SecretBytes>> {
    let list: Vec<Zeroizing<Vec<u8>>> = serde_json::from_slice(value).ok()?;
    Some(list.into_iter().map(SecretBytes::from).collect())
}

/// The key pairs of a group's epoch. Where the epoch ends and the leaf index begins does not show in their key.
fn key_pairs(entries: &Entries, group: &StoredGroup) -> Option<(SecretBytes, u32, SecretBytes)> {
    let context: Context = serde_json::from_slice(group.values.get(&GroupValue::Context)?).ok()?;
    let leaf: u32 = serde_json::from_slice(group.values.get(&GroupValue::OwnLeafIndex)?).ok()?;
    let epoch = SecretBytes::from(context.epoch.to_string().into_bytes());
    let key = SecretBytes::concat(&[b"EpochKeyPairs", &group.id, &epoch, leaf.to_string().as_bytes()]);
    Some((epoch, leaf, entries.get(&key)?.clone()))
}

fn is_map(id: &[u8]) -> bool {
    id.first() == Some(&b'{')
}

fn group<'g>(groups: &'g mut BTreeMap<SecretBytes, StoredGroup>, id: &[u8]) -> &'g mut StoredGroup {
    groups.entry(id.into()).or_insert_with(|| StoredGroup { id: id.into(), ..StoredGroup::default() })
}
