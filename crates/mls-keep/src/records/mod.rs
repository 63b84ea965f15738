//! The records of a client: every kind, its key, and its codec ([`codec`]).
//!
//! A record key is a kind byte and what distinguishes records of one kind. Integers are big-endian, so that the order
//! of the keys is the order of the list. *Encoded* is the MessagePack encoding of the key that OpenMLS gives, bare; if it
//! is longer than [`MAX_ENCODED`] bytes, `c1` (which no MessagePack value begins with) and its SHA-256 stand in its place.

mod buffer;
pub(crate) mod codec;
mod wiped;

use std::ops::{Bound, RangeInclusive};

use mls_keep_core::{RecordRange, Result, SecretBytes};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

pub(crate) use wiped::Wiped;

macro_rules! kinds {
    ($($kind:ident = $number:literal, $holds:literal, $scope:literal, $key:literal;)+) => {
        /// What a record is; its number is the first byte of the record's key.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        #[repr(u8)]
        #[allow(dead_code, reason = "OpenMLS's drafts are features")]
        pub(crate) enum Kind {
            $($kind = $number,)+
        }

        /// The table as `docs/format.md` has it.
        #[cfg(test)]
        const TABLE: &[(Kind, &str, &str, &str)] = &[$((Kind::$kind, $holds, $scope, $key),)+];
    };
}

kinds! {
    Message = 0x00, "message of the history", "group", "number (8)";
    Client = 0x01, "client: ciphersuite, credential, signature public key, settings", "client", "";
    Group = 0x02, "group: numbers of its next message, next outgoing, next received and next held message; how many are held, and their bytes; lowest number of the history; which messages are kept", "group", "";
    Staged = 0x03, "staged commit: its epoch, its number in the outbox, its digest, whether it is an external one", "group", "";

    Arrivals = 0x04, "messages that were received: of each the first 16 bytes of its SHA-256, and its number in the history (8), all ones if it is not there", "group", "page (1)";
    Reservation = 0x05, "reservation: how many messages may have been encrypted since the record `10` beside it was stored, who holds it", "group", "";
    LastResort = 0x06, "last resort: of each group that was joined with this key package, the first 16 bytes of the SHA-256 of its confirmation tag then", "client", "the first 16 bytes of the SHA-256 of its reference";
    ExternalSigner = 0x07, "signature key whose private half is not stored: public key, 16 random bytes", "client", "encoded public key";
    Imported = 0x08, "taken over from another storage, now or before: nil", "client", "the first 16 bytes of the SHA-256 of the group's id, or of the key package's reference";

    MessageSecrets = 0x10, "MessageSecrets", "group", "";
    GroupState = 0x11, "GroupState", "group", "";
    GroupContext = 0x12, "GroupContext", "group", "";
    InterimTranscriptHash = 0x13, "InterimTranscriptHash", "group", "";
    ConfirmationTag = 0x14, "ConfirmationTag", "group", "";
    GroupEpochSecrets = 0x15, "GroupEpochSecrets", "group", "";
    OwnLeafIndex = 0x16, "OwnLeafIndex", "group", "";
    ResumptionPskStore = 0x17, "ResumptionPskStore", "group", "";
    JoinConfig = 0x18, "JoinConfig", "group", "";
    Tree = 0x19, "Tree", "group", "";
    OwnLeafNode = 0x1a, "OwnLeafNode", "group", "position in the list (4)";
    QueuedProposal = 0x1b, "QueuedProposal: reference and proposal", "group", "position in the queue (4)";
    EpochKeyPairs = 0x1c, "EpochKeyPairs", "group", "encoded epoch, leaf index (4)";
    EncryptionKeyPair = 0x1d, "EncryptionKeyPair", "group, or client while it belongs to no group", "encoded public key";
    ApplicationExportTree = 0x1e, "ApplicationExportTree", "group", "";
    VcEmulationBindings = 0x1f, "VcEmulationBindings", "group", "";
    RegisteredVcEmulationEpoch = 0x20, "RegisteredVcEmulationEpoch", "group", "";
    SignatureKeyPair = 0x28, "SignatureKeyPair", "client", "encoded public key";
    KeyPackage = 0x29, "KeyPackage", "client", "encoded hash reference";
    Psk = 0x2a, "Psk", "client", "encoded PSK id";
    VcEmulationEpochState = 0x2b, "VcEmulationEpochState", "client", "encoded epoch id";
    VcOperationTree = 0x2c, "VcOperationTree", "client", "encoded epoch id";
    RetainedKeyPackageMaterial = 0x2d, "RetainedKeyPackageMaterial: epoch id and material", "client", "encoded hash reference";

    Outgoing = 0x32, "message of the outbox: message, Welcome, GroupInfo", "group", "number (8)";
    Held = 0x33, "message that is held: its epoch, the message", "group", "number (8)";
    Entry = 0x34, "group as the staged external commit leaves it: digest of that commit, name, its records of OpenMLS", "group", "";
    ListedGroup = 0x38, "group of the client: name, the first 16 bytes of the SHA-256 of its Welcome", "client", "group id";
    Application = 0x80, "record of the application", "both", "the application's key";
}

/// The kinds that OpenMLS writes.
const OF_OPENMLS: RangeInclusive<u8> = 0x10..=0x2f;

/// The kinds that one group of OpenMLS consists of, whatever features wrote them.
pub(crate) const OF_MLS_GROUP: RangeInclusive<u8> = 0x10..=0x20;

/// The kinds that are loaded with their scope. The others are read when they are asked for.
const LOADED: RangeInclusive<u8> = 0x01..=0x2f;

