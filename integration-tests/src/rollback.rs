//! A client that runs while somebody puts an older state of its store back, and a peer that reads everything it sends.

use std::collections::BTreeMap;

use mls_keep::openmls::group::GroupId;
use mls_keep::{Change, Client, Error, ErrorKind, PersistenceManager, Received, Result};

/// What the client is asked to do.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Call {
    /// Sends a message.
    Send,
    /// Receives a message.
    Receive,
    /// Receives a commit.
    ReceiveCommit,
    /// Invites somebody.
    Invite,
    /// Renews its keys.
    SelfUpdate,
    /// Makes a key package.
    KeyPackage,
    /// Creates another group.
    CreateGroup,
    /// Puts a record.
    Transact,
    /// Reads from the newest state.
    Refresh,
    /// Reads all nodes.
    Verify,
    /// Collects garbage.
    Collect,
    /// Reads the history.
    History,
    /// Reads the groups.
    Groups,
    /// Derives a secret.
    Export,
    /// Reads a record.
    Record,
}

impl Call {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Send,
        Self::Receive,
        Self::ReceiveCommit,
        Self::Invite,
        Self::SelfUpdate,
        Self::KeyPackage,
        Self::CreateGroup,
        Self::Transact,
        Self::Refresh,
        Self::Verify,
        Self::Collect,
        Self::History,
        Self::Groups,
        Self::Export,
        Self::Record,
    ];

    /// Whether it changes what is stored.
    #[must_use]
    pub fn changes(self) -> bool {
        (self as u8) < (Self::Refresh as u8)
    }
}

/// How many steps there are in the life of a [`Pair`].
pub const STEPS: usize = 8;

/// Alice, whose store goes back, and bob.
pub struct Pair {
    /// Whose store goes back.
    pub alice: Client,
    /// Who reads everything.
    pub bob: Client,
    /// Their group.
    pub group: GroupId,
    /// Texts of alice's history, in order.
    texts: Vec<String>,
    /// The value of the record.
    record: Vec<u8>,
    sent: usize,
    /// A commit of bob's that alice has refused so far. Without it she cannot understand him, nor he her.
    refused: Option<Vec<u8>>,
}

impl Pair {
    /// Both are in a group.
    ///
    /// # Panics
    /// If that fails.
    pub async fn new(alices: &PersistenceManager, bobs: &PersistenceManager) -> Self {
        let make =
            async |name: &str, manager: &PersistenceManager| manager.client_builder(name).create().await.unwrap();
        let (mut alice, mut bob) = (make("alice", alices).await, make("bob", bobs).await);
        let group = alice.create_group("tea").await.unwrap();
        let package = bob.key_package().await.unwrap().to_bytes().unwrap();
        bob.join(alice.commit_at_once(&group, Change::new().invite([package])).await.unwrap().welcome.unwrap())
            .await
            .unwrap();
        Self { alice, bob, group, texts: Vec::new(), record: Vec::new(), sent: 0, refused: None }
    }

    /// The same with clients that were loaded anew.
    #[must_use]
    pub fn with(&self, alice: Client, bob: Client) -> Self {
        let (texts, record) = (self.texts.clone(), self.record.clone());
        Self { alice, bob, group: self.group.clone(), texts, record, sent: self.sent, refused: None }
    }

    /// One of [`STEPS`] commits.
    ///
    /// # Panics
    /// If it fails.
    pub async fn step(&mut self, number: usize) {
        match number % 4 {
            2 => self.try_call(Call::Receive).await.unwrap(),
            3 => self.try_call(Call::Transact).await.unwrap(),
            1 if number > 4 => self.try_call(Call::SelfUpdate).await.unwrap(),
            _ => self.try_call(Call::Send).await.unwrap(),
        }
    }

    /// Alice does it. What she sends, bob takes in.
    ///
    /// # Errors
    /// The outer one says what must never happen: bob does not understand, or what is read is not the newest. The inner one
    /// is alice's refusal.
    pub async fn call(&mut self, call: Call) -> Result<Result<()>, String> {
        match self.try_call(call).await {
            Err(error) if error.kind() == ErrorKind::Internal => Err(format!("{call:?}: {error:?}")),
            Ok(()) => Ok(Ok(())),
            Err(error) if error.to_string().starts_with(WRONG) => Err(format!("{call:?}: {error}")),
            Err(error) => Ok(Err(error)),
        }
    }

