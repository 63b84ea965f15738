//! Members who lose letters for good, are removed, and enter the group again by external commits, in any order, with lost
//! answers and kills: in the end all are members, once each, in the same epoch, and no message was sent under a key of
//! another one.

use std::sync::atomic::Ordering;

use futures_executor::block_on;
use mls_keep::openmls::group::GroupId;
use mls_keep::{Change, ErrorKind, JoinOptions, Received, Result, StorageBackend};

use super::world::{
    AFTER, BEFORE, Happened, Image, MEMBERS, Process, Random, STEPS, Service, beginning, first_seed, many,
};

static HAPPENED: Happened = Happened::nothing();

/// Of a saboteur.
static SABOTAGE: Happened = Happened::nothing();

/// What the first member does wrong.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Way {
    Right,
    /// It confirms an entry before the service has taken it.
    EntersEarly,
    /// It goes on from a copy of its store.
    PutsACopyBack,
}

/// What became of a letter, for one member.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Fate {
    Waits,
    /// It may have been taken in: the process was killed meanwhile.
    Tried,
    Done,
    /// The service has lost it.
    Lost,
}

struct Member {
    process: Process,
    way: Way,
    fates: Vec<Fate>,
    copy: Image,
    /// Its own letters, by their bytes.
    own: Vec<Vec<u8>>,
    /// What must not happen.
    wrong: Option<String>,
}

impl Member {
    fn load(number: usize, image: &Image, way: Way) -> Self {
        let (way, happened) = if number == 0 { (way, &HAPPENED) } else { (Way::Right, &HAPPENED) };
        let happened = if way == Way::Right { happened } else { &SABOTAGE };
        let (fates, own, wrong) = Default::default();
        Self { process: Process::load(number, image, happened), way, fates, copy: image.clone(), own, wrong }
    }

    fn note(&self, what: &'static str) {
        if self.way == Way::Right {
            HAPPENED.note(what);
        }
    }

    fn epoch(&mut self, group: &GroupId) -> u64 {
        block_on(self.process.client.group(group)).unwrap().epoch
    }

    fn is_active(&mut self, group: &GroupId) -> bool {
        block_on(self.process.client.group(group)).unwrap().is_active
    }

    /// Of a call that may be out of place.
    fn allow<T>(&mut self, result: Option<Result<T>>, kinds: &[ErrorKind]) -> Option<T> {
        match result? {
            Ok(done) => Some(done),
            Err(error) if kinds.contains(&error.kind()) => None,
            Err(error) => {
                self.wrong = Some(format!("{} fails: {error:?}", self.process.name));
                None
            }
        }
    }

    fn commit(&mut self, group: &GroupId, removed: Option<String>) {
        let change = match removed {
            Some(name) if name != self.process.name => Change::new().remove(name),
            _ => Change::new().update(),
        };
        let staged = self.process.run(async |client| client.stage(group, change).await);
        self.allow(staged, &[ErrorKind::CommitPending, ErrorKind::NotMember, ErrorKind::NotFound]);
    }

    fn send(&mut self, group: &GroupId, text: &str) {
        let sent = self.process.run(async |client| client.send(group, text).await);
        self.allow(sent, &[ErrorKind::NotMember]);
    }

    /// Enters anew, with what another member says of the group.
    fn enter(&mut self, group: &GroupId, info: &[u8]) {
        let entered = self.process.run(async |client| client.stage_entry(info, JoinOptions::new()).await);
        if self.allow(entered, &[ErrorKind::CommitPending]).is_some() {
            self.note("entry staged");
            if self.way == Way::EntersEarly {
                let early = self.process.run(async |client| client.confirm(group).await);
                self.allow(early, &[]);
            }
        }
    }

