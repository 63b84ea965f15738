//! [`Scope`]: what is loaded, saved and deleted together.

use std::fmt;

use mls_keep_core::{Result, ScopeId};
use openmls::group::GroupId;

/// Where a record stands: with what it is loaded, saved and deleted.
#[derive(Clone, Eq, Ord, PartialEq, PartialOrd)]
pub enum Scope {
    /// With the client.
    Client,
    /// With a group.
    Group(GroupId),
}

impl Scope {
    pub(crate) fn group(id: &GroupId) -> Self {
        Self::Group(id.clone())
    }

    /// The name of the scope in the keep.
    pub(crate) fn id(&self) -> Result<ScopeId> {
        match self {
            Self::Client => Ok(ScopeId::client()),
            Self::Group(id) => ScopeId::group(id.as_slice()),
        }
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "Client",
            Self::Group(_) => "Group(..)",
        })
    }
}
