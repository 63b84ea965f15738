//! What the three live through.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use mls_keep::openmls::group::GroupId;
use mls_keep::{Change, CommitSummary, Entropy, ErrorKind, Received, SystemEntropy};

use super::ground::Ground;
use super::ledger::Ledger;
use super::person::Person;
use crate::commands::to_bytes;
use crate::failure::{Failure, Result};
use crate::{printed, progress};

const ALICE: usize = 0;
const BOB: usize = 1;
const CAROL: usize = 2;

/// Rounds in which all three speak, before and after carol is away.
const ROUNDS_OF_THREE: usize = 40;
/// Rounds in which two speak.
const ROUNDS_OF_TWO: usize = 20;
/// Rounds between two renewals of keys.
const UPDATE_EVERY: usize = 8;

pub(super) struct Story {
    ground: Ground,
    people: [Person; 3],
    group: GroupId,
    ledger: Ledger,
    /// The delivery service's files: one commit for each epoch.
    service: PathBuf,
    /// Stands in every text, and nowhere else in the world.
    mark: String,
    texts: usize,
    bar: ProgressBar,
}

impl Story {
    /// Lives through all of it, in `directory`.
    pub(super) async fn tell(ground: Ground, directory: &Path) -> Result<Ledger> {
        let mut story = Self::begin(ground, directory).await?;
        story.talk(ROUNDS_OF_THREE).await?;
        story.remove_carol().await?;
        story.talk(ROUNDS_OF_TWO).await?;
        story.invite(CAROL).await?;
        story.talk(ROUNDS_OF_THREE).await?;
        story.check(directory).await?;
        Ok(story.ledger)
    }

    /// Three clients, and a group with all of them.
    async fn begin(ground: Ground, directory: &Path) -> Result<Self> {
        let mut ledger = Ledger::default();
        let mut mark = [0; 8];
        SystemEntropy.fill(&mut mark)?;
        let mark = printed::hex(&mark);
        let ground = ground.apart(&mark);
        let mut alice = Person::create(&ground, directory, "alice", &mut ledger).await?;
        let bob = Person::create(&ground, directory, "bob", &mut ledger).await?;
        let carol = Person::create(&ground, directory, "carol", &mut ledger).await?;
        let group = alice.act(&mut ledger, "create group", async |alice| alice.create_group("tea").await).await?;
        alice.is_member = true;
        let messages = 2 * 3 * ROUNDS_OF_THREE + 2 * ROUNDS_OF_TWO;
        let mut story = Self {
            ground,
            people: [alice, bob, carol],
            group,
            ledger,
            service: directory.join("service"),
            mark,
            texts: 0,
            bar: progress::bar(messages as u64, "messages"),
        };
        fs::create_dir_all(&story.service).map_err(|error| no_service(&error))?;
        story.invite(BOB).await?;
        story.invite(CAROL).await?;
        Ok(story)
    }

    /// Everybody who is a member speaks in turn; somebody restarts in every round.
    async fn talk(&mut self, rounds: usize) -> Result<()> {
        for round in 0..rounds {
            for speaker in [ALICE, BOB, CAROL] {
                if self.person(speaker)?.is_member {
                    self.say(speaker, round).await?;
                    self.bar.inc(1);
                }
            }
            let tired = round % self.people.len();
            let (person, ledger) = self.acting(tired)?;
            person.restart(ledger).await?;
            if round % UPDATE_EVERY == UPDATE_EVERY - 1 && self.person(tired)?.is_member {
                self.update(tired).await?;
            }
        }
        Ok(())
    }

    async fn say(&mut self, speaker: usize, round: usize) -> Result<()> {
        self.texts += 1;
        let group = self.group.clone();
        let (texts, mark) = (self.texts, self.mark.clone());
        let (person, ledger) = self.acting(speaker)?;
        let name = person.name;
        let text = format!("{mark}: {name} says in round {round} that this is text {texts}, and hopes for an answer");
        let message = person.act(ledger, "send", async |client| client.send(&group, &text).await).await?;
        person.heard.push((name, text.clone()));
        let bytes = to_bytes(&message)?;
        for listener in self.others(speaker) {
            let heard = self.receive(listener, "receive message", &bytes).await?;
            let same = matches!(&heard, Received::Message(message)
                if message.content == text.as_bytes() && message.sender == name.as_bytes());
            self.expect(same, "a message says something else than was sent")?;
            let again = texts % 10 == 0;
            let (person, ledger) = self.acting(listener)?;
            person.heard.push((name, text.clone()));
            if again {
                let repeated = person.act(ledger, "receive again", async |client| client.receive(&bytes).await).await?;
                let same = matches!(&repeated, Received::AlreadyReceived(Some(message))
                    if message.content == text.as_bytes());
                self.expect(same, "a message that came twice was not recognised")?;
            }
        }
        Ok(())
    }

