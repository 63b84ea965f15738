//! [`World`]: alice and bob, while a write of alice's is late.

use std::sync::Arc;

use mls_keep::openmls::group::GroupId;
use mls_keep::{Change, Client, ErrorKind, PersistenceManager, Received, Result};
use mls_keep_core::{MemoryBackend, StorageBackend};

use super::{Landing, Late};
use crate::store::{Image, image, load, open, open_shared, restore};
use crate::wait::block_on;

/// The operation of which a write is late.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum First {
    /// Alice sends a message.
    Send,
    /// Alice renews her keys.
    SelfUpdate,
    /// Alice receives a message.
    ReceiveMessage,
    /// Alice receives a commit.
    ReceiveCommit,
    /// Alice invites carol.
    Invite,
    /// Alice makes another group.
    CreateGroup,
    /// Alice forgets the group.
    Forget,
}

/// What comes after it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next {
    /// Reads the history.
    History,
    /// Reads from the newest root.
    Refresh,
    /// Reads all nodes.
    Verify,
    /// Collects garbage.
    Collect,
    /// Another manager loads alice and makes a group.
    SecondManager,
    /// The first operation again, if it was not applied.
    Again,
    /// Sends a message.
    Send,
    /// Receives a message.
    Receive,
    /// Renews the keys.
    SelfUpdate,
}

/// Alice and bob in a group, each with a store, before an operation.
pub struct Before {
    /// Which one.
    pub first: First,
    /// The store of alice, who does it.
    pub alice: Image,
    bob: Image,
    group: GroupId,
    /// What alice gets: a message, a commit or a key package.
    input: Vec<u8>,
}

/// One case.
pub struct World<'a> {
    before: &'a Before,
    alice: Client,
    bob: Client,
    /// What alice returned as Ok for the group, in order.
    returned: Vec<Vec<u8>>,
    /// What alice said of the operation.
    pub said: Said,
    /// What is known of the operation now: it may have been done again.
    applied: Said,
    /// Whether the late write landed before the end.
    pub landed: bool,
}

/// What the client said of the first operation.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Said {
    /// `Ok`.
    Applied,
    /// `Unavailable`.
    NotApplied,
    /// `OutcomeUnknown`.
    Unknown,
}

/// What is wrong, if anything is.
pub type Checked = std::result::Result<(), String>;

fn manager(store: &MemoryBackend) -> PersistenceManager {
    open(store.clone()).unwrap()
}

impl Before {
    /// Prepares the operation.
    ///
    /// # Panics
    /// If that fails.
    #[must_use]
    pub fn new(first: First) -> Self {
        let stores = [MemoryBackend::new(), MemoryBackend::new()];
        let [mut alice, mut bob] = [("alice", 0), ("bob", 1)].map(|(name, at): (&str, usize)| {
            let store = stores.get(at).unwrap();
            block_on(manager(store).client_builder(name).create()).unwrap()
        });
        let (group, input) = block_on(async {
            let group = alice.create_group("tea").await.unwrap();
            let package = bob.key_package().await.unwrap().to_bytes().unwrap();
            let welcome = alice.commit_at_once(&group, Change::new().invite([package])).await.unwrap().welcome.unwrap();
            bob.join(welcome).await.unwrap();
            // So that no ratchet is at its beginning.
            let hello = alice.send(&group, "hello").await.unwrap().to_bytes().unwrap();
            bob.receive(hello).await.unwrap();
            let input = match first {
                First::ReceiveMessage => bob.send(&group, "a question").await.unwrap().to_bytes().unwrap(),
                First::ReceiveCommit => bob.commit_at_once(&group, Change::new().update()).await.unwrap().commit,
                First::Invite => {
                    let mut carol = Client::builder("carol").create().await.unwrap();
                    carol.key_package().await.unwrap().to_bytes().unwrap()
                }
                _ => Vec::new(),
            };
            (group, input)
        });
        let [alice, bob] = stores.map(|store| image(&store));
        Self { first, alice, bob, group, input }
    }
}

/// Whether the late write was tried before the end. One that was overtaken never is, whenever it would land.
fn has_landed(late: &Late) -> bool {
    matches!(late.landing(), Landing::Landed | Landing::Refused)
}

fn named<T>(what: &str, result: Result<T>) -> std::result::Result<T, String> {
    result.map_err(|error| format!("{what}: {error:?}"))
}

