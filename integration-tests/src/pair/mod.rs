//! [`Pair`]: two clients, each in a store of its own, that talk through a directory of letters.
//!
//! What they do next follows from what is stored, so a process that opens them after a kill can go on.

mod action;
mod oracle;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mls_keep::openmls::group::GroupId;
use mls_keep::{Change, Client, ErrorKind, GroupSettings, Message, PersistenceManager, Received, Result};

pub use action::{Action, Who};
pub use oracle::Oracle;

use crate::adapter::Adapter;
use crate::mail::{Letter, Mail};
use crate::random::Random;
use crate::store::encryption;

/// The group that stays.
pub const MAIN: &str = "main";

/// The group that comes and goes.
const SIDE: &str = "side";

/// Two clients of one directory.
pub struct Pair {
    adapter: Adapter,
    directory: PathBuf,
    members: [Option<Member>; 2],
    mail: [Mail; 2],
    /// Bob's key package, until alice uses it.
    key_package: Option<Vec<u8>>,
}

/// A client and what it is in.
pub struct Member {
    /// Its keep.
    pub manager: PersistenceManager,
    /// Itself.
    pub client: Client,
    /// The number of the next text.
    texts: usize,
}

/// A group as one of the two sees it.
#[derive(Clone, Debug)]
struct Seen {
    id: GroupId,
    epoch: u64,
    members: usize,
    active: bool,
}