    /// Somebody renews their keys, and so does another at the same time: the delivery service refuses the later commit.
    async fn update(&mut self, who: usize) -> Result<()> {
        let group = self.group.clone();
        let other = self.others(who).into_iter().next().unwrap_or(who);
        let (person, ledger) = self.acting(other)?;
        let late =
            person.act(ledger, "update", async |client| client.stage(&group, Change::new().update()).await).await?;
        self.commit(who, "update", Change::new().update(), Some(other)).await?;
        let refused = !self.take(late.epoch, &late.commit)?;
        let pending = self.person(other)?.client()?.pending(&group).await?;
        self.expect(refused && pending.is_none(), "the delivery service took two commits for one epoch")
    }

    /// Stages a commit, gives it to the delivery service, and merges it when that has taken it. Everybody else receives it,
    /// also the one whose own commit was later. Returns the Welcome.
    async fn commit(
        &mut self,
        who: usize,
        operation: &'static str,
        change: Change,
        later: Option<usize>,
    ) -> Result<Option<Vec<u8>>> {
        let group = self.group.clone();
        let (person, ledger) = self.acting(who)?;
        let staged = person.act(ledger, operation, async |client| client.stage(&group, change).await).await?;
        let taken = self.take(staged.epoch, &staged.commit)?;
        self.expect(taken, "the delivery service refused the first commit of an epoch")?;
        let (person, ledger) = self.acting(who)?;
        person.act(ledger, "confirm", async |client| client.confirm(&group).await).await?;
        for listener in self.others(who) {
            let received = self.receive(listener, "receive commit", &staged.commit).await?;
            let drops = Some(listener) == later;
            let same =
                matches!(received, Received::Commit(CommitSummary { drops_staged, .. }) if drops_staged == drops);
            self.expect(same, "a commit was taken for something else")?;
        }
        Ok(staged.welcome)
    }

