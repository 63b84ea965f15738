//! [`Step`]: what a sequence is made of, and how sequences are drawn.

use std::collections::BTreeSet;

use bytes::Bytes;
use mls_keep_core::Key;
use proptest::prelude::*;
use proptest_state_machine::ReferenceStateMachine;

use crate::fault::Fault;
use crate::support::{key, noise};

/// One step, and the fault that is injected into it.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) action: Action,
    pub(super) fault: Option<Fault>,
}

/// What is done. Numbers stand for names and values, so that a failing sequence can be read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Action {
    Save(Name, Data),
    Delete(Name),
    Commit(CommitOf),
    CommitMany(Vec<CommitOf>),
    Load(Name),
    LoadMany(Vec<Name>),
    List(&'static str),
    ListPage(&'static str, Option<Name>, usize),
    /// Close, and open again.
    Close,
    /// Drop without a close, and open again.
    Drop,
}

/// A key that is used.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Name {
    Plain(u8),
    /// Always has the same value, as nodes do.
    Node(u8),
    Root(u8),
}

/// A value that is used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Data {
    pub(super) seed: u8,
    pub(super) len: usize,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct CommitOf {
    pub(super) puts: BTreeSet<u8>,
    pub(super) root: u8,
    pub(super) expected: Expected,
    pub(super) replacement: Option<Data>,
    pub(super) deletes: BTreeSet<u8>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Expected {
    /// The root that is there.
    Current,
    Absent,
    Other(Data),
}

impl Name {
    pub(super) fn key(self) -> Key {
        match self {
            Self::Plain(number) => key(["a", "a/b", "a-b", "k.1", "z_9"].get(usize::from(number)).unwrap_or(&"k")),
            Self::Node(number) => key(&format!("n/{number}")),
            Self::Root(number) => key(&format!("root/{number}")),
        }
    }
}

impl Data {
    /// The one value of a node.
    pub(super) fn of_node(number: u8) -> Self {
        Self { seed: number, len: usize::from(number) * 700 }
    }

    pub(super) fn bytes(self) -> Bytes {
        noise(u64::from(self.seed), self.len)
    }
}

/// How sequences are drawn. Its state is what was written so far, so that deletes and loads mostly find something.
pub(super) struct Sequence;

impl ReferenceStateMachine for Sequence {
    type State = BTreeSet<Name>;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self::State> {
        Just(BTreeSet::new()).boxed()
    }

    fn transitions(written: &Self::State) -> BoxedStrategy<Step> {
        let fault = prop_oneof![
            Just(Fault::BeforeApplying),
            Just(Fault::AfterApplying),
            (0_usize..6).prop_map(|parts| Fault::Torn { parts }),
        ];
        let fault = prop::option::weighted(0.15, fault);
        (action(written), fault).prop_map(|(action, fault)| Step { action, fault }).boxed()
    }

    fn apply(mut written: Self::State, step: &Step) -> Self::State {
        match &step.action {
            Action::Save(name, _) => drop(written.insert(*name)),
            Action::Delete(name) => drop(written.remove(name)),
            Action::Commit(commit) => written.extend(commit.puts.iter().map(|number| Name::Node(*number))),
            _ => {}
        }
        written
    }
}

fn action(written: &BTreeSet<Name>) -> BoxedStrategy<Action> {
    let any_name = || {
        prop_oneof![(0_u8..6).prop_map(Name::Plain), (0_u8..8).prop_map(Name::Node), (0_u8..2).prop_map(Name::Root),]
    };
    let known: Vec<Name> = written.iter().copied().collect();
    let name = if known.is_empty() {
        any_name().boxed()
    } else {
        prop_oneof![2 => prop::sample::select(known), 1 => any_name()].boxed()
    };
    let prefix = prop::sample::select(&["", "a", "a/", "n/", "root/", "k", "x"][..]);
    prop_oneof![
        4 => (any_name(), data()).prop_map(|(name, data)| Action::Save(name, value_of(name, data))),
        3 => name.clone().prop_map(Action::Delete),
        8 => commit().prop_map(Action::Commit),
        2 => prop::collection::vec(commit(), 1..=2).prop_map(Action::CommitMany),
        3 => name.clone().prop_map(Action::Load),
        2 => prop::collection::vec(name.clone(), 0..8).prop_map(Action::LoadMany),
        1 => prefix.clone().prop_map(Action::List),
        2 => (prefix, prop::option::of(name), 0_usize..6)
            .prop_map(|(prefix, after, limit)| Action::ListPage(prefix, after, limit)),
        1 => Just(Action::Close),
        1 => Just(Action::Drop),
    ]
    .boxed()
}

fn data() -> impl Strategy<Value = Data> + Clone {
    let len = prop_oneof![1 => Just(0_usize), 6 => 1_usize..40, 1 => 4000_usize..9000];
    (0_u8..4, len).prop_map(|(seed, len)| Data { seed, len })
}

/// A node's key is used for one value only.
fn value_of(name: Name, data: Data) -> Data {
    if let Name::Node(number) = name { Data::of_node(number) } else { data }
}

fn commit() -> impl Strategy<Value = CommitOf> + Clone {
    let expected = prop_oneof![
        6 => Just(Expected::Current),
        1 => Just(Expected::Absent),
        1 => data().prop_map(Expected::Other),
    ];
    let some = || prop::collection::btree_set(0_u8..8, 0..=2);
    (some(), 0_u8..2, expected, prop::option::weighted(0.9, data()), some()).prop_map(
        |(puts, root, expected, replacement, mut deletes)| {
            deletes.retain(|number| !puts.contains(number));
            CommitOf { puts, root, expected, replacement, deletes }
        },
    )
}
