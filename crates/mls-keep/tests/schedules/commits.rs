//! Members who commit at the same time, and lose nothing: in the end all are in the same epoch, and everybody has read what
//! everybody sent, once.

use std::sync::atomic::Ordering;

use futures_executor::block_on;
use mls_keep::openmls::group::GroupId;
use mls_keep::{Change, CommitSummary, Committer, ErrorKind, OwnCommit, Received, Result};

use super::world::{
    AFTER, BEFORE, Happened, Image, MEMBERS, Process, Random, STEPS, Service, beginning, first_seed, many,
};

static HAPPENED: Happened = Happened::nothing();

/// How a client commits.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Way {
    Staged,
    /// The saboteur: merges at once, whatever the service says.
    Early,
}

struct Member {
    process: Process,
    /// Of the service's letters, those that it is done with.
    done: Vec<bool>,
    sent: Vec<String>,
    /// What must not happen.
    wrong: Option<String>,
    /// The saboteur's commits, which it has merged.
    early: Vec<OwnCommit>,
}

impl Member {
    fn load(number: usize, image: &Image) -> Self {
        let (done, sent, wrong, early) = Default::default();
        Self { process: Process::load(number, image, &HAPPENED), done, sent, wrong, early }
    }

    fn commit(&mut self, group: &GroupId, way: Way) {
        let change = Change::new().update();
        match way {
            Way::Staged => match self.process.run(async |client| client.stage(group, change).await) {
                Some(Err(error)) if error.kind() == ErrorKind::CommitPending => {}
                other => drop(other.map(Result::unwrap)),
            },
            Way::Early => {
                let made = self.process.run(async |client| client.commit_at_once(group, change).await);
                self.early.extend(made.map(Result::unwrap));
            }
        }
    }

    /// Gives the service what is to be sent. Its answer may be lost.
    fn deliver(&mut self, group: &GroupId, service: &mut Service, random: &mut Random) {
        for made in &self.early {
            service.take_commit(made);
        }
        for outgoing in block_on(self.process.client.outbox(group)).unwrap() {
            let Some(message) = outgoing.message.filter(|_| !outgoing.is_staged) else { continue };
            if !self.early.iter().any(|made| made.commit == message) {
                service.post(&message);
                if random.one_in(4) {
                    return;
                }
                self.process.run(async |client| client.delivered(group, outgoing.number).await).map(Result::unwrap);
            }
        }
        let Some(made) = block_on(self.process.client.pending(group)).unwrap() else { return };
        let taken = service.take_commit(&made);
        match random.below(4) {
            0 => {}
            _ if taken => {
                HAPPENED.note("confirmed");
                self.process.run(async |client| client.confirm(group).await).map(Result::unwrap);
            }
            _ => {
                HAPPENED.note("rejected");
                self.process.run(async |client| client.reject(group).await).map(Result::unwrap);
            }
        }
    }

    /// Receives one letter, and what was held for it. What is not received for a kill is received later.
    fn receive(&mut self, group: &GroupId, service: &Service, number: usize) {
        self.done.resize(service.letters.len(), false);
        match self.process.run(async |client| client.receive(&service.letters[number]).await) {
            Some(Ok(received)) => {
                self.done[number] = true;
                note(&received);
            }
            Some(Err(error)) => {
                self.wrong = Some(format!("{} cannot read letter {number}: {error:?}", self.process.name))
            }
            None => {}
        }
        for held in
            self.process.run(async |client| client.receive_held(group).await).map(Result::unwrap).unwrap_or_default()
        {
            match held {
                Ok(received) => note(&received),
                Err(error) => self.wrong = Some(format!("{} cannot read what it held: {error:?}", self.process.name)),
            }
        }
    }
}

fn note(received: &Received) {
    match received {
        Received::Commit(CommitSummary { sender, drops_staged, .. }) => {
            if *drops_staged {
                HAPPENED.note("dropped for another commit");
            }
            if *sender == Committer::Own {
                HAPPENED.note("confirmed by its own coming back");
            }
        }
        Received::Held { .. } => HAPPENED.note("held"),
        _ => {}
    }
}

