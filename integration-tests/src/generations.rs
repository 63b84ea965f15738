//! Which keys a client sends with: read from what OpenMLS stores.

use mls_keep::Client;
use mls_keep::openmls::group::GroupId;
use openmls_traits::OpenMlsProvider;
use openmls_traits::storage::{CURRENT_VERSION, Entity, StorageProvider, traits};
use serde::{Deserialize, Serialize};

use crate::wait::block_on;

/// A key of a sender: an epoch, and a generation of its ratchet.
pub type Generation = (u64, u32);

#[derive(Deserialize, Serialize)]
struct MessageSecrets {
    message_secrets: Epoch,
}

#[derive(Deserialize, Serialize)]
struct Epoch {
    secret_tree: SecretTree,
}

#[derive(Deserialize, Serialize)]
struct SecretTree {
    own_index: usize,
    application_sender_ratchets: Vec<Option<Ratchet>>,
}

#[derive(Deserialize, Serialize)]
enum Ratchet {
    EncryptionRatchet(Head),
    DecryptionRatchet(Decryption),
}

#[derive(Deserialize, Serialize)]
struct Decryption {
    ratchet_head: Head,
}

#[derive(Deserialize, Serialize)]
struct Head {
    generation: u32,
}

impl Entity<CURRENT_VERSION> for MessageSecrets {}
impl traits::MessageSecrets<CURRENT_VERSION> for MessageSecrets {}

/// The key that the last message of `client` in a group was sent with, as of its memory.
///
/// # Panics
/// If nothing was sent in this epoch, or OpenMLS stores its ratchets in another way.
#[must_use]
pub fn last_generation(client: &mut Client, group: &GroupId) -> Generation {
    let mut session = block_on(client.begin(std::slice::from_ref(group))).unwrap();
    let transaction = session.transaction().unwrap();
    let stored: Option<MessageSecrets> = transaction.provider.storage().message_secrets(group).unwrap();
    let tree = stored.unwrap().message_secrets.secret_tree;
    match tree.application_sender_ratchets.get(tree.own_index) {
        Some(Some(Ratchet::EncryptionRatchet(head))) if head.generation > 0 => {
            (transaction.group.epoch().as_u64(), head.generation - 1)
        }
        _ => panic!("nothing was sent in this epoch"),
    }
}