    /// Whether the delivery service takes a commit: it is the first one of its epoch, or the one that it took.
    fn take(&self, epoch: u64, commit: &[u8]) -> Result<bool> {
        let path = self.service.join(format!("{epoch}.commit"));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(mut file) => file.write_all(commit).map(|()| true).map_err(|error| no_service(&error)),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Ok(fs::read(&path).map_err(|error| no_service(&error))? == commit)
            }
            Err(error) => Err(no_service(&error)),
        }
    }

    /// Alice invites somebody, who joins.
    async fn invite(&mut self, guest: usize) -> Result<()> {
        let group = self.group.clone();
        let (person, ledger) = self.acting(guest)?;
        let key_package = person.act(ledger, "key package", async |client| client.key_package().await).await?;
        let key_package = to_bytes(&key_package)?;
        let welcome =
            self.commit(ALICE, "invite", Change::new().invite([key_package]), None).await?.unwrap_or_default();
        let (person, ledger) = self.acting(guest)?;
        person.restart(ledger).await?;
        let joined = person.act(ledger, "join", async |client| client.join(welcome).await).await?;
        person.is_member = true;
        self.expect(joined.id == group && joined.name == "tea", "the Welcome led into another group")
    }

    /// Alice removes carol, who must not read on.
    async fn remove_carol(&mut self) -> Result<()> {
        let group = self.group.clone();
        self.commit(ALICE, "remove", Change::new().remove("carol"), None).await?;
        self.person(CAROL)?.is_member = false;
        let carol = self.person(CAROL)?.client()?;
        let silenced = carol.send(&group, "let me in").await.is_err();
        self.ledger.check("a removed member cannot send", silenced);

        let mark = self.mark.clone();
        let (alice, ledger) = self.acting(ALICE)?;
        let text = format!("{mark}: carol cannot read this");
        let message = alice.act(ledger, "send", async |client| client.send(&group, &text).await).await?;
        alice.heard.push(("alice", text.clone()));
        let bytes = to_bytes(&message)?;
        self.receive(BOB, "receive message", &bytes).await?;
        self.person(BOB)?.heard.push(("alice", text));
        let deaf = self.person(CAROL)?.client()?.receive(&bytes).await.is_err();
        self.ledger.check("a removed member cannot read", deaf);
        Ok(())
    }

    async fn receive(&mut self, listener: usize, operation: &'static str, message: &[u8]) -> Result<Received> {
        let (person, ledger) = self.acting(listener)?;
        person.act(ledger, operation, async |client| client.receive(message).await).await
    }

    /// What must be true in the end, of clients that have just been opened from disk.
    async fn check(&mut self, directory: &Path) -> Result<()> {
        self.bar.finish_and_clear();
        let group = self.group.clone();
        let mut secrets = Vec::new();
        let mut epochs = Vec::new();
        for person in &mut self.people {
            person.restart(&mut self.ledger).await?;
            let client = person.client()?;
            epochs.push(client.group(&group).await?.epoch);
            secrets.push(client.export_secret(&group, "mls-keep demo", b"", 32).await?);
            let history = client.history(&group, usize::MAX).await?;
            let same = history.len() == person.heard.len()
                && history.iter().zip(&person.heard).all(|(message, (sender, text))| {
                    message.sender == sender.as_bytes() && message.content == text.as_bytes()
                });
            self.ledger.check(format!("{}'s history has all {} messages", person.name, history.len()), same);
        }
        let same = secrets.windows(2).all(|pair| pair.first() == pair.last());
        let epoch = epochs.first().copied().unwrap_or_default();
        let what = format!("alice, bob and carol hold the same exporter secret in epoch {epoch}");
        self.ledger.check(what, same && epochs.iter().all(|other| *other == epoch));
        for person in &mut self.people {
            let store = person.client()?.store().ok_or_else(|| Failure::defect("the demo: a client without a keep"))?;
            let found = store.verify(&mut |_| ()).await?;
            let nodes = found.statistics.nodes;
            self.ledger.check(format!("{}'s keep verifies: {nodes} nodes", person.name), found.is_sound());
        }
        self.look_for_plaintext(directory, "open").await?;
        for person in &mut self.people {
            person.close(&mut self.ledger).await?;
        }
        self.look_for_plaintext(directory, "closed").await?;
        let stores: Vec<_> = self.people.iter().map(|person| &person.store).collect();
        self.ground.clear(&stores).await
    }

    /// Every text begins with the mark, so a file without it has none of them.
    async fn look_for_plaintext(&mut self, directory: &Path, state: &str) -> Result<()> {
        let more = "hopes for an answer";
        let stores: Vec<_> = self.people.iter().map(|person| &person.store).collect();
        let found = self.ground.scan(directory, &stores, &[self.mark.clone(), more.to_owned()]).await?;
        let what = format!(
            "no text that was sent stands in the {} files or values ({} bytes) of the {state} keeps",
            found.files, found.bytes
        );
        self.ledger.check(what, found.leaks.is_empty() && found.stores == self.people.len());
        Ok(())
    }

    fn others(&self, from: usize) -> Vec<usize> {
        let members = self.people.iter().enumerate().filter(|(_, person)| person.is_member);
        members.map(|(at, _)| at).filter(|at| *at != from).collect()
    }

    fn person(&mut self, at: usize) -> Result<&mut Person> {
        Ok(self.acting(at)?.0)
    }

    fn acting(&mut self, at: usize) -> Result<(&mut Person, &mut Ledger)> {
        let person = self.people.get_mut(at).ok_or_else(|| Failure::defect("the demo: nobody is there"))?;
        Ok((person, &mut self.ledger))
    }

    fn expect(&self, holds: bool, otherwise: &str) -> Result<()> {
        if holds {
            return Ok(());
        }
        Err(Failure::new(ErrorKind::Internal, otherwise, "This is a defect of mls-keep: please report it."))
    }
}

fn no_service(error: &std::io::Error) -> Failure {
    let what = format!("the demo's delivery service has no files: {error}");
    Failure::new(ErrorKind::Unavailable, what, "Look at the disk, then run the command again.")
}
