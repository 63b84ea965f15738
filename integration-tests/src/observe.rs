//! What can be seen of a client, to be compared.

use std::collections::BTreeMap;

use crate::wait::block_on;
use mls_keep::openmls::group::GroupId;
use mls_keep::{Client, CryptoProvider, Result};

use crate::store::Contents;

/// Everything that a user can see of a client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Observation {
    /// By group id.
    pub groups: BTreeMap<Vec<u8>, Group>,
}

/// Everything that a user can see of a group.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its epoch.
    pub epoch: u64,
    /// Whether the client is a member.
    pub active: bool,
    /// Proposals that wait.
    pub proposals: usize,
    /// The members' identities, in the order of their leaves.
    pub members: Vec<String>,
    /// Sender and text of all messages.
    pub history: Vec<(String, String)>,
    /// What all members derive alike in this epoch; `None` if the client is no member.
    pub secret: Option<Vec<u8>>,
}

/// What is the same whenever the same operation was done, though all keys are random: counts and texts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Shape {
    scopes: Vec<(bool, BTreeMap<u8, usize>)>,
    groups: Vec<Group>,
}

/// Looks at a client.
///
/// # Errors
/// As reading a client has.
pub fn observe<C: CryptoProvider>(client: &mut Client<C>) -> Result<Observation> {
    block_on(async {
        let mut groups = BTreeMap::new();
        for (id, _) in client.groups().await? {
            groups.insert(id.as_slice().to_vec(), observe_group(client, &id).await?);
        }
        Ok(Observation { groups })
    })
}

/// The secret that all members of a group derive alike in this epoch.
///
/// # Errors
/// As [`Client::export_secret`].
pub async fn secret<C: CryptoProvider>(client: &mut Client<C>, group: &GroupId) -> Result<Vec<u8>> {
    Ok(client.export_secret(group, "agreement", b"", 32).await?.to_vec())
}

/// The shape of what is stored and of what is seen of it.
#[must_use]
pub fn shape(contents: &Contents, observation: &Observation) -> Shape {
    let mut scopes: Vec<_> = contents
        .iter()
        .map(|(scope, records)| {
            let mut kinds = BTreeMap::new();
            for key in records.keys() {
                *kinds.entry(key[0]).or_default() += 1;
            }
            (scope.group_id().is_some(), kinds)
        })
        .collect();
    scopes.sort();
    let mut groups: Vec<_> = observation.groups.values().map(|group| Group { secret: None, ..group.clone() }).collect();
    groups.sort_by(|a, b| a.name.cmp(&b.name));
    Shape { scopes, groups }
}

async fn observe_group<C: CryptoProvider>(client: &mut Client<C>, id: &GroupId) -> Result<Group> {
    let summary = client.group(id).await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Group {
        name: summary.name,
        epoch: summary.epoch,
        active: summary.is_active,
        proposals: summary.pending_proposals,
        members: client.members(id).await?.iter().map(|member| text(&member.identity)).collect(),
        history: client
            .history(id, usize::MAX)
            .await?
            .iter()
            .map(|message| (text(&message.sender), text(&message.content)))
            .collect(),
        secret: if summary.is_active { Some(secret(client, id).await?) } else { None },
    })
}
