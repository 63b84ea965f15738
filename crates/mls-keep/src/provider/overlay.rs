//! The records that a transaction sees: what was loaded, under what it changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mls_keep_core::{Error, ErrorKind, Result, SecretBytes, Value, limits};
use openmls::group::GroupId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::{GroupChanges, RecordChanges, Records, TransactionChanges, Urgency};
use crate::records::{self, Kind, OF_MLS_GROUP, codec, is_loaded};
use crate::scope::Scope;

/// All scopes of a transaction.
pub(super) struct Overlay {
    pub(super) client: ScopeRecords,
    groups: BTreeMap<SecretBytes, GroupRecords>,
    /// The last group id that OpenMLS gave, encoded and raw: it gives the same one over and over.
    last_group: (Zeroizing<Vec<u8>>, SecretBytes),
    /// Key pairs that were written in this transaction and that no own leaf node named so far.
    unattributed: Vec<KeyPairName>,
    pub(super) urgency: Urgency,
}

/// One scope.
#[derive(Default)]
pub(super) struct ScopeRecords {
    loaded: Arc<Records>,
    changes: RecordChanges,
}

/// The scope of one group.
#[derive(Default)]
pub(super) struct GroupRecords {
    pub(super) records: ScopeRecords,
    /// The transaction was given this scope's records. If not, it takes the scope to be absent.
    named: bool,
    /// There is or was a group here, be it at the beginning or in between.
    existed: bool,
    /// OpenMLS made an `MlsGroup` of it.
    loaded: bool,
    /// It was entered anew.
    unmarked: bool,
    /// Where OpenMLS last wrote the key pairs of an epoch.
    epoch_key_pairs: Option<SecretBytes>,
}

struct KeyPairName {
    /// The public key as it stands in an encoded leaf node.
    public_key: Zeroizing<Vec<u8>>,
    record: SecretBytes,
}

impl Overlay {
    pub(super) fn new(client: Arc<Records>, groups: BTreeMap<SecretBytes, Arc<Records>>) -> Self {
        let groups = groups.into_iter().map(|(id, loaded)| (id, GroupRecords::named(loaded))).collect();
        Self {
            client: ScopeRecords { loaded: client, changes: RecordChanges::new() },
            groups,
            last_group: Default::default(),
            unattributed: Vec::new(),
            urgency: Urgency::default(),
        }
    }

    /// The scope of the group with the id that OpenMLS gives.
    pub(super) fn group(&mut self, id: &impl Serialize) -> Result<&mut GroupRecords> {
        let encoded = codec::encode_key(id)?;
        if self.last_group.0 != encoded {
            let raw = decode_group_id(&encoded)?;
            self.last_group = (encoded, raw);
        }
        Ok(self.groups.entry(self.last_group.1.clone()).or_default())
    }

    pub(super) fn scope(&mut self, scope: &Scope) -> &mut ScopeRecords {
        match scope {
            Scope::Client => &mut self.client,
            Scope::Group(id) => &mut self.groups.entry(id.as_slice().into()).or_default().records,
        }
    }

    pub(super) fn unmark(&mut self, group: &GroupId) {
        self.groups.entry(group.as_slice().into()).or_default().unmarked = true;
    }

    /// Appends an own leaf node. The key pair that it names belongs to this group from here on.
    pub(super) fn append_own_leaf_node(&mut self, group: &impl Serialize, leaf: Value) -> Result<()> {
        let (named, others) =
            std::mem::take(&mut self.unattributed).into_iter().partition(|pair| pair.is_named_by(&leaf));
        self.unattributed = others;
        let records = &mut self.group(group)?.records;
        records.append(Kind::OwnLeafNode, leaf)?;
        let id = self.last_group.1.clone();
        self.attribute(named, &id);
        Ok(())
    }

    /// Keeps a key pair with the group that it belongs to, or with the client until that is known.
    pub(super) fn put_key_pair(&mut self, public_key: Zeroizing<Vec<u8>>, pair: Value) {
        let name = KeyPairName { record: Kind::EncryptionKeyPair.by_encoded(&public_key), public_key };
        match self.groups.values_mut().find(|group| group.owns_key_pair(&name)) {
            Some(group) => group.records.put(name.record, pair),
            None => {
                self.client.put(name.record.clone(), pair);
                self.unattributed.push(name);
            }
        }
    }

