//! [`Operation`]: every main operation of a client, with what has to be there before it and how its members show
//! afterwards that they understand each other.

use std::panic::resume_unwind;
use std::path::Path;

use crate::wait::block_on;
use mls_keep::openmls::group::GroupId;
use mls_keep::openmls::prelude::{LeafNodeParameters, OpenMlsProvider};
use mls_keep::{
    BoxError, Change, Client, CommitSummary, ErrorKind, JoinOptions, PersistenceManager, Received, Result, Scope,
    Transaction,
};
use mls_keep_core::MemoryBackend;

use crate::store::{Image, image, load, open, restore};

/// An operation of the client "alice", who is in the group "tea" with "bob" and "carol".
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Operation {
    /// Makes a key package.
    KeyPackage,
    /// Creates the group "new".
    CreateGroup,
    /// Invites "dave".
    Invite,
    /// Joins the group "coffee" of "dave".
    Join,
    /// Sends a message.
    Send,
    /// Receives bob's message.
    ReceiveMessage,
    /// Receives bob's commit.
    ReceiveCommit,
    /// Receives bob's proposal.
    ReceiveProposal,
    /// Stages a commit that renews alice's keys.
    Stage,
    /// Confirms it.
    Confirm,
    /// Stages an external commit, as alice has missed a commit of bob's.
    Enter,
    /// Confirms it: the old state of the group goes.
    ConfirmEntry,
    /// Renews alice's keys.
    SelfUpdate,
    /// The same as a transaction that puts the commit into a record of the application, to be sent from there.
    Transact,
    /// Removes carol.
    Remove,
    /// Proposes to leave.
    Leave,
    /// A transaction that fails in the middle.
    ClosureError,
    /// A transaction that panics in the middle.
    ClosurePanic,
    /// Forgets the group.
    Forget,
    /// Derives a secret.
    Export,
}

/// What has to be there before an operation.
pub struct Scenario {
    /// Alice's store.
    pub alice: Image,
    /// The store of all others.
    pub peers: Image,
    /// The group "tea".
    pub group: GroupId,
    /// What alice takes in.
    input: Vec<u8>,
}

/// What an operation gives.
#[derive(Debug, Default)]
pub struct Output {
    message: Option<Vec<u8>>,
    for_dave: Option<Vec<u8>>,
    received: Option<Received>,
}

/// All but alice. Nothing goes wrong with them.
pub struct Peers {
    bob: Client,
    carol: Client,
    dave: Client,
}

const RECORD: &str = "commit/1";