/// What is wrong in the end.
fn run(seed: u64, beginning: &(Vec<Image>, GroupId), way: Way) -> std::result::Result<(), String> {
    let (images, group) = beginning;
    let (mut random, mut service) = (Random(seed), Service::default());
    let mut members: Vec<_> = images.iter().enumerate().map(|(number, image)| Member::load(number, image)).collect();
    for step in 0..STEPS {
        let member = &mut members[random.below(MEMBERS)];
        if random.one_in(8) {
            member.process.store.kill.store(if random.one_in(2) { BEFORE } else { AFTER }, Ordering::Relaxed);
        }
        match random.below(10) {
            0 | 1 => member.commit(group, if member.process.name == "0" { way } else { Way::Staged }),
            2 | 3 => member.deliver(group, &mut service, &mut random),
            4 => {
                let text = format!("{step} of {}", member.process.name);
                // A kill after the commit leaves it in the outbox.
                let sent = member.process.run(async |client| client.send(group, &text).await);
                let before = sent.as_ref().is_some_and(Result::is_ok);
                let kept = block_on(member.process.client.history(group, 1)).unwrap();
                if before || kept.last().is_some_and(|message| message.content == text.as_bytes()) {
                    member.sent.push(text);
                }
            }
            5 => member.process.restart(),
            _ if service.letters.is_empty() => {}
            _ => {
                let number = random.below(service.letters.len());
                member.receive(group, &service, number);
            }
        }
    }
    if let Some(wrong) = members.iter().find_map(|member| member.wrong.clone()) {
        return Err(wrong);
    }
    // The day ends: all answers come, and all letters.
    for member in &mut members {
        member.process.store.kill.store(0, Ordering::Relaxed);
    }
    for _ in 0..2 * STEPS {
        for member in &mut members {
            member.deliver(group, &mut service, &mut random);
            for number in 0..service.letters.len() {
                if member.done.get(number) != Some(&true) {
                    member.receive(group, &service, number);
                }
            }
        }
        let quiet = |member: &mut Member| {
            block_on(member.process.client.pending(group)).unwrap().is_none()
                && block_on(member.process.client.outbox(group)).unwrap().is_empty()
                && member.done.len() == service.letters.len()
                && member.done.iter().all(|done| *done)
        };
        if members.iter_mut().all(quiet) {
            break;
        }
    }
    if let Some(wrong) = members.iter().find_map(|member| member.wrong.clone()) {
        return Err(wrong);
    }
    let states: Vec<_> = members
        .iter_mut()
        .map(|member| {
            let epoch = block_on(member.process.client.group(group)).unwrap().epoch;
            (epoch, block_on(member.process.client.export_secret(group, "model", b"", 32)).unwrap())
        })
        .collect();
    if let Some(pair) = states.windows(2).find(|pair| pair[0] != pair[1]) {
        return Err(format!("two members are in different epochs: {} and {}", pair[0].0, pair[1].0));
    }
    if states[0].0 != service.commits.len() as u64 + 1 {
        return Err(format!("in epoch {} after {} commits", states[0].0, service.commits.len()));
    }
    let sent: Vec<(String, Vec<String>)> =
        members.iter().map(|member| (member.process.name.clone(), member.sent.clone())).collect();
    for reader in &mut members {
        let others = sent.iter().filter(|(name, _)| *name != reader.process.name);
        let mut expected: Vec<_> = others.flat_map(|(_, sent)| sent.clone()).collect();
        let history = block_on(reader.process.client.history(group, usize::MAX)).unwrap();
        let read = history.into_iter().filter(|message| !message.own);
        let mut read: Vec<_> = read.map(|message| String::from_utf8(message.content).unwrap()).collect();
        expected.sort();
        read.sort();
        if expected != read {
            return Err(format!("{} has read {read:?} of {expected:?}", reader.process.name));
        }
    }
    Ok(())
}

#[test]
fn members_who_commit_at_once_end_in_the_same_epoch() {
    let beginning = beginning();
    many(&HAPPENED, 6, |seed| run(seed, &beginning, Way::Staged));
}

#[test]
fn a_member_who_merges_early_is_found() {
    let (beginning, first) = (beginning(), first_seed());
    let found = (0..50).filter_map(|at| run(first.wrapping_add(at), &beginning, Way::Early).err()).count();
    assert!(found > 5, "in {found} of 50 schedules");
}