    pub(super) fn key_pair(&self, record: &[u8]) -> Option<&Value> {
        let mut groups = self.groups.values();
        self.client.get(record).or_else(|| groups.find_map(|group| group.records.get(record)))
    }

    pub(super) fn delete_key_pair(&mut self, record: &[u8]) {
        self.unattributed.retain(|pair| *pair.record != *record);
        self.client.delete(record);
        for group in self.groups.values_mut() {
            group.records.delete(record);
        }
    }

    /// Reads the record that only [`MlsGroup::load`](openmls::group::MlsGroup::load) asks for.
    pub(super) fn load_group<T: DeserializeOwned>(&mut self, id: &impl Serialize) -> Result<Option<T>> {
        let state = self.read_group(id, Kind::GroupState)?;
        self.group(id)?.loaded |= state.is_some();
        Ok(state)
    }

    /// The groups of which OpenMLS made an `MlsGroup`.
    pub(super) fn loaded_groups(&self) -> impl Iterator<Item = &SecretBytes> {
        self.groups.iter().filter(|(_, group)| group.loaded).map(|(id, _)| id)
    }

    /// Whether the records are as they were loaded.
    pub(super) fn is_unchanged(&self) -> bool {
        self.client.changes.is_empty() && self.groups.values().all(|group| group.records.changes.is_empty())
    }

    /// Collects what dangles, and says what changed.
    pub(super) fn into_changes(mut self) -> TransactionChanges {
        self.attribute_the_rest();
        let mut changes = TransactionChanges {
            client: self.client.into_changes(),
            groups: BTreeMap::new(),
            taken_as_absent: BTreeSet::new(),
            urgency: self.urgency,
        };
        for (id, mut group) in self.groups {
            group.collect();
            if !group.named {
                changes.taken_as_absent.insert(id.clone());
            }
            let group = group.into_changes();
            if !group.records.is_empty() || group.deleted || group.unmarked {
                changes.groups.insert(id, group);
            }
        }
        changes
    }

    /// A key pair that is left over comes from an update that failed half-way and whose error was swallowed. No own
    /// leaf node names it, so OpenMLS will never read it. Where only one group can have written it, it is collected
    /// with that group's others; else it stays with the client.
    fn attribute_the_rest(&mut self) {
        let mut candidates = self.groups.iter().filter(|(_, group)| group.existed);
        if let (Some((id, _)), None) = (candidates.next(), candidates.next()) {
            let (id, rest) = (id.clone(), std::mem::take(&mut self.unattributed));
            self.attribute(rest, &id);
        }
    }

    fn attribute(&mut self, pairs: Vec<KeyPairName>, group: &[u8]) {
        let Some(group) = self.groups.get_mut(group) else { return };
        for pair in pairs {
            if let Some(value) = self.client.get(&pair.record).cloned() {
                self.client.delete(&pair.record);
                group.records.put(pair.record, value);
            }
        }
    }
}

/// What the many methods of OpenMLS's trait have in common. A value is encoded under the lock, so that the length of
/// the one that it replaces is at hand.
impl Overlay {
    pub(super) fn write_group(&mut self, id: &impl Serialize, kind: Kind, value: &impl Serialize) -> Result<()> {
        let group = self.group(id)?;
        let expected = group.records.len_of(&kind.only());
        group.put(kind, codec::encode(kind, value, expected)?);
        Ok(())
    }

    pub(super) fn read_group<T: DeserializeOwned>(&mut self, id: &impl Serialize, kind: Kind) -> Result<Option<T>> {
        self.group(id)?.records.read(&kind.only(), kind)
    }

    pub(super) fn delete_group(&mut self, id: &impl Serialize, kind: Kind) -> Result<()> {
        self.group(id)?.records.delete(&kind.only());
        Ok(())
    }

    pub(super) fn write_client(&mut self, key: &impl Serialize, kind: Kind, value: &impl Serialize) -> Result<()> {
        let key = kind.by_encoded(&codec::encode_key(key)?);
        let value = codec::encode(kind, value, self.client.len_of(&key))?;
        self.client.put(key, value);
        Ok(())
    }