impl<'a> World<'a> {
    /// Alice works with `backend`; the group is in her memory, as it is while a program runs.
    ///
    /// # Panics
    /// If she cannot be loaded.
    #[must_use]
    pub fn new(before: &'a Before, backend: &Arc<dyn StorageBackend>) -> Self {
        let mut alice = load(&open_shared(Arc::clone(backend)).unwrap(), "alice").unwrap();
        alice.set_outbox(true);
        block_on(alice.group(&before.group)).unwrap();
        let bob = load(&manager(&restore(&before.bob)), "bob").unwrap();
        let (said, applied) = (Said::Applied, Said::Applied);
        Self { before, alice, bob, returned: Vec::new(), said, applied, landed: false }
    }

    /// Does the operation, then what comes in `order`; lets the late write `land` at last, and looks at what is in `store`.
    ///
    /// # Errors
    /// What is not as alice said.
    pub async fn run(
        &mut self,
        order: &[Next],
        backend: &Arc<dyn StorageBackend>,
        late: &Late,
        land: &dyn Fn(),
        store: &MemoryBackend,
    ) -> Checked {
        let first = self.first(0).await;
        self.landed = has_landed(late);
        if late.landing() == Landing::None {
            // The writes of what comes next are not meant.
            late.arm(u64::MAX, None);
        }
        self.said = match first {
            Ok(()) => Said::Applied,
            Err(error) if error.kind() == ErrorKind::Unavailable => Said::NotApplied,
            Err(error) if error.kind() == ErrorKind::OutcomeUnknown => Said::Unknown,
            Err(error) => return Err(format!("the operation: {error:?}")),
        };
        self.applied = self.said;
        self.deliver().await?;
        for next in order {
            let done = self.next(*next, backend).await;
            self.landed = has_landed(late);
            done.map_err(|wrong| format!("{next:?}: {wrong}"))?;
            self.deliver().await.map_err(|wrong| format!("after {next:?}: {wrong}"))?;
        }
        self.landed = has_landed(late);
        land();
        self.finish(store).await
    }

    /// The operation, for the first time or again.
    async fn first(&mut self, time: usize) -> Result<()> {
        let (alice, group, input) = (&mut self.alice, &self.before.group, &self.before.input);
        let message = match self.before.first {
            First::Send => alice.send(group, format!("first {time}")).await?.to_bytes().unwrap(),
            First::SelfUpdate => alice.commit_at_once(group, Change::new().update()).await?.commit,
            First::ReceiveMessage | First::ReceiveCommit => return alice.receive(input).await.map(drop),
            First::Invite => alice.commit_at_once(group, Change::new().invite([input])).await?.commit,
            First::CreateGroup => return alice.create_group("new").await.map(drop),
            First::Forget => return alice.forget_group(group).await,
        };
        self.returned.push(message);
        Ok(())
    }

    async fn next(&mut self, next: Next, backend: &Arc<dyn StorageBackend>) -> Checked {
        let group = self.before.group.clone();
        if self.before.first == First::Forget && !matches!(next, Next::Again | Next::Refresh | Next::Verify) {
            return Ok(());
        }
        match next {
            Next::History => drop(named("", self.alice.history(&group, 10).await)?),
            Next::Refresh => drop(named("", self.alice.refresh().await)?),
            Next::Verify => {
                // A commit that lands in the middle of it is a conflict.
                let found = match self.alice.store().unwrap().verify(&mut |_| ()).await {
                    Err(error) if error.kind() == ErrorKind::Conflict => return Ok(()),
                    found => named("", found)?,
                };
                if !found.is_sound() {
                    return Err(format!("{found:?}"));
                }
            }
            Next::Collect => drop(named("", self.alice.gc().await)?),
            Next::SecondManager => {
                let manager = named("", open_shared(Arc::clone(backend)))?;
                let mut other = named("", manager.load_client_state("alice").await)?;
                drop(named("", other.history(&group, 10).await)?);
                drop(named("", other.create_group("of the other").await)?);
            }
            Next::Again if matches!(self.before.first, First::ReceiveMessage | First::ReceiveCommit) => {
                self.catch_up().await?;
            }
            Next::Again => {
                if self.applied == Said::NotApplied {
                    named("", self.first(1).await)?;
                    self.applied = Said::Applied;
                }
            }
            Next::Send => {
                self.catch_up().await?;
                let message = named("", self.alice.send(&group, "second").await)?;
                self.returned.push(message.to_bytes().unwrap());
            }
            Next::Receive => {
                self.catch_up().await?;
                let text = "of bob";
                let message = named("bob", self.bob.send(&group, text).await)?.to_bytes().unwrap();
                match named("", self.alice.receive(&message).await)? {
                    Received::Message(message) if message.content == text.as_bytes() => {}
                    other => return Err(format!("{other:?}")),
                }
            }
            Next::SelfUpdate => {
                self.catch_up().await?;
                let message = named("", self.alice.commit_at_once(&group, Change::new().update()).await)?;
                self.returned.push(message.commit);
            }
        }
        Ok(())
    }