impl Pair {
    /// Opens what is in `directory`, with the stores of `adapter`.
    ///
    /// # Errors
    /// As opening has.
    pub async fn open(adapter: Adapter, directory: &Path) -> Result<Self> {
        let mail = Who::BOTH.map(|who| Mail::open(directory, who.name()));
        let directory = directory.to_path_buf();
        let mut pair = Self { adapter, directory, members: [None, None], mail, key_package: None };
        for who in Who::BOTH {
            if !pair.path(who).exists() {
                continue;
            }
            let manager = pair.open_keep(who).await?;
            match manager.load_client_state(who.name()).await {
                Ok(client) => pair.enter(who, manager, client).await?,
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(pair)
    }

    /// One of the two, if there.
    pub fn member(&mut self, who: Who) -> Option<&mut Member> {
        self.members[who as usize].as_mut()
    }

    /// Whether both are in the main group.
    ///
    /// # Errors
    /// As reading has.
    pub async fn is_set_up(&mut self) -> Result<bool> {
        Ok(match self.member(Who::Bob) {
            Some(bob) => bob.groups().await?.contains_key(MAIN),
            None => false,
        })
    }

    /// What comes next.
    ///
    /// # Errors
    /// As reading has.
    pub async fn choose(&mut self, random: &mut Random) -> Result<Action> {
        for who in Who::BOTH {
            if self.member(who).is_none() {
                return Ok(Action::Create(who));
            }
        }
        let groups = self.groups().await?;
        let Some(main) = groups[0].get(MAIN) else { return Ok(Action::CreateGroup(MAIN.into())) };
        if main.epoch == 0 {
            return Ok(self.invite(MAIN));
        }
        let mut choices = Vec::new();
        let quiet = self.is_quiet().await?;
        for who in Who::BOTH {
            if !self.mail[who as usize].is_empty() {
                choices.extend(std::iter::repeat_n(Action::Receive(who), 4));
            }
            if self.has_outgoing(who).await? {
                choices.extend(std::iter::repeat_n(Action::Post(who), 4));
            }
        }
        if !groups[1].contains_key(MAIN) {
            return Ok(choices.swap_remove(random.below(choices.len())));
        }
        for who in Who::BOTH {
            let text = self.next_text(who);
            choices.push(Action::Send(who, MAIN.into(), text.clone()));
            if groups.iter().all(|seen| seen.get(SIDE).is_some_and(|side| side.active && side.members == 2)) {
                choices.push(Action::Send(who, SIDE.into(), text));
            }
            if quiet {
                let update = Action::Update(who, groups[who as usize][MAIN].epoch + 1);
                choices.extend(std::iter::repeat_n(update, 2));
            }
        }
        if let Some(next) = self.next_of_side(&groups, quiet) {
            choices.extend(std::iter::repeat_n(next, 4));
        }
        Ok(choices.swap_remove(random.below(choices.len())))
    }

    /// Does it. Returns what else is to be told: of a message that was received, its group and text.
    ///
    /// # Errors
    /// As the clients have.
    ///
    /// # Panics
    /// If what was chosen cannot be done.
    pub async fn perform(&mut self, action: &Action) -> Result<String> {
        match action {
            Action::Create(who) => {
                let manager = self.open_keep(*who).await?;
                let settings = GroupSettings::new().max_past_epochs(2);
                let client = manager.client_builder(who.name()).settings(settings).create().await?;
                self.enter(*who, manager, client).await?;
            }
            Action::CreateGroup(name) => drop(self.client(Who::Alice).create_group(name).await?),
            Action::KeyPackage => {
                let package = self.client(Who::Bob).key_package().await?;
                self.key_package = Some(package.to_bytes().unwrap());
            }
            Action::Invite(name) => {
                let group = self.id(Who::Alice, name).await?;
                let package = self.key_package.take().expect("a key package is made before");
                self.client(Who::Alice).commit_at_once(&group, Change::new().invite([package])).await?;
            }
            Action::Send(who, name, text) => {
                let group = self.id(*who, name).await?;
                self.client(*who).send(&group, text).await?;
                self.member(*who).unwrap().texts += 1;
            }
            Action::Receive(who) => return self.receive(*who).await,
            Action::Post(who) => self.post(*who).await?,
            Action::Update(who, _) => {
                let group = self.id(*who, MAIN).await?;
                self.client(*who).commit_at_once(&group, Change::new().update()).await?;
            }
            Action::Remove(name) => {
                let group = self.id(Who::Alice, name).await?;
                self.client(Who::Alice).commit_at_once(&group, Change::new().remove(Who::Bob.name())).await?;
            }
            Action::Forget(who, name) => {
                let group = self.id(*who, name).await?;
                self.client(*who).forget_group(&group).await?;
            }
        }
        Ok(String::new())
    }

    /// Lets every letter arrive.
    ///
    /// # Errors
    /// As the clients have.
    pub async fn deliver_all(&mut self) -> Result<()> {
        while !self.is_quiet().await? {
            for who in Who::BOTH {
                self.post(who).await?;
                while !self.mail[who as usize].is_empty() {
                    self.receive(who).await?;
                }
            }
        }
        Ok(())
    }

    /// The messages of the main group, as one of the two has them.
    ///
    /// # Errors
    /// As reading has.
    pub async fn history(&mut self, who: Who) -> Result<Vec<Message>> {
        match self.id(who, MAIN).await {
            Ok(main) => self.client(who).history(&main, usize::MAX).await,
            Err(_) => Ok(Vec::new()),
        }
    }

    /// The group of this name.
    ///
    /// # Errors
    /// `NotFound` if there is none.
    pub async fn id(&mut self, who: Who, name: &str) -> Result<GroupId> {
        let groups = match self.member(who) {
            Some(member) => member.groups().await?,
            None => BTreeMap::new(),
        };
        let missing = || mls_keep::Error::new(ErrorKind::NotFound, "there is no group of this name");
        groups.get(name).map(|seen| seen.id.clone()).ok_or_else(missing)
    }

    /// A text that was not sent before.
    pub fn next_text(&mut self, who: Who) -> String {
        format!("{}{}", who.name(), self.member(who).map_or(0, |member| member.texts))
    }

    fn next_of_side(&self, groups: &[BTreeMap<String, Seen>; 2], quiet: bool) -> Option<Action> {
        let [alice, bob] = groups.each_ref().map(|seen| seen.get(SIDE));
        match (alice, bob) {
            (None, None) => Some(Action::CreateGroup(SIDE.into())),
            (Some(alice), None) if alice.epoch == 0 => Some(self.invite(SIDE)),
            (Some(alice), None) if alice.members == 1 && quiet => Some(Action::Forget(Who::Alice, SIDE.into())),
            (Some(alice), Some(_)) if alice.members == 2 && quiet => Some(Action::Remove(SIDE.into())),
            (_, Some(bob)) if !bob.active && quiet => Some(Action::Forget(Who::Bob, SIDE.into())),
            _ => None,
        }
    }

    fn invite(&self, name: &str) -> Action {
        match self.key_package {
            Some(_) => Action::Invite(name.into()),
            None => Action::KeyPackage,
        }
    }

    async fn receive(&mut self, who: Who) -> Result<String> {
        let (number, letter) = self.mail[who as usize].first().expect("there is a letter");
        let mut told = String::new();
        match letter {
            Letter::Message(message) => {
                if let Received::Message(message) = self.client(who).receive(&message).await? {
                    let main = self.id(who, MAIN).await?;
                    let name = if message.group == main { MAIN } else { SIDE };
                    told = format!(" {name} {}", String::from_utf8_lossy(&message.content));
                }
            }
            Letter::Welcome(welcome) => {
                let before = self.member(who).unwrap().groups().await?.len();
                match self.client(who).join(&welcome).await {
                    // It was joined before a kill.
                    Err(error) if error.kind() == ErrorKind::Aborted && before > 0 => {}
                    other => drop(other?),
                }
            }
        }
        self.mail[who as usize].remove(number);
        Ok(told)
    }

    async fn post(&mut self, who: Who) -> Result<()> {
        for seen in self.member(who).unwrap().groups().await?.into_values() {
            for outgoing in self.client(who).outbox(&seen.id).await? {
                let mail = &self.mail[who.other() as usize];
                match (outgoing.welcome, outgoing.message) {
                    // The commit that invites the only other member is for nobody.
                    (Some(welcome), _) => mail.put(&Letter::Welcome(welcome)),
                    (None, Some(message)) => mail.put(&Letter::Message(message)),
                    (None, None) => {}
                }
                self.client(who).delivered(&seen.id, outgoing.number).await?;
            }
        }
        Ok(())
    }

    async fn is_quiet(&mut self) -> Result<bool> {
        let outgoing = self.has_outgoing(Who::Alice).await? || self.has_outgoing(Who::Bob).await?;
        Ok(!outgoing && self.mail.iter().all(Mail::is_empty))
    }

    async fn has_outgoing(&mut self, who: Who) -> Result<bool> {
        let Some(member) = self.member(who) else { return Ok(false) };
        for seen in member.groups().await?.values() {
            if !member.client.outbox(&seen.id).await?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn groups(&mut self) -> Result<[BTreeMap<String, Seen>; 2]> {
        let mut groups = [BTreeMap::new(), BTreeMap::new()];
        for who in Who::BOTH {
            if let Some(member) = self.member(who) {
                groups[who as usize] = member.groups().await?;
            }
        }
        Ok(groups)
    }

    fn client(&mut self, who: Who) -> &mut Client {
        &mut self.members[who as usize].as_mut().expect("a client is made first").client
    }

    async fn open_keep(&self, who: Who) -> Result<PersistenceManager> {
        let backend = self.adapter.open(&self.path(who))?;
        PersistenceManager::builder_shared(backend).encryption(encryption()).open().await
    }

    async fn enter(&mut self, who: Who, manager: PersistenceManager, mut client: Client) -> Result<()> {
        client.set_outbox(true);
        let mut member = Member { manager, client, texts: 0 };
        if let Some(main) = member.groups().await?.get(MAIN) {
            let history = member.client.history(&main.id, usize::MAX).await?;
            let numbers = history.iter().filter(|message| message.own).filter_map(|message| {
                String::from_utf8_lossy(&message.content).strip_prefix(who.name())?.parse::<usize>().ok()
            });
            member.texts = numbers.max().map_or(0, |newest| newest + 1);
        }
        self.members[who as usize] = Some(member);
        Ok(())
    }

    fn path(&self, who: Who) -> PathBuf {
        self.adapter.path(&self.directory, who.name())
    }
}

impl Member {
    async fn groups(&mut self) -> Result<BTreeMap<String, Seen>> {
        let mut groups = BTreeMap::new();
        for (id, name) in self.client.groups().await? {
            let group = self.client.group(&id).await?;
            let seen = Seen { id, epoch: group.epoch, members: group.members, active: group.is_active };
            assert!(groups.insert(name, seen).is_none(), "two groups of one name");
        }
        Ok(groups)
    }
}
