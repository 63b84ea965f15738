//! Which records a backup holds, and which a restored client has.

use mls_keep_core::{ScopeId, Value};

use crate::client::StagedRecord;
use crate::records::{Kind, codec};

/// Kinds of records in which there is no secret of a group. What is not listed is left out, also kinds that are to come.
const WITHOUT_GROUP_SECRETS: &[Kind] = &[
    Kind::Client,
    Kind::ExternalSigner,
    Kind::Imported,
    Kind::Group,
    Kind::GroupContext,
    Kind::OwnLeafIndex,
    Kind::JoinConfig,
    Kind::Tree,
    Kind::SignatureKeyPair,
    Kind::Message,
    Kind::Arrivals,
    Kind::Held,
    Kind::ListedGroup,
    Kind::Application,
];

/// Kinds of records of the client itself.
const OWN_MATERIAL: &[Kind] =
    &[Kind::Client, Kind::ExternalSigner, Kind::Imported, Kind::SignatureKeyPair, Kind::Application];

/// Kinds of which there are records that are not restored: what may have been used up since, or would bring an older state
/// back. These are key packages, and external commits that were staged, with the group that comes of them.
pub(super) const NOT_RESTORED: &[Kind] =
    &[Kind::KeyPackage, Kind::RetainedKeyPackageMaterial, Kind::Staged, Kind::Entry];

pub(super) fn is_without_group_secrets(_: &ScopeId, key: &[u8]) -> bool {
    is_one_of(WITHOUT_GROUP_SECRETS, key)
}

pub(super) fn is_own_material(_: &ScopeId, key: &[u8]) -> bool {
    is_one_of(OWN_MATERIAL, key)
}

pub(super) fn is_restored(_: &ScopeId, key: &[u8], value: &Value) -> bool {
    let is_entry = || codec::decode::<StagedRecord>(Kind::Staged, value).is_ok_and(|staged| staged.is_entry);
    !is_one_of(NOT_RESTORED, key) || (Kind::Staged.has(key) && !is_entry())
}

fn is_one_of(kinds: &[Kind], key: &[u8]) -> bool {
    kinds.iter().any(|kind| kind.has(key))
}