impl Operation {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::KeyPackage,
        Self::CreateGroup,
        Self::Invite,
        Self::Join,
        Self::Send,
        Self::ReceiveMessage,
        Self::ReceiveCommit,
        Self::ReceiveProposal,
        Self::Stage,
        Self::Confirm,
        Self::Enter,
        Self::ConfirmEntry,
        Self::SelfUpdate,
        Self::Transact,
        Self::Remove,
        Self::Leave,
        Self::ClosureError,
        Self::ClosurePanic,
        Self::Forget,
        Self::Export,
    ];

    /// Whether it changes nothing.
    #[must_use]
    pub fn changes_nothing(self) -> bool {
        matches!(self, Self::ClosureError | Self::ClosurePanic | Self::Export)
    }

    /// Sets up what it needs.
    ///
    /// # Panics
    /// If that fails.
    #[must_use]
    pub fn prepare(self) -> Scenario {
        let (stores, managers) = two_keeps();
        let [mut alice, mut bob, mut carol, mut dave] = people(&managers);
        let (group, input) = block_on(async {
            let group = bob.create_group("tea").await.unwrap();
            let mut packages = Vec::new();
            for guest in [&mut alice, &mut carol] {
                packages.push(guest.key_package().await.unwrap().to_bytes().unwrap());
            }
            let welcome = bob.commit_at_once(&group, Change::new().invite(&packages)).await.unwrap().welcome.unwrap();
            for guest in [&mut alice, &mut carol] {
                guest.join(&welcome).await.unwrap();
            }
            let hello = bob.send(&group, "hello").await.unwrap().to_bytes().unwrap();
            for guest in [&mut alice, &mut carol] {
                guest.receive(&hello).await.unwrap();
            }
            let input = self.input(&group, &mut alice, &mut bob, &mut carol, &mut dave).await;
            (group, input)
        });
        let [alice, peers] = stores.map(|store| image(&store));
        Scenario { alice, peers, group, input }
    }

    async fn input(
        self,
        group: &GroupId,
        alice: &mut Client,
        bob: &mut Client,
        carol: &mut Client,
        dave: &mut Client,
    ) -> Vec<u8> {
        let message = match self {
            Self::Invite => dave.key_package().await.unwrap().to_bytes().unwrap(),
            Self::Join => {
                let coffee = dave.create_group("coffee").await.unwrap();
                let package = alice.key_package().await.unwrap().to_bytes().unwrap();
                dave.commit_at_once(&coffee, Change::new().invite([package])).await.unwrap().welcome.unwrap()
            }
            Self::ReceiveMessage => bob.send(group, "a question").await.unwrap().to_bytes().unwrap(),
            Self::ReceiveCommit => bob.commit_at_once(group, Change::new().update()).await.unwrap().commit,
            Self::ReceiveProposal => bob.transact(group, propose_update).await.unwrap().to_bytes().unwrap(),
            Self::Confirm => return alice.stage(group, Change::new().update()).await.unwrap().commit,
            Self::Enter | Self::ConfirmEntry => {
                let missed = bob.commit_at_once(group, Change::new().update()).await.unwrap().commit;
                carol.receive(&missed).await.unwrap();
                let info = bob.group_info(group, true).await.unwrap();
                if self == Self::ConfirmEntry {
                    return alice.stage_entry(&info, JoinOptions::new()).await.unwrap().commit;
                }
                return info;
            }
            _ => return Vec::new(),
        };
        if matches!(self, Self::ReceiveMessage | Self::ReceiveCommit | Self::ReceiveProposal) {
            carol.receive(&message).await.unwrap();
        }
        message
    }

    /// Does it, with an outbox.
    ///
    /// # Errors
    /// What the client says.
    ///
    /// # Panics
    /// [`ClosurePanic`](Self::ClosurePanic) does.
    pub async fn run(self, alice: &mut Client, scenario: &Scenario) -> Result<Output> {
        alice.set_outbox(true);
        let (group, input) = (&scenario.group, &scenario.input);
        let bytes = |message: mls_keep::openmls::framing::MlsMessageOut| Some(message.to_bytes().unwrap());
        let mut output = Output::default();
        match self {
            Self::KeyPackage => output.for_dave = bytes(alice.key_package().await?),
            Self::CreateGroup => drop(alice.create_group("new").await?),
            Self::Invite => {
                let invitation = alice.commit_at_once(group, Change::new().invite([input])).await?;
                output.message = Some(invitation.commit);
                output.for_dave = invitation.welcome;
            }
            Self::Join => drop(alice.join(input).await?),
            Self::Send => output.message = bytes(alice.send(group, "an answer").await?),
            Self::ReceiveMessage | Self::ReceiveCommit | Self::ReceiveProposal => {
                output.received = Some(alice.receive(input).await?);
            }
            Self::Stage => output.message = Some(alice.stage(group, Change::new().update()).await?.commit),
            Self::Enter => output.message = Some(alice.stage_entry(input, JoinOptions::new()).await?.commit),
            Self::Confirm | Self::ConfirmEntry => drop(alice.confirm(group).await?),
            Self::SelfUpdate => {
                output.message = Some(alice.commit_at_once(group, Change::new().update()).await?.commit)
            }
            Self::Transact => output.message = Some(alice.transact(group, commit_to_record).await?),
            Self::Remove => {
                output.message = Some(alice.commit_at_once(group, Change::new().remove("carol")).await?.commit);
            }
            Self::Leave => output.message = bytes(alice.leave(group).await?),
            Self::ClosureError => {
                alice
                    .transact(group, |tx| {
                        commit_to_record(tx)?;
                        Err::<(), _>("changed my mind".into())
                    })
                    .await?;
            }
            Self::ClosurePanic => {
                alice
                    .transact(group, |tx| {
                        commit_to_record(tx)?;
                        // Without the hook that would print it.
                        resume_unwind(Box::new("planned")) as Result<(), BoxError>
                    })
                    .await?;
            }
            Self::Forget => alice.forget_group(group).await?,
            Self::Export => drop(alice.export_secret(group, "label", b"", 32).await?),
        }
        Ok(output)
    }

    /// Whether `again`, the result of doing it a second time, says that it was done already. Always true for what can be
    /// done twice.
    #[must_use]
    pub fn is_known_as_done(self, again: &Result<Output>) -> bool {
        let kind = again.as_ref().err().map(mls_keep::Error::kind);
        match self {
            // The guest is a member.
            Self::Invite => kind == Some(ErrorKind::Aborted),
            Self::Remove | Self::Forget | Self::Confirm | Self::ConfirmEntry => kind == Some(ErrorKind::NotFound),
            Self::Stage | Self::Enter => kind == Some(ErrorKind::CommitPending),
            Self::ReceiveMessage | Self::ReceiveCommit | Self::ReceiveProposal => {
                matches!(again, Ok(Output { received: Some(Received::AlreadyReceived(_)), .. }))
            }
            _ => again.is_ok(),
        }
    }

    /// Whether doing it twice does no harm, so that a test may.
    #[must_use]
    pub fn may_be_repeated(self) -> bool {
        !matches!(self, Self::SelfUpdate | Self::Transact | Self::Leave | Self::ClosureError | Self::ClosurePanic)
    }

    /// Shows that alice and the others understand each other after it was done. `output` is missing if its result was
    /// lost; then it is in the outbox.
    ///
    /// # Panics
    /// If they do not.
    pub fn settle(self, alice: &mut Client, scenario: &Scenario, output: Option<Output>) {
        let mut peers = Peers::load(&scenario.peers);
        let tea = &scenario.group;
        block_on(async {
            let output = match output {
                Some(output) => output,
                None => Output::from_outbox(alice, tea).await,
            };
            match self {
                Self::Invite => {
                    peers.deliver(&output.message.unwrap()).await;
                    peers.dave.join(&output.for_dave.unwrap()).await.unwrap();
                    exchange(tea, &mut [alice, &mut peers.bob, &mut peers.carol, &mut peers.dave]).await;
                }
                Self::Remove => {
                    peers.deliver(&output.message.unwrap()).await;
                    assert!(!peers.carol.group(tea).await.unwrap().is_active);
                    exchange(tea, &mut [alice, &mut peers.bob]).await;
                }
                Self::Leave => {
                    peers.deliver(&output.message.unwrap()).await;
                    let commit = peers.bob.commit_at_once(tea, Change::new().update()).await.unwrap().commit;
                    let received = alice.receive(&commit).await.unwrap();
                    assert!(matches!(received, Received::Commit(CommitSummary { removes_self: true, .. })));
                    peers.carol.receive(&commit).await.unwrap();
                    exchange(tea, &mut [&mut peers.bob, &mut peers.carol]).await;
                }
                Self::Forget => {
                    assert_eq!(alice.group(tea).await.unwrap_err().kind(), ErrorKind::NotFound);
                    assert!(alice.history(tea, 10).await.unwrap().is_empty());
                    let package = alice.key_package().await.unwrap().to_bytes().unwrap();
                    peers.meet_dave(alice, &package).await;
                }
                Self::Stage | Self::Enter => {
                    peers.deliver(&output.message.unwrap()).await;
                    alice.confirm(tea).await.unwrap();
                    peers.all_talk(alice, tea).await;
                }
                Self::Confirm | Self::ConfirmEntry => {
                    peers.deliver(&scenario.input).await;
                    peers.all_talk(alice, tea).await;
                    assert_eq!(alice.history(tea, 10).await.unwrap()[0].content, b"hello");
                }
                Self::SelfUpdate | Self::Send => {
                    peers.deliver(&output.message.unwrap()).await;
                    peers.all_talk(alice, tea).await;
                }
                Self::Transact => {
                    let commit = alice.record(&Scope::Group(tea.clone()), RECORD).await.unwrap().unwrap();
                    peers.deliver(commit.as_slice()).await;
                    peers.all_talk(alice, tea).await;
                }
                Self::ReceiveProposal => {
                    let commit = alice.commit_at_once(tea, Change::new().update()).await.unwrap().commit;
                    peers.deliver(&commit).await;
                    peers.all_talk(alice, tea).await;
                }
                Self::KeyPackage => {
                    let package = match output.for_dave {
                        Some(package) => package,
                        None => alice.key_package().await.unwrap().to_bytes().unwrap(),
                    };
                    peers.meet_dave(alice, &package).await;
                    peers.all_talk(alice, tea).await;
                }
                Self::CreateGroup => {
                    let new = named(alice, "new").await;
                    let package = peers.dave.key_package().await.unwrap().to_bytes().unwrap();
                    let welcome =
                        alice.commit_at_once(&new, Change::new().invite([package])).await.unwrap().welcome.unwrap();
                    peers.dave.join(&welcome).await.unwrap();
                    exchange(&new, &mut [alice, &mut peers.dave]).await;
                }
                Self::Join => {
                    let coffee = named(alice, "coffee").await;
                    exchange(&coffee, &mut [alice, &mut peers.dave]).await;
                    peers.all_talk(alice, tea).await;
                }
                Self::ReceiveMessage | Self::ReceiveCommit | Self::ClosureError | Self::ClosurePanic | Self::Export => {
                    peers.all_talk(alice, tea).await
                }
            }
        });
    }
}

