//! [`Sender`]: alice, who is saved at an interval, under load, until she is killed; and what she says of it.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use mls_keep::openmls::group::GroupId;
use mls_keep::{Change, Client, GroupSettings, PersistenceManager, Result, SaveNumber, SavePolicy};

use crate::adapter::Adapter;
use crate::generations::last_generation;
use crate::mail::{Letter, Mail};
use crate::random::Random;
use crate::store::encryption;

/// How often alice saves.
pub const EVERY: Duration = Duration::from_millis(20);

/// How many messages she reserves.
pub const RESERVE: u32 = 40;

/// How alice is saved.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// [`SavePolicy::Interval`].
    Interval,
    /// The saboteur: at the same interval, and nothing is reserved.
    Unreserved,
}

impl Way {
    /// As an argument of the program that is killed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Interval => "interval",
            Self::Unreserved => "unreserved",
        }
    }

    /// The way of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Interval, Self::Unreserved].into_iter().find(|way| way.name() == name)
    }

    fn policy(self) -> SavePolicy {
        match self {
            Self::Interval => SavePolicy::Interval { every: EVERY, reserve: RESERVE },
            Self::Unreserved => SavePolicy::Manual,
        }
    }
}

/// What alice says on her standard output, a line each. What she says of a message, she says when it leaves.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Said {
    /// An application message: epoch, generation, ciphertext.
    Sent(u64, u32, Vec<u8>),
    /// A commit. It may come again.
    Commit(Vec<u8>),
}

impl Said {
    /// What a line says.
    ///
    /// # Panics
    /// If it says nothing.
    #[must_use]
    pub fn parse(line: &str) -> Self {
        let words: Vec<_> = line.split(' ').collect();
        let bytes = |hex: &str| HEXLOWER.decode(hex.as_bytes()).unwrap();
        match words.as_slice() {
            ["sent", epoch, generation, message] => {
                Self::Sent(epoch.parse().unwrap(), generation.parse().unwrap(), bytes(message))
            }
            ["commit", commit] => Self::Commit(bytes(commit)),
            _ => panic!("the child says {line}"),
        }
    }

    fn line(&self) -> String {
        match self {
            Self::Sent(epoch, generation, message) => {
                format!("sent {epoch} {generation} {}\n", HEXLOWER.encode(message))
            }
            Self::Commit(commit) => format!("commit {}\n", HEXLOWER.encode(commit)),
        }
    }
}

/// Alice's keep in `directory`.
///
/// # Errors
/// As opening has.
pub async fn open(adapter: Adapter, directory: &Path) -> Result<PersistenceManager> {
    let backend = adapter.open(&adapter.path(directory, "alice"))?;
    PersistenceManager::builder_shared(backend).encryption(encryption()).open().await
}

/// Makes alice and her group in `directory`, and bob, who is only in memory.
///
/// # Errors
/// As the adapter has.
///
/// # Panics
/// If OpenMLS fails.
pub async fn begin(adapter: Adapter, directory: &Path) -> Result<(Client, GroupId)> {
    let manager = open(adapter, directory).await?;
    // A letter may come when its epoch is over.
    let settings = GroupSettings::new().max_past_epochs(8);
    let mut alice = manager.client_builder("alice").settings(settings).create().await?;
    let mut bob = Client::builder("bob").create().await?;
    let group = alice.create_group("tea").await?;
    let package = bob.key_package().await?.to_bytes().unwrap();
    let welcome = alice.commit_at_once(&group, Change::new().invite([package])).await?.welcome.unwrap();
    bob.join(welcome).await?;
    manager.close().await?;
    Ok((bob, group))
}

/// Alice at work.
pub struct Sender<W> {
    client: Client,
    group: GroupId,
    way: Way,
    saved: Instant,
    mail: Mail,
    /// The last letter that was read.
    read: u64,
    /// Letters that a save has to cover before they go.
    waiting: Vec<(SaveNumber, u64)>,
    output: W,
}

impl<W: Write> Sender<W> {
    /// Loads alice.
    ///
    /// # Errors
    /// As opening has.
    pub async fn open(adapter: Adapter, directory: &Path, way: Way, output: W) -> Result<Self> {
        let manager = open(adapter, directory).await?;
        let mut client = manager.load_client_state_saving("alice", way.policy()).await?;
        let group = client.groups().await?.remove(0).0;
        let mail = Mail::open(directory, "alice");
        let saved = Instant::now();
        let mut sender = Self { client, group, way, saved, mail, read: 0, waiting: Vec::new(), output };
        if let Some(pending) = sender.client.pending(&sender.group).await? {
            sender.confirm(pending.commit).await?;
        }
        Ok(sender)
    }

    /// Does something.
    ///
    /// # Errors
    /// As the client has.
    pub async fn step(&mut self, random: &mut Random) -> Result<()> {
        match random.below(100) {
            0..80 => {
                let content = format!("{:x}", random.bits());
                let message = self.client.send(&self.group, content).await?.to_bytes().unwrap();
                let (epoch, generation) = last_generation(&mut self.client, &self.group);
                self.say(&Said::Sent(epoch, generation, message));
            }
            80..95 => self.read_letter().await.map(drop)?,
            95..97 => {
                while self.read_letter().await? {}
                let staged = self.client.stage(&self.group, Change::new().update()).await?;
                self.confirm(staged.commit).await?;
            }
            97..98 => self.client.close().await?,
            98..99 => self.client.save().await?,
            _ => drop(self.client.save_if_due().await?),
        }
        if self.way == Way::Unreserved && self.saved.elapsed() >= EVERY {
            self.client.save().await?;
            self.saved = Instant::now();
        }
        self.acknowledge();
        Ok(())
    }

    async fn confirm(&mut self, commit: Vec<u8>) -> Result<()> {
        self.save_at_once().await?;
        self.say(&Said::Commit(commit));
        self.client.confirm(&self.group).await?;
        self.save_at_once().await
    }

    /// What is not a message waits for no save. The saboteur is wrong about messages alone.
    async fn save_at_once(&mut self) -> Result<()> {
        match self.way {
            Way::Interval => Ok(()),
            Way::Unreserved => self.client.save().await,
        }
    }

    async fn read_letter(&mut self) -> Result<bool> {
        let Some((number, Letter::Message(message))) = self.mail.behind(self.read).into_iter().next() else {
            return Ok(false);
        };
        self.client.receive(message).await?;
        self.waiting.push((self.client.covered_by(), number));
        self.read = number;
        Ok(true)
    }

    /// Takes out of the mail what is durable.
    fn acknowledge(&mut self) {
        let through = self.client.saved_through();
        let (durable, waiting) = std::mem::take(&mut self.waiting).into_iter().partition(|(save, _)| *save <= through);
        self.waiting = waiting;
        let durable: Vec<(SaveNumber, u64)> = durable;
        for (_, number) in durable {
            self.mail.remove(number);
        }
    }

    /// One write for a line, so that the reader never sees half of one that counts.
    fn say(&mut self, said: &Said) {
        self.output.write_all(said.line().as_bytes()).and_then(|()| self.output.flush()).expect("the parent listens");
    }
}
