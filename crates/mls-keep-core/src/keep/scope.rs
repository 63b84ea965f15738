//! Scopes and what a commit changes in them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::limits::{MAX_RECORD_KEY_LEN, MAX_SCOPE_LEN, MAX_VALUE_LEN};
use crate::map::{LeafValue, NodeName, Pointer, Value};
use crate::secret_bytes::SecretBytes;

/// What is loaded and changed together: the client's own material, or one group.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ScopeId(SecretBytes);

const CLIENT: u8 = 0;
const GROUP: u8 = 1;

impl ScopeId {
    /// The client's own scope: identity, key packages, what is of no group.
    #[must_use]
    pub fn client() -> Self {
        Self((&[CLIENT]).into())
    }

    /// The scope of the group with this MLS group id (RFC 9420 section 8.1).
    ///
    /// # Errors
    /// `Invalid` if the id is longer than [`MAX_SCOPE_LEN`] - 1 bytes.
    pub fn group(group_id: &[u8]) -> Result<Self> {
        if group_id.len() >= MAX_SCOPE_LEN {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("a group id has at most {} bytes, this one {}", MAX_SCOPE_LEN - 1, group_id.len()),
            ));
        }
        Ok(Self(SecretBytes::concat(&[&[GROUP], group_id])))
    }

    /// The MLS group id, if this is the scope of a group.
    #[must_use]
    pub fn group_id(&self) -> Option<&[u8]> {
        self.0.strip_prefix(&[GROUP])
    }

    pub(crate) fn from_key(key: &[u8]) -> Self {
        Self(key.into())
    }

    pub(crate) fn as_key(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for ScopeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A group id is a secret from readers of a log.
        f.write_str(if self.group_id().is_some() { "ScopeId(group)" } else { "ScopeId(client)" })
    }
}

/// Which state of a scope it is. Two reads with the same version saw the same records and the same mark.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct ScopeVersion {
    name: NodeName,
    flags: u8,
}

impl ScopeVersion {
    /// Whether the group was restored from an older state and not entered anew since. Nothing may be sent in it.
    #[must_use]
    pub fn needs_rejoin(&self) -> bool {
        self.flags & NEEDS_REJOIN != 0
    }
}

impl fmt::Debug for ScopeVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScopeVersion({}, {})", crate::text::encode(&self.name), self.flags)
    }
}

/// The flag of a group that was restored and must be entered anew.
pub(crate) const NEEDS_REJOIN: u8 = 1;

/// All flags that this program knows. A scope with any other is refused.
pub(crate) const KNOWN_FLAGS: u8 = NEEDS_REJOIN;

/// What the directory says of a scope.
pub(crate) struct ScopeTop {
    pub(crate) pointer: Arc<Pointer>,
    pub(crate) flags: u8,
}

impl ScopeTop {
    pub(crate) fn version(&self) -> ScopeVersion {
        ScopeVersion { name: *self.pointer.name(), flags: self.flags }
    }
}

/// What an entry of the directory says.
///
/// # Errors
/// `Corrupt` if it is none, `UnsupportedVersion` if it has a flag that is not known.
pub(crate) fn top_of(value: LeafValue) -> Result<ScopeTop> {
    match value {
        LeafValue::Map { flags, top } if flags & !KNOWN_FLAGS == 0 => Ok(ScopeTop { pointer: top, flags }),
        LeafValue::Map { .. } => {
            Err(Error::new(ErrorKind::UnsupportedVersion, "a scope is in a state that this program does not know"))
        }
        _ => Err(Error::new(ErrorKind::Corrupt, "the directory holds something else than scopes")),
    }
}

/// What one commit changes. All of it is applied, or nothing.
#[derive(Debug, Default)]
pub struct Changes {
    pub(crate) scopes: BTreeMap<ScopeId, ScopeChanges>,
}

/// What one commit changes in one scope.
pub struct ScopeChanges {
    pub(crate) base: Option<ScopeVersion>,
    pub(crate) remove: bool,
    /// What becomes of the mark, if anything.
    pub(crate) needs_rejoin: Option<bool>,
    pub(crate) records: BTreeMap<SecretBytes, RecordChange>,
}

