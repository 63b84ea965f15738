//! The same calls on OpenMLS's memory storage, where it is right.

use std::fmt::Debug;

use openmls_rust_crypto::MemoryStorage;
use openmls_traits::storage::StorageProvider;

use super::lists::{Thing, reload, thing};
use super::*;

/// One call: what it does, to which group or key, with which value.
#[derive(Debug)]
struct Call {
    what: usize,
    group: GroupId,
    key: Thing,
    leaf: u32,
    value: Thing,
}

macro_rules! calls {
    ($call:ident, $storage:ident; $($body:expr;)*) => {{
        let bodies: &[fn(&Call, &S) -> String] = &[$(|$call, $storage| answer($body)),*];
        bodies
    }};
}

fn answer<T: Debug, E: Debug>(result: Result<T, E>) -> String {
    format!("{:?}", result.unwrap())
}

/// All calls that can be compared, by number. Not among them: queueing a reference twice and clearing a queue, which
/// the memory storage gets wrong; deleting the group's state and context, after which we collect what is left.
fn bodies<S: StorageProvider<1>>() -> &'static [fn(&Call, &S) -> String] {
    calls! { c, s;
        s.write_tree(&c.group, &c.value);
        s.tree::<_, Thing>(&c.group);
        s.delete_tree(&c.group);
        s.write_context(&c.group, &c.value);
        s.group_context::<_, Thing>(&c.group);
        s.write_group_state(&c.group, &c.value);
        s.group_state::<Thing, _>(&c.group);
        s.write_interim_transcript_hash(&c.group, &c.value);
        s.interim_transcript_hash::<_, Thing>(&c.group);
        s.delete_interim_transcript_hash(&c.group);
        s.write_confirmation_tag(&c.group, &c.value);
        s.confirmation_tag::<_, Thing>(&c.group);
        s.delete_confirmation_tag(&c.group);
        s.write_mls_join_config(&c.group, &c.value);
        s.mls_group_join_config::<_, Thing>(&c.group);
        s.delete_group_config(&c.group);
        s.write_message_secrets(&c.group, &c.value);
        s.message_secrets::<_, Thing>(&c.group);
        s.delete_message_secrets(&c.group);
        s.write_resumption_psk_store(&c.group, &c.value);
        s.resumption_psk_store::<_, Thing>(&c.group);
        s.delete_all_resumption_psk_secrets(&c.group);
        s.write_own_leaf_index(&c.group, &c.value);
        s.own_leaf_index::<_, Thing>(&c.group);
        s.delete_own_leaf_index(&c.group);
        s.write_group_epoch_secrets(&c.group, &c.value);
        s.group_epoch_secrets::<_, Thing>(&c.group);
        s.delete_group_epoch_secrets(&c.group);
        s.append_own_leaf_node(&c.group, &c.value);
        s.own_leaf_nodes::<_, Thing>(&c.group);
        s.delete_own_leaf_nodes(&c.group);
        s.queue_proposal(&c.group, &c.value, &c.key);
        s.queued_proposal_refs::<_, Thing>(&c.group);
        s.queued_proposals::<_, Thing, Thing>(&c.group);
        s.queued_proposal_refs::<_, Thing>(&c.group)
            .and_then(|queued| queued.get(c.leaf as usize).map_or(Ok(()), |first| s.remove_proposal(&c.group, first)));
        s.write_encryption_epoch_key_pairs(&c.group, &thing("only"), c.leaf % 2, std::slice::from_ref(&c.value));
        s.encryption_epoch_key_pairs::<_, _, Thing>(&c.group, &c.key, c.leaf);
        s.delete_encryption_epoch_key_pairs(&c.group, &c.key, c.leaf);
        s.write_encryption_key_pair(&c.key, &c.value);
        s.encryption_key_pair::<Thing, _>(&c.key);
        s.delete_encryption_key_pair(&c.key);
        s.write_signature_key_pair(&c.key, &c.value);
        s.signature_key_pair::<_, Thing>(&c.key);
        s.delete_signature_key_pair(&c.key);
        s.write_key_package(&c.key, &c.value);
        s.key_package::<_, Thing>(&c.key);
        s.delete_key_package(&c.key);
        s.write_psk(&c.key, &c.value);
        s.psk::<Thing, _>(&c.key);
        s.delete_psk(&c.key);
    }
}

/// xorshift64*: the same calls for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }
}

#[test]
fn answers_are_those_of_the_memory_storage() {
    const GROUPS: [&[u8]; 3] = [b"g", b"gg", b""];
    for seed in 1..=20 {
        println!("seed {seed}");
        let mut random = Random(seed);
        let (mut client, mut groups) = Default::default();
        let (memory, mut ours) = (MemoryStorage::default(), empty_storage(&GROUPS));
        for id in GROUPS.map(GroupId::from_slice) {
            memory.write_group_state(&id, &thing("state")).unwrap();
            ours.write_group_state(&id, &thing("state")).unwrap();
        }
        let (theirs, our_bodies) = (bodies::<MemoryStorage>(), bodies::<TransactionStorage>());
        for number in 0..2000_u32 {
            let call = Call {
                what: random.below(theirs.len()),
                group: GroupId::from_slice(GROUPS[random.below(3)]),
                key: thing(["k", "kk", "", "l"][random.below(4)]),
                leaf: random.below(4) as u32,
                value: thing(number.to_be_bytes()),
            };
            let answer = our_bodies[call.what](&call, &ours);
            assert_eq!(answer, theirs[call.what](&call, &memory), "seed {seed}, call {number}: {call:?}");
            if random.below(10) == 0 {
                ours = reload(ours, &mut client, &mut groups);
            }
        }
    }
}