impl Scenario {
    /// Writes to `directory` what [`Operation::run`] needs to know of it, for another process.
    ///
    /// # Panics
    /// If that fails.
    pub fn write_to(&self, directory: &Path) {
        std::fs::write(directory.join("group"), self.group.as_slice()).unwrap();
        std::fs::write(directory.join("input"), &self.input).unwrap();
    }

    /// What [`write_to`](Self::write_to) wrote, without the stores.
    ///
    /// # Panics
    /// If it is not there.
    #[must_use]
    pub fn read_from(directory: &Path) -> Self {
        let group = GroupId::from_slice(&std::fs::read(directory.join("group")).unwrap());
        let input = std::fs::read(directory.join("input")).unwrap();
        Self { alice: Image::new(), peers: Image::new(), group, input }
    }
}

impl Output {
    async fn from_outbox(client: &mut Client, group: &GroupId) -> Self {
        let newest = client.outbox(group).await.unwrap().pop();
        let (message, for_dave) = newest.map_or((None, None), |out| (out.message, out.welcome));
        Self { message, for_dave, received: None }
    }
}

impl Peers {
    fn load(stored: &Image) -> Self {
        let manager = open(restore(stored)).unwrap();
        let [bob, carol, dave] = ["bob", "carol", "dave"].map(|name| load(&manager, name).unwrap());
        Self { bob, carol, dave }
    }