    /// Gives the service what is to be sent. Its answer may be lost.
    fn deliver(&mut self, group: &GroupId, service: &mut Service, random: &mut Random) {
        for outgoing in block_on(self.process.client.outbox(group)).unwrap() {
            let Some(message) = outgoing.message.filter(|_| !outgoing.is_staged) else { continue };
            self.own.push(message.clone());
            service.post(&message);
            if random.one_in(4) {
                return;
            }
            let delivered = self.process.run(async |client| client.delivered(group, outgoing.number).await);
            self.allow(delivered, &[]);
        }
        let Some(made) = block_on(self.process.client.pending(group)).unwrap() else { return };
        self.own.push(made.commit.clone());
        let taken = service.take_commit(&made);
        match random.below(4) {
            0 => {}
            _ if taken => {
                self.note("confirmed");
                let confirmed = self.process.run(async |client| client.confirm(group).await);
                self.allow(confirmed, &[]);
            }
            _ => {
                self.note("rejected");
                let rejected = self.process.run(async |client| client.reject(group).await);
                self.allow(rejected, &[]);
            }
        }
    }

    fn receive(&mut self, group: &GroupId, service: &Service, number: usize) {
        let letter = &service.letters[number];
        let received = self.process.run(async |client| client.receive(letter).await);
        let fate = self.fates[number];
        self.fates[number] = match &received {
            None if fate == Fate::Waits => Fate::Tried,
            None => fate,
            // It is not done with what belongs to an epoch to come.
            Some(Err(error)) if error.kind() == ErrorKind::FutureEpoch => fate,
            Some(_) => Fate::Done,
        };
        match received {
            Some(Ok(Received::AlreadyReceived(_) | Received::Own { .. }))
                if fate == Fate::Waits && !self.own.contains(letter) =>
            {
                self.wrong = Some(format!("{}: the key of letter {number} was used before", self.process.name));
            }
            Some(Ok(Received::Commit(summary))) => self.note(if summary.removes_self { "removed" } else { "commit" }),
            Some(Ok(Received::Held { .. })) => self.note("held"),
            received => {
                let over = [ErrorKind::PastEpoch, ErrorKind::NotMember, ErrorKind::FutureEpoch];
                self.allow(received, &over);
            }
        }
        let held = self.process.run(async |client| client.receive_held(group).await);
        for held in self.allow(held, &[]).unwrap_or_default() {
            self.allow(Some(held), &[ErrorKind::PastEpoch, ErrorKind::NotMember]);
        }
    }

    /// Starts again, the saboteur from the copy.
    fn restart(&mut self) {
        if self.way == Way::PutsACopyBack {
            let name = self.process.name.parse().unwrap();
            self.process = Process::load(name, &self.copy, &SABOTAGE);
        } else {
            self.process.restart();
        }
    }

    fn take_copy(&mut self) {
        let store = &self.process.store.inner;
        let keys = block_on(store.list("")).unwrap();
        let values = block_on(store.load_many(&keys)).unwrap();
        self.copy = keys.into_iter().zip(values.into_iter().flatten()).collect();
    }
}

/// What is wrong in the end.
fn run(seed: u64, (images, group): &(Vec<Image>, GroupId), way: Way) -> std::result::Result<(), String> {
    let (mut random, mut service) = (Random(seed), Service::default());
    let mut members: Vec<_> = images.iter().enumerate().map(|(at, image)| Member::load(at, image, way)).collect();
    for step in 0..STEPS {
        let at = random.below(MEMBERS);
        let other = random.below(MEMBERS);
        if random.one_in(8) {
            let kill = if random.one_in(2) { BEFORE } else { AFTER };
            members[at].process.store.kill.store(kill, Ordering::Relaxed);
        }
        let member = &mut members[at];
        member.fates.resize(service.letters.len(), Fate::Waits);
        match random.below(20) {
            0..=2 => member.commit(group, random.one_in(2).then(|| other.to_string())),
            3..=6 => member.deliver(group, &mut service, &mut random),
            7..=9 => member.send(group, &format!("{step} of {at}")),
            10 => member.restart(),
            11 if way == Way::PutsACopyBack => member.take_copy(),
            12..=13 if other != at => {
                if let Some(info) = info(&mut members[other], group) {
                    members[at].enter(group, &info);
                }
            }
            _ if service.letters.is_empty() => {}
            14 => {
                let number = random.below(service.letters.len());
                if member.fates[number] == Fate::Waits {
                    member.note("lost");
                    member.fates[number] = Fate::Lost;
                }
            }
            _ => {
                let number = random.below(service.letters.len());
                if member.fates[number] != Fate::Lost {
                    member.receive(group, &service, number);
                }
            }
        }
        if let Some(wrong) = members.iter().find_map(|member| member.wrong.clone()) {
            return Err(wrong);
        }
    }
    settle(&mut members, group, &mut service, &mut random)
}