/// Longest encoded key that stands in a record key as it is, bytes.
const MAX_ENCODED: usize = 200;

/// Begins the digest of a longer one: the one byte that MessagePack never uses.
const DIGEST_MARKER: u8 = 0xc1;

impl Kind {
    /// Whether the record with this key is of this kind.
    pub(crate) fn has(self, key: &[u8]) -> bool {
        key.first() == Some(&(self as u8))
    }

    /// The key of the only record of this kind in a scope.
    pub(crate) fn only(self) -> SecretBytes {
        (&[self as u8]).into()
    }

    /// The key of an item of a list of OpenMLS.
    pub(crate) fn item(self, position: u32) -> SecretBytes {
        self.with(&position.to_be_bytes())
    }

    /// The key of a record that mls-keep counts.
    pub(crate) fn numbered(self, number: u64) -> SecretBytes {
        self.with(&number.to_be_bytes())
    }

    /// The key of a record that OpenMLS addresses by a key of its own, which is `encoded`.
    pub(crate) fn by_encoded(self, encoded: &[u8]) -> SecretBytes {
        self.with_encoded(encoded, &[])
    }

    /// The key that goes on with these bytes.
    pub(crate) fn with(self, rest: &[u8]) -> SecretBytes {
        SecretBytes::concat(&[&[self as u8], rest])
    }

    fn with_encoded(self, encoded: &[u8], rest: &[u8]) -> SecretBytes {
        if encoded.len() <= MAX_ENCODED {
            SecretBytes::concat(&[&[self as u8], encoded, rest])
        } else {
            SecretBytes::concat(&[&[self as u8, DIGEST_MARKER], &Sha256::digest(encoded), rest])
        }
    }

    fn is_of_openmls(self) -> bool {
        OF_OPENMLS.contains(&(self as u8))
    }
}

/// The key of the key pairs of an epoch.
pub(crate) fn epoch_key_pairs(epoch: &impl Serialize, leaf_index: u32) -> Result<SecretBytes> {
    Ok(Kind::EpochKeyPairs.with_encoded(&codec::encode_key(epoch)?, &leaf_index.to_be_bytes()))
}

/// By which a message is recognised: the first 16 bytes of the SHA-256 of its TLS encoding.
pub(crate) type Digest = [u8; 16];

pub(crate) fn digest(message: &[u8]) -> Digest {
    let digest = Sha256::digest(message);
    std::array::from_fn(|at| digest.get(at).copied().unwrap_or_default())
}

/// Where in its list the item with this key stands.
pub(crate) fn position(key: &[u8]) -> Option<u32> {
    let (_kind, position) = key.split_first()?;
    Some(u32::from_be_bytes(position.try_into().ok()?))
}

/// The number of a record that mls-keep counts.
pub(crate) fn number(key: &[u8]) -> Option<u64> {
    let (_kind, number) = key.split_first()?;
    Some(u64::from_be_bytes(number.try_into().ok()?))
}

/// Whether the record with this key is loaded with its scope.
pub(crate) fn is_loaded(key: &[u8]) -> bool {
    key.first().is_some_and(|kind| LOADED.contains(kind))
}

/// The records of a scope that are loaded with it.
pub(crate) fn loaded() -> RecordRange {
    RecordRange::between(&[*LOADED.start()], &[LOADED.end() + 1])
}

/// All keys from the kind `first` to before the kind `after`.
pub(crate) fn range<'a>(first: &'a [u8; 1], after: &'a [u8; 1]) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
    (Bound::Included(first), Bound::Excluded(after))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn the_page_of_the_format_has_this_table() {
        let mut table = String::from("| kind | record | in scope | the key goes on with |\n|---|---|---|---|\n");
        for (kind, holds, scope, key) in TABLE {
            let key = if key.is_empty() { String::new() } else { format!("{key} ") };
            writeln!(table, "| `{:02x}` | {holds} | {scope} | {key}|", *kind as u8).unwrap();
        }
        let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/format.md")).unwrap();
        let written = page.split_once("| kind | record |").unwrap().1.split("\n\n").next().unwrap();
        assert_eq!(format!("| kind | record |{written}\n"), table);
    }

    #[test]
    fn numbers_ascend_and_a_kind_of_openmls_is_one_by_its_number() {
        assert!(TABLE.windows(2).all(|kinds| (kinds[0].0 as u8) < kinds[1].0 as u8));
        for (kind, holds, _, _) in TABLE {
            let named_by_openmls = holds.split(':').next() == Some(format!("{kind:?}").as_str());
            assert_eq!(kind.is_of_openmls(), named_by_openmls, "{kind:?}");
        }
    }

    #[test]
    fn the_order_of_keys_is_the_order_of_the_list() {
        let mut keys: Vec<_> = [256, 2, u32::MAX, 0, 65_536].map(|at| Kind::QueuedProposal.item(at)).into();
        keys.sort();
        let positions: Vec<_> = keys.iter().map(|key| position(key).unwrap()).collect();
        assert_eq!(positions, [0, 2, 256, 65_536, u32::MAX]);
    }

    #[test]
    fn a_long_key_is_replaced_by_its_digest() {
        let long = Kind::Psk.by_encoded(&[0x81; MAX_ENCODED + 1]);
        assert_eq!(Kind::Psk.by_encoded(&[0x81; MAX_ENCODED]).len(), 1 + MAX_ENCODED);
        assert_eq!(long.len(), 1 + 1 + 32);
        assert_eq!(long[..2], [0x2a, DIGEST_MARKER]);
        assert_ne!(long, Kind::Psk.by_encoded(&[0x82; MAX_ENCODED + 1]));
    }
}