    async fn deliver(&mut self, message: &[u8]) {
        self.bob.receive(message).await.unwrap();
        self.carol.receive(message).await.unwrap();
    }

    async fn all_talk(&mut self, alice: &mut Client, group: &GroupId) {
        exchange(group, &mut [alice, &mut self.bob, &mut self.carol]).await;
    }

    async fn meet_dave(&mut self, alice: &mut Client, package: &[u8]) {
        let group = self.dave.create_group("meeting").await.unwrap();
        let invitation = self.dave.commit_at_once(&group, Change::new().invite([package])).await.unwrap();
        alice.join(invitation.welcome.unwrap()).await.unwrap();
        exchange(&group, &mut [alice, &mut self.dave]).await;
    }
}

/// Everybody sends a message that all others can read.
///
/// # Panics
/// If somebody cannot.
pub async fn exchange(group: &GroupId, members: &mut [&mut Client]) {
    for sender in 0..members.len() {
        let text = format!("from {sender}");
        let message = members[sender].send(group, &text).await.unwrap().to_bytes().unwrap();
        for receiver in (0..members.len()).filter(|receiver| *receiver != sender) {
            match members[receiver].receive(&message).await.unwrap() {
                Received::Message(message) => assert_eq!(message.content, text.as_bytes()),
                other => panic!("{other:?}"),
            }
        }
    }
}

async fn named(client: &mut Client, name: &str) -> GroupId {
    client.groups().await.unwrap().into_iter().find(|(_, other)| other == name).unwrap().0
}

fn commit_to_record<C: mls_keep::CryptoProvider>(tx: &mut Transaction<'_, C>) -> Result<Vec<u8>, BoxError> {
    let builder = tx.group.commit_builder().leaf_node_parameters(LeafNodeParameters::default()).force_self_update(true);
    let bundle = builder
        .load_psks(tx.provider.storage())?
        .build(tx.provider.rand(), tx.provider.crypto(), tx.signer, |_| true)?
        .stage_commit(tx.provider)?;
    tx.group.merge_pending_commit(tx.provider)?;
    let commit = bundle.into_commit().to_bytes()?;
    tx.records.put(RECORD, commit.clone())?;
    Ok(commit)
}

fn propose_update<C: mls_keep::CryptoProvider>(
    tx: &mut Transaction<'_, C>,
) -> Result<mls_keep::openmls::framing::MlsMessageOut, BoxError> {
    Ok(tx.group.propose_self_update(tx.provider, tx.signer, LeafNodeParameters::default())?.0)
}

fn two_keeps() -> ([MemoryBackend; 2], [PersistenceManager; 2]) {
    let stores = [MemoryBackend::new(), MemoryBackend::new()];
    let managers = stores.clone().map(|store| open(store).unwrap());
    (stores, managers)
}

fn people([alice, others]: &[PersistenceManager; 2]) -> [Client; 4] {
    [("alice", alice), ("bob", others), ("carol", others), ("dave", others)]
        .map(|(name, manager)| block_on(manager.client_builder(name).create()).unwrap())
}