/// What a member says of the group to those who want to enter, if it is one.
fn info(member: &mut Member, group: &GroupId) -> Option<Vec<u8>> {
    member.process.store.kill.store(0, Ordering::Relaxed);
    block_on(member.process.client.group_info(group, true)).ok()
}

/// The day ends: all answers and all letters that are not lost arrive, and those who are no members enter.
fn settle(
    members: &mut [Member],
    group: &GroupId,
    service: &mut Service,
    random: &mut Random,
) -> std::result::Result<(), String> {
    const ROUNDS: usize = 60;
    for _ in 0..ROUNDS {
        for member in members.iter_mut() {
            member.process.store.kill.store(0, Ordering::Relaxed);
            member.deliver(group, service, random);
            member.fates.resize(service.letters.len(), Fate::Waits);
            for number in 0..service.letters.len() {
                if matches!(member.fates[number], Fate::Waits | Fate::Tried) {
                    member.receive(group, service, number);
                }
            }
        }
        if let Some(wrong) = members.iter().find_map(|member| member.wrong.clone()) {
            return Err(wrong);
        }
        let newest = service.commits.len() as u64 + 1;
        let stuck: Vec<_> = (0..members.len())
            .filter(|at| !members[*at].is_active(group) || members[*at].epoch(group) < newest)
            .collect();
        let Some(inside) = (0..members.len()).find(|at| !stuck.contains(at)) else { continue };
        let quiet = |member: &mut Member| {
            block_on(member.process.client.pending(group)).unwrap().is_none()
                && block_on(member.process.client.outbox(group)).unwrap().is_empty()
                && member.fates.iter().all(|fate| matches!(fate, Fate::Done | Fate::Lost))
        };
        if stuck.is_empty() && members.iter_mut().all(quiet) {
            return compare(members, group);
        }
        // One after the other: each makes a new epoch.
        if let Some(out) = stuck.first()
            && let Some(info) = info(&mut members[inside], group)
        {
            members[*out].enter(group, &info);
        }
    }
    Err("not all are in the same epoch in the end".to_owned())
}

fn compare(members: &mut [Member], group: &GroupId) -> std::result::Result<(), String> {
    let mut states = Vec::new();
    for member in members {
        let client = &mut member.process.client;
        let mut names: Vec<_> =
            block_on(client.members(group)).unwrap().into_iter().map(|member| member.identity).collect();
        names.sort();
        if names != (0..MEMBERS).map(|name| name.to_string().into_bytes()).collect::<Vec<_>>() {
            return Err(format!("the members are not each there once: {names:?}"));
        }
        let history = block_on(client.history(group, usize::MAX)).unwrap();
        let mut texts: Vec<_> = history.iter().map(|message| message.content.clone()).collect();
        texts.sort();
        if texts.windows(2).any(|texts| texts[0] == texts[1]) {
            return Err(format!("{} has read a message twice", member.process.name));
        }
        states.push(block_on(client.export_secret(group, "model", b"", 32)).unwrap());
    }
    match states.windows(2).all(|states| states[0] == states[1]) {
        true => Ok(()),
        false => Err("two members have different secrets in the same epoch".to_owned()),
    }
}

#[test]
fn members_who_fell_out_and_enter_again_end_in_the_same_epoch() {
    let beginning = beginning();
    many(&HAPPENED, 8, |seed| run(seed, &beginning, Way::Right));
}

#[test]
fn a_member_who_enters_early_or_goes_on_from_a_copy_is_found() {
    let (beginning, first) = (beginning(), first_seed());
    for way in [Way::EntersEarly, Way::PutsACopyBack] {
        let found = (0..150).filter_map(|at| run(first.wrapping_add(at), &beginning, way).err()).count();
        println!("in {found} of 150 schedules");
        assert!(found > 5, "in {found} of 150 schedules");
    }
}