    pub(super) fn read_client<T: DeserializeOwned>(&self, key: &impl Serialize, kind: Kind) -> Result<Option<T>> {
        self.client.read(&kind.by_encoded(&codec::encode_key(key)?), kind)
    }

    pub(super) fn delete_client(&mut self, key: &impl Serialize, kind: Kind) -> Result<()> {
        self.client.delete(&kind.by_encoded(&codec::encode_key(key)?));
        Ok(())
    }

    /// The records of a list of a group, in order, each made into an item.
    pub(super) fn read_list<T>(
        &mut self,
        id: &impl Serialize,
        kind: Kind,
        item: impl Fn(Kind, &Value) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.group(id)?.records.all(kind).values().map(|value| item(kind, value)).collect()
    }

    pub(super) fn queue_proposal(
        &mut self,
        group: &impl Serialize,
        reference: &impl Serialize,
        proposal: &impl Serialize,
    ) -> Result<()> {
        let value = codec::encode(Kind::QueuedProposal, &(reference, proposal), 0)?;
        let records = &mut self.group(group)?.records;
        match records.find(Kind::QueuedProposal, reference)? {
            Some(key) => records.put(key, value),
            None => records.append(Kind::QueuedProposal, value)?,
        }
        Ok(())
    }

    pub(super) fn remove_proposal(&mut self, group: &impl Serialize, reference: &impl Serialize) -> Result<()> {
        let records = &mut self.group(group)?.records;
        if let Some(key) = records.find(Kind::QueuedProposal, reference)? {
            records.delete(&key);
        }
        Ok(())
    }
}

impl ScopeRecords {
    pub(super) fn get(&self, key: &[u8]) -> Option<&Value> {
        match self.changes.get(key) {
            Some(change) => change.as_ref(),
            None => self.loaded.get(key),
        }
    }

    /// What was written in this transaction.
    pub(super) fn written(&self, key: &[u8]) -> Option<&Option<Value>> {
        self.changes.get(key)
    }

    pub(super) fn read<T: DeserializeOwned>(&self, key: &[u8], kind: Kind) -> Result<Option<T>> {
        self.get(key).map(|value| codec::decode(kind, value)).transpose()
    }

    /// How long the value is that a new one would replace, bytes.
    pub(super) fn len_of(&self, key: &[u8]) -> usize {
        self.get(key).map_or(0, |value| value.as_slice().len())
    }

    pub(super) fn put(&mut self, key: SecretBytes, value: Value) {
        self.changes.insert(key, Some(value));
    }

    pub(super) fn delete(&mut self, key: &[u8]) {
        if self.loaded.contains_key(key) {
            self.changes.insert(key.into(), None);
        } else {
            self.changes.remove(key);
        }
    }

    /// Removes a record that need not be loaded.
    pub(super) fn remove(&mut self, key: SecretBytes) {
        self.changes.insert(key, None);
    }

    /// All records of a kind, in order.
    pub(super) fn all(&self, kind: Kind) -> BTreeMap<&[u8], &Value> {
        self.between(kind as u8, kind as u8)
    }

    pub(super) fn delete_all(&mut self, kind: Kind) {
        self.delete_between(kind as u8, kind as u8, None);
    }

    /// Adds an item behind the last one of its list.
    pub(super) fn append(&mut self, kind: Kind, value: Value) -> Result<()> {
        let position = match self.all(kind).last_key_value() {
            None => 0,
            Some((last, _)) => records::position(last)
                .ok_or_else(|| Error::new(ErrorKind::Corrupt, format!("the key of a {kind:?} record is malformed")))?
                .checked_add(1)
                .ok_or_else(|| Error::new(ErrorKind::Invalid, format!("too many {kind:?} records")))?,
        };
        self.put(kind.item(position), value);
        Ok(())
    }

    /// The key of the first record of a kind whose pair begins with this.
    pub(super) fn find(&self, kind: Kind, first: &impl Serialize) -> Result<Option<SecretBytes>> {
        let first = codec::encode_key(first)?;
        for (key, value) in self.all(kind) {
            if codec::first_is(kind, value, &first)? {
                return Ok(Some(key.into()));
            }
        }
        Ok(None)
    }