    async fn try_call(&mut self, call: Call) -> Result<()> {
        let group = self.group.clone();
        if let Some(commit) = self.refused.clone().filter(|_| call.changes()) {
            self.alice.receive(&commit).await?;
            self.refused = None;
        }
        match call {
            Call::Send => {
                self.sent += 1;
                let text = format!("message {}", self.sent);
                let message = self.alice.send(&group, &text).await?.to_bytes().unwrap();
                self.texts.push(text.clone());
                match self.bob.receive(&message).await {
                    Ok(Received::Message(message)) if message.content == text.as_bytes() => Ok(()),
                    other => Err(wrong(format!("bob is sent {text:?}: {other:?}"))),
                }
            }
            Call::SelfUpdate => {
                let commit = self.alice.commit_at_once(&group, Change::new().update()).await?.commit;
                self.committed(&commit).await
            }
            Call::Invite => {
                let mut guest = Client::builder(format!("guest {}", self.sent)).create().await?;
                let package = guest.key_package().await?.to_bytes().unwrap();
                let commit = self.alice.commit_at_once(&group, Change::new().invite([package])).await?.commit;
                self.committed(&commit).await
            }
            Call::Receive => {
                self.sent += 1;
                let text = format!("answer {}", self.sent);
                let message = self.bob.send(&group, &text).await.unwrap().to_bytes().unwrap();
                match self.alice.receive(&message).await? {
                    Received::Message(message) if message.content == text.as_bytes() => {}
                    other => return Err(wrong(format!("alice is sent {text:?}: {other:?}"))),
                }
                self.texts.push(text);
                Ok(())
            }
            Call::ReceiveCommit => {
                let commit = self.bob.commit_at_once(&group, Change::new().update()).await.unwrap().commit;
                self.refused = Some(commit.clone());
                let received = self.alice.receive(&commit).await?;
                self.refused = None;
                match received {
                    Received::Commit(_) => Ok(()),
                    other => Err(wrong(format!("alice is sent a commit: {other:?}"))),
                }
            }
            Call::KeyPackage => self.alice.key_package().await.map(drop),
            Call::CreateGroup => self.alice.create_group("another").await.map(drop),
            Call::Transact => {
                self.sent += 1;
                let value = vec![self.sent as u8; 10];
                self.alice.transact(&group, |tx| Ok(tx.records.put("record", value.clone())?)).await?;
                self.record = value;
                Ok(())
            }
            Call::Refresh => self.alice.refresh().await.map(drop),
            Call::Verify => {
                let found = self.alice.store().unwrap().verify(&mut |_| ()).await?;
                if found.is_sound() { Ok(()) } else { Err(Error::new(ErrorKind::Corrupt, "verify finds problems")) }
            }
            Call::Collect => self.alice.gc().await.map(drop),
            Call::History => {
                let history = self.alice.history(&group, usize::MAX).await?;
                let texts: Vec<_> =
                    history.iter().map(|message| String::from_utf8_lossy(&message.content).into_owned()).collect();
                if texts == self.texts {
                    return Ok(());
                }
                Err(wrong(format!("the history has {} messages, and not {}", texts.len(), self.texts.len())))
            }
            Call::Groups => {
                let groups: BTreeMap<_, _> =
                    self.alice.groups().await?.into_iter().map(|(id, name)| (name, id)).collect();
                if groups.get("tea") == Some(&group) { Ok(()) } else { Err(wrong("the group is not listed".into())) }
            }
            Call::Export => {
                let secret = self.alice.export_secret(&group, "agreement", b"", 32).await?;
                let same = secret == self.bob.export_secret(&group, "agreement", b"", 32).await.unwrap();
                if same { Ok(()) } else { Err(wrong("the secret is that of another epoch".into())) }
            }
            Call::Record => {
                let scope = mls_keep::Scope::Group(group);
                let value = self.alice.record(&scope, "record").await?.map(|value| value.as_slice().to_vec());
                if value.unwrap_or_default() == self.record { Ok(()) } else { Err(wrong("the record is older".into())) }
            }
        }
    }

    /// Bob takes in a commit of alice's.
    async fn committed(&mut self, commit: &[u8]) -> Result<()> {
        match self.bob.receive(commit).await {
            Ok(Received::Commit(_)) => Ok(()),
            other => Err(wrong(format!("bob is sent a commit: {other:?}"))),
        }
    }
}

const WRONG: &str = "never: ";

fn wrong(what: String) -> Error {
    Error::new(ErrorKind::Aborted, format!("{WRONG}{what}"))
}