#[derive(Debug)]
pub(crate) enum RecordChange {
    Put { value: Value, base: Option<Value> },
    Remove,
}

impl fmt::Debug for ScopeChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The keys of the application's records are as secret as their values.
        f.debug_struct("ScopeChanges")
            .field("base", &self.base)
            .field("remove", &self.remove)
            .field("needs_rejoin", &self.needs_rejoin)
            .field("records", &self.records.len())
            .finish()
    }
}

impl Changes {
    /// Changes nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing would change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.scopes.is_empty()
    }

    /// The changes of `scope`, made from its state `base` (`None`: it must not exist). If the scope is in another state
    /// when the commit is applied, the commit is a `Conflict`.
    pub fn scope(&mut self, scope: ScopeId, base: Option<ScopeVersion>) -> &mut ScopeChanges {
        self.scopes.entry(scope).or_insert_with(|| ScopeChanges {
            base,
            remove: false,
            needs_rejoin: None,
            records: BTreeMap::new(),
        })
    }
}

impl ScopeChanges {
    /// Makes `value` the value of `key`. `base` is the value that was loaded or committed before under this key: parts
    /// that both have are not written again.
    ///
    /// # Errors
    /// `Invalid` if the key or the value is over its limit, or the key is empty.
    pub fn put(&mut self, key: impl Into<SecretBytes>, value: Value, base: Option<Value>) -> Result<()> {
        let key = key.into();
        check_key(&key)?;
        if value.as_slice().len() > MAX_VALUE_LEN {
            let len = value.as_slice().len();
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("a value has at most {MAX_VALUE_LEN} bytes, not {len}"),
            ));
        }
        self.records.insert(key, RecordChange::Put { value, base });
        Ok(())
    }

    /// Removes `key` and its value. Removing what is absent changes nothing.
    pub fn remove(&mut self, key: impl Into<SecretBytes>) {
        self.records.insert(key.into(), RecordChange::Remove);
    }

    /// Removes every record that is there now. Records that are put in the same changes stay.
    pub fn remove_all(&mut self) {
        self.remove = true;
    }

    /// Marks the scope as one that must be entered anew, or takes the mark off. Without this it stays as it is, also where all
    /// records are replaced.
    pub fn set_needs_rejoin(&mut self, needs_rejoin: bool) {
        self.needs_rejoin = Some(needs_rejoin);
    }

    /// The flags of the scope that had `before`.
    pub(crate) fn flags(&self, before: u8) -> u8 {
        match self.needs_rejoin {
            Some(true) => before | NEEDS_REJOIN,
            Some(false) => before & !NEEDS_REJOIN,
            None => before,
        }
    }
}

fn check_key(key: &[u8]) -> Result<()> {
    if key.is_empty() || key.len() > MAX_RECORD_KEY_LEN {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("the key of a record has 1 to {MAX_RECORD_KEY_LEN} bytes, this one {}", key.len()),
        ));
    }
    Ok(())
}

/// What a commit made.
#[derive(Debug)]
pub struct Committed {
    /// The number of the root that this commit made.
    pub number: u64,
    /// Nodes written.
    pub nodes: usize,
    /// Bytes stored, the root with them.
    pub stored_bytes: usize,
    pub(crate) scopes: BTreeMap<ScopeId, CommittedScope>,
}

#[derive(Debug, Default)]
pub(crate) struct CommittedScope {
    pub(crate) version: Option<ScopeVersion>,
    pub(crate) long: BTreeMap<SecretBytes, Value>,
}

impl Committed {
    /// Whether `scope` is among those that were changed.
    #[must_use]
    pub fn changed(&self, scope: &ScopeId) -> bool {
        self.scopes.contains_key(scope)
    }

    /// The state of a scope that was changed; `None` if it is gone.
    #[must_use]
    pub fn version(&self, scope: &ScopeId) -> Option<ScopeVersion> {
        self.scopes.get(scope).and_then(|scope| scope.version)
    }

    /// A long value that was put, as it should be given as `base` when it changes again.
    #[must_use]
    pub fn long_value(&self, scope: &ScopeId, key: &[u8]) -> Option<&Value> {
        self.scopes.get(scope).and_then(|scope| scope.long.get(key))
    }
}