    /// Receives again what was to be received, unless it is known to be.
    async fn catch_up(&mut self) -> Checked {
        let receives = matches!(self.before.first, First::ReceiveMessage | First::ReceiveCommit);
        if !receives || self.applied == Said::Applied {
            return Ok(());
        }
        let received = named("receiving again", self.alice.receive(&self.before.input).await)?;
        if self.applied == Said::NotApplied && matches!(received, Received::AlreadyReceived(_)) {
            return Err("it was applied already".into());
        }
        self.applied = Said::Applied;
        Ok(())
    }

    /// Bob takes in what alice has made. What is in her outbox is what she returned, and nothing else, unless she does not
    /// know.
    async fn deliver(&mut self) -> Checked {
        let group = self.before.group.clone();
        if self.before.first == First::Forget {
            return Ok(());
        }
        let outbox = match self.alice.outbox(&group).await {
            Ok(outbox) => outbox,
            Err(error) => return Err(format!("the outbox: {error:?}")),
        };
        let outbox: Vec<_> = outbox.into_iter().filter_map(|outgoing| outgoing.message).collect();
        if let Some(missing) = self.returned.iter().find(|message| !outbox.contains(message)) {
            return Err(format!("a message of {} bytes was returned and is not in the outbox", missing.len()));
        }
        if self.applied != Said::Unknown && outbox.len() != self.returned.len() {
            return Err(format!("{} messages were returned, {} are in the outbox", self.returned.len(), outbox.len()));
        }
        for message in &outbox {
            match self.bob.receive(message).await {
                Ok(_) => {}
                Err(error) => return Err(format!("bob does not understand: {error:?}")),
            }
        }
        Ok(())
    }

    /// What is stored is what was said, and alice goes on, as she is and loaded anew.
    async fn finish(&mut self, store: &MemoryBackend) -> Checked {
        let group = self.before.group.clone();
        let mut fresh = named("loading", load(&manager(store), "alice"))?;
        let groups = named("groups", fresh.groups().await)?;
        let is_applied = self.applied == Said::Applied;
        let found = match self.before.first {
            First::CreateGroup => groups.iter().any(|(_, name)| name == "new"),
            First::Forget => !groups.iter().any(|(id, _)| *id == group),
            First::ReceiveMessage => {
                let history = named("history", fresh.history(&group, 100).await)?;
                history.iter().any(|message| message.content == b"a question")
            }
            First::ReceiveCommit => named("group", fresh.group(&group).await)?.epoch > 1,
            // The outbox says it.
            First::Send | First::SelfUpdate | First::Invite => is_applied,
        };
        if self.applied != Said::Unknown && found != is_applied {
            return Err(format!("at the end it is applied: {found}"));
        }
        if self.before.first == First::Forget {
            return Ok(());
        }
        self.catch_up().await?;
        self.deliver().await?;
        self.talk("at the end").await?;
        self.alice = named("loading", load(&manager(store), "alice"))?;
        self.alice.set_outbox(true);
        self.deliver().await?;
        self.talk("loaded anew").await
    }

    /// Both understand each other.
    async fn talk(&mut self, when: &str) -> Checked {
        let group = self.before.group.clone();
        for (text, from_alice) in [("there", true), ("and back", false)] {
            let (sender, receiver) =
                if from_alice { (&mut self.alice, &mut self.bob) } else { (&mut self.bob, &mut self.alice) };
            let message = named(when, sender.send(&group, text).await)?.to_bytes().unwrap();
            let received = receiver.receive(&message).await;
            match named(when, received)? {
                Received::Message(message) if message.content == text.as_bytes() => {}
                other => return Err(format!("{when}: {other:?}")),
            }
            if from_alice {
                self.returned.push(message);
            }
        }
        Ok(())
    }
}
