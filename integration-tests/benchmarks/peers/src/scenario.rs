//! What is measured: the life of one member of a group, the same for every subject.
//!
//! Shared by both benchmark programs: each includes this file. The group is a real one of `members` members. Its
//! creator, the counterpart, keeps everything in memory and is not measured.

use std::collections::BTreeMap;

use openmls::group::GroupId;

use crate::counterpart::Counterpart;
use crate::measure::{Meter, Samples};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The length of a message, bytes: a short line of text.
const MESSAGE: &[u8] = b"At five, at the usual place. Bring the papers!";

/// A client whose operations are durable when they return.
pub(crate) trait Subject {
    /// A key package, TLS-encoded as an `MLSMessage`.
    fn key_package(&mut self) -> Result<Vec<u8>>;
    fn create_group(&mut self) -> Result<GroupId>;
    /// Adds a member and merges. Returns the commit.
    fn invite(&mut self, group: &GroupId, key_package: &[u8]) -> Result<Vec<u8>>;
    fn join(&mut self, welcome: &[u8]) -> Result<GroupId>;
    /// Deletes the group.
    fn forget(&mut self, group: &GroupId) -> Result<()>;
    /// Returns the ciphertext.
    fn send(&mut self, group: &GroupId, content: &[u8]) -> Result<Vec<u8>>;
    /// Takes in an application message, or a commit, which is merged.
    fn receive(&mut self, group: &GroupId, message: &[u8]) -> Result<()>;
    /// Renews the own keys and merges. Returns the commit.
    fn self_update(&mut self, group: &GroupId) -> Result<Vec<u8>>;
    /// Ends the use of the store, and of all that is in memory.
    fn close(&mut self) -> Result<()>;
    /// Opens the store again and loads the group.
    fn load(&mut self, group: &GroupId) -> Result<()>;
    /// The length of the store's files.
    fn stored_len(&self) -> Result<u64>;
    /// What is sealed in the open store, bytes; `None` if nothing is.
    fn sealed_len(&mut self) -> Result<Option<u64>> {
        Ok(None)
    }
    /// Bytes that were sealed and handed to the store since this was last asked; `None` if nothing is sealed.
    fn sealed(&mut self) -> Option<u64> {
        None
    }
}

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Members of the group, at least 2.
    pub(crate) members: usize,
    /// Past epochs that the subject keeps.
    pub(crate) past_epochs: usize,
    /// How often each operation is measured. The slow ones are measured less often.
    pub(crate) repetitions: usize,
}

/// What was measured.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) operations: BTreeMap<&'static str, Samples>,
    /// The length of the store's files with one client that is a member of one group.
    pub(crate) stored_len: u64,
    /// The sealed part of it.
    pub(crate) sealed_len: Option<u64>,
}

/// Measures `subject`, whose store is new and which keeps `plan.past_epochs` past epochs.
pub(crate) fn run(subject: &mut impl Subject, plan: Plan, meter: Meter) -> Result<Figures> {
    let mut run = Run { subject, meter, figures: Figures::default() };
    // Nothing between the members' first commits and the measurement depends on the subject.
    let mut bob = Counterpart::with_group(plan.members - 1)?;
    let group = run.enter(&mut bob)?;
    for _ in 0..=plan.past_epochs {
        run.subject.receive(&group, &bob.commit()?)?;
    }
    run.figures.sealed_len = run.subject.sealed_len()?;
    run.subject.close()?;
    run.figures.stored_len = run.subject.stored_len()?;
    run.subject.load(&group)?;

    let slow = plan.repetitions.div_ceil(4);
    run.talk(&mut bob, &group, plan.repetitions)?;
    run.invite(&mut bob, &group, slow)?;
    run.come_and_go(plan.repetitions, slow, plan.members)?;
    // Last: the first write after it sets up the store's log again.
    run.reopen(&group, plan.repetitions)?;
    Ok(run.figures)
}

struct Run<'s, S> {
    subject: &'s mut S,
    meter: Meter,
    figures: Figures,
}

impl<S: Subject> Run<'_, S> {
    /// Joins the counterpart's group, unmeasured.
    fn enter(&mut self, bob: &mut Counterpart) -> Result<GroupId> {
        let welcome = bob.add(&self.subject.key_package()?)?;
        self.subject.join(&welcome)
    }

    /// Messages and commits in both directions. Of four messages in an epoch the first one costs more.
    fn talk(&mut self, bob: &mut Counterpart, group: &GroupId, repetitions: usize) -> Result<()> {
        for _ in 0..repetitions {
            for _ in 0..4 {
                self.time("send", |subject| subject.send(group, MESSAGE))?;
            }
            for _ in 0..4 {
                let message = bob.send(MESSAGE)?;
                self.time("receive", |subject| subject.receive(group, &message))?;
            }
            let commit = bob.commit()?;
            self.time("receive a commit", |subject| subject.receive(group, &commit))?;
            let commit = self.time("update and merge", |subject| subject.self_update(group))?;
            bob.receive(&commit)?;
        }
        Ok(())
    }

    fn reopen(&mut self, group: &GroupId, repetitions: usize) -> Result<()> {
        for _ in 0..repetitions {
            self.subject.close()?;
            self.time("load", |subject| subject.load(group))?;
        }
        Ok(())
    }

    fn invite(&mut self, bob: &mut Counterpart, group: &GroupId, repetitions: usize) -> Result<()> {
        for _ in 0..repetitions {
            let key_package = Counterpart::key_package_of_another()?;
            let commit = self.time("invite and merge", |subject| subject.invite(group, &key_package))?;
            bob.receive(&commit)?;
        }
        Ok(())
    }

    /// Groups that are created and joined, and deleted again.
    fn come_and_go(&mut self, repetitions: usize, slow: usize, members: usize) -> Result<()> {
        for _ in 0..repetitions {
            let group = self.time("create", Subject::create_group)?;
            self.subject.forget(&group)?;
        }
        let mut bob = Counterpart::with_group(members - 1)?;
        for _ in 0..slow {
            // Not merged, so that the same group can be joined again.
            let welcome = bob.offer(&self.subject.key_package()?)?;
            let group = self.time("join", |subject| subject.join(&welcome))?;
            self.subject.forget(&group)?;
        }
        Ok(())
    }

    fn time<T>(&mut self, operation: &'static str, f: impl FnOnce(&mut S) -> Result<T>) -> Result<T> {
        self.subject.sealed();
        let samples = self.figures.operations.entry(operation).or_default();
        let running = self.meter.begin(operation)?;
        let result = f(self.subject)?;
        self.meter.end(&running, samples)?;
        samples.sealed.extend(self.subject.sealed());
        Ok(result)
    }
}