    fn between(&self, first: u8, last: u8) -> BTreeMap<&[u8], &Value> {
        let (first, after) = ([first], [last.saturating_add(1)]);
        let range = records::range(&first, &after);
        let loaded = self.loaded.range::<[u8], _>(range);
        let mut records: BTreeMap<&[u8], &Value> = loaded.map(|(key, value)| (key.as_slice(), value)).collect();
        for (key, change) in self.changes.range::<[u8], _>(range) {
            match change {
                Some(value) => records.insert(key, value),
                None => records.remove(key.as_slice()),
            };
        }
        records
    }

    pub(super) fn delete_between(&mut self, first: u8, last: u8, spared: Option<&[u8]>) {
        let keys: Vec<SecretBytes> = self.between(first, last).into_keys().map(SecretBytes::from).collect();
        for key in keys.into_iter().filter(|key| spared != Some(key)) {
            self.delete(&key);
        }
    }

    /// What changed, without what was written as it had been.
    fn into_changes(self) -> RecordChanges {
        let Self { loaded, mut changes } = self;
        // Of a record that is not loaded with its scope, nobody here knows what it was.
        changes.retain(|key, change| !is_loaded(key) || loaded.get(key) != change.as_ref());
        changes
    }
}

impl GroupRecords {
    fn named(loaded: Arc<Records>) -> Self {
        let records = ScopeRecords { loaded, changes: RecordChanges::new() };
        let mut group = Self { records, named: true, ..Self::default() };
        group.existed = group.exists();
        group
    }

    pub(super) fn put(&mut self, kind: Kind, value: Value) {
        self.existed |= matches!(kind, Kind::GroupState | Kind::GroupContext);
        self.records.put(kind.only(), value);
    }

    pub(super) fn put_epoch_key_pairs(&mut self, key: SecretBytes, value: Value) {
        self.epoch_key_pairs = Some(key.clone());
        self.records.put(key, value);
    }

    /// Deletes the own leaf nodes, and with them every key pair that was made for one: OpenMLS deletes only the one
    /// whose update was committed, and finds the others through the own leaf nodes alone.
    pub(super) fn delete_own_leaf_nodes(&mut self) {
        self.records.delete_all(Kind::OwnLeafNode);
        self.records.delete_all(Kind::EncryptionKeyPair);
    }

    /// A group of OpenMLS has a state; a public group has a context only.
    fn exists(&self) -> bool {
        [Kind::GroupState, Kind::GroupContext].iter().any(|kind| self.records.get(&[*kind as u8]).is_some())
    }

    fn owns_key_pair(&self, pair: &KeyPairName) -> bool {
        self.records.get(&pair.record).is_some()
            || self.records.all(Kind::OwnLeafNode).values().any(|leaf| pair.is_named_by(leaf))
    }

    fn collect(&mut self) {
        if self.existed && !self.exists() {
            self.records.delete_between(*OF_MLS_GROUP.start(), *OF_MLS_GROUP.end(), None);
        }
        // A group that is entered again, by a Welcome or an external commit, leaves the key pairs of the epoch that it
        // had been in. OpenMLS reads those of the current epoch only.
        if let Some(current) = self.epoch_key_pairs.take().filter(|key| self.records.get(key).is_some()) {
            self.records.delete_between(Kind::EpochKeyPairs as u8, Kind::EpochKeyPairs as u8, Some(&current));
        }
    }

    fn into_changes(self) -> GroupChanges {
        let deleted = self.existed && !self.exists();
        let state = Kind::GroupState.only();
        let created = !self.records.loaded.contains_key(&state) && self.records.get(&state).is_some();
        GroupChanges { cleared: false, records: self.records.into_changes(), created, deleted, unmarked: self.unmarked }
    }
}

impl KeyPairName {
    fn is_named_by(&self, leaf: &Value) -> bool {
        let (leaf, public_key) = (leaf.as_slice(), self.public_key.as_slice());
        !public_key.is_empty() && leaf.windows(public_key.len()).any(|window| window == public_key)
    }
}

fn decode_group_id(encoded: &[u8]) -> Result<SecretBytes> {
    let id: GroupId =
        rmp_serde::from_slice(encoded).map_err(|_| Error::new(ErrorKind::Invalid, "this is not a group id"))?;
    if id.as_slice().len() >= limits::MAX_SCOPE_LEN {
        return Err(Error::new(ErrorKind::Invalid, "a group id is longer than 255 bytes"));
    }
    Ok(id.as_slice().into())
}
