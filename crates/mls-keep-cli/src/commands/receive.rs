//! Taking in what others sent.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mls_keep::{Committer, ErrorKind, JoinOptions, Received, SaveNumber, SavePolicy};
use serde_json::{Map, Value};

use super::enter::enter;
use super::messages::put_message;
use super::outbox;
use crate::failure::{Failure, Result};
use crate::files;
use crate::groups::Groups;
use crate::output::{extended, note};
use crate::printed::{escape, put_bytes};
use crate::session::Session;
use crate::signals::End;

const INVALID_ADVICE: &str =
    "Nothing was changed. `receive` takes messages, commits, proposals and Welcomes of others.";

/// How often `--watch` looks for new files.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How messages are received.
#[derive(Clone, Copy)]
pub(super) struct How {
    /// Until the program is to end.
    pub(super) watch: bool,
    /// Save after so long, and not once for each message.
    pub(super) save: Option<Duration>,
    /// Remove files when what they say is saved.
    pub(super) remove: bool,
}

/// `receive`
pub(super) async fn receive(session: &mut Session, paths: &[PathBuf], how: How) -> Result<()> {
    if let Some(every) = how.save {
        // Nothing is sent here, so nothing is reserved.
        session.client.set_save_policy(SavePolicy::Interval { every, reserve: 0 })?;
    }
    let mut taken = Taken { remove: how.remove, ..Taken::default() };
    let received = match how.watch {
        false => taken.take_in(session, paths).await,
        true => watch(session, &mut taken, paths).await,
    };
    let saved = match how.save {
        // Whatever has ended it.
        Some(_) => session.client.close().await.map_err(|error| {
            Failure::from(error).advise_always("What was received last is not saved. Receive its files again.")
        }),
        None => Ok(()),
    };
    taken.let_go(session)?;
    // Also when one failed: what was received is durable and will not come again as new.
    session.output.json(|| taken.values.into())?;
    if let (Err(failure), Err(_)) = (&saved, &received) {
        failure.print();
    }
    received.and(saved)
}

/// Takes in what comes, until the program is to end.
async fn watch(session: &mut Session, taken: &mut Taken, paths: &[PathBuf]) -> Result<()> {
    let end = End::watched();
    let mut result = taken.take_in(session, paths).await;
    loop {
        match &result {
            Err(failure) if is_about_a_file(failure) => failure.print(),
            Err(_) => return result,
            Ok(()) => {}
        }
        let wait = session.client.save_if_due().await?;
        taken.let_go(session)?;
        if end.is_asked_for() {
            return Ok(());
        }
        end.wait(wait.unwrap_or(LOOK_EVERY).min(LOOK_EVERY));
        let directories: Vec<_> = paths.iter().filter(|path| path.is_dir()).cloned().collect();
        result = taken.take_in(session, &directories).await;
    }
}

/// What was received.
#[derive(Default)]
struct Taken {
    values: Vec<Value>,
    /// Files that need not be looked at again.
    seen: BTreeSet<PathBuf>,
    /// Whether files are to be removed, and those whose save has not come yet.
    remove: bool,
    unsaved: VecDeque<(SaveNumber, PathBuf)>,
}

impl Taken {
    /// Takes in files, and those of directories. What failed for what the others may change is tried again after them.
    async fn take_in(&mut self, session: &mut Session, paths: &[PathBuf]) -> Result<()> {
        let mut files = Vec::new();
        for path in paths {
            if path.is_dir() {
                files.extend(files_of(path)?.into_iter().filter(|file| !self.seen.contains(file)));
            } else {
                files.push(path.clone());
            }
        }
        let mut failures = Vec::new();
        loop {
            let mut later = Vec::new();
            for path in &files {
                match self.take_in_file(session, path).await {
                    Ok(()) => self.is_taken(session, path)?,
                    // Standard input cannot be read again.
                    Err(failure) if may_come_later(&failure) && path.as_os_str() != "-" => {
                        later.push((path.clone(), failure));
                    }
                    Err(failure) if is_about_a_file(&failure) => {
                        self.seen.insert(path.clone());
                        failures.push(failure);
                    }
                    Err(failure) => return Err(failure),
                }
            }
            if later.is_empty() || later.len() == files.len() {
                failures.extend(later.into_iter().map(|(_, failure)| failure));
                break;
            }
            files = later.into_iter().map(|(path, _)| path).collect();
        }
        let Some(last) = failures.pop() else { return Ok(()) };
        failures.iter().for_each(Failure::print);
        Err(last)
    }

    /// A file is done with when its save has come, which may be now.
    fn is_taken(&mut self, session: &Session, path: &Path) -> Result<()> {
        self.seen.insert(path.to_path_buf());
        if self.remove && path.as_os_str() != "-" {
            self.unsaved.push_back((session.client.covered_by(), path.to_path_buf()));
        }
        self.let_go(session)
    }

    /// Removes the files whose save has come.
    fn let_go(&mut self, session: &Session) -> Result<()> {
        let saved = session.client.saved_through();
        while let Some((_, path)) = self.unsaved.pop_front_if(|(save, _)| *save <= saved) {
            match std::fs::remove_file(&path) {
                // It is named twice, or somebody else was faster.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                removed => removed.map_err(|error| Failure::unwritable(&path, &error))?,
            }
            // Another file may come under this name.
            self.seen.remove(&path);
        }
        Ok(())
    }

    async fn take_in_file(&mut self, session: &mut Session, path: &Path) -> Result<()> {
        let bytes = files::read_message(path)?;
        if is_welcome(&bytes) {
            let joined = enter(session, path, &bytes, JoinOptions::new()).await?;
            let said = [("file", path.to_string_lossy().into()), ("type", "welcome".into())];
            self.values.push(extended(joined, said.map(|(name, value)| (name.to_owned(), value))));
            return Ok(());
        }
        let received = session.client.receive(bytes).await.map_err(|error| {
            let failure = Failure::from(error).about(path.display());
            failure
                .advise(ErrorKind::NotFound, "Nothing was changed. The client is not in the group that this is for.")
                .advise(ErrorKind::Invalid, INVALID_ADVICE)
        })?;
        let groups = session.groups().await?;
        self.values.push(show(session, &groups, path, &received)?);
        // What was kept for the epoch that has begun, or a commit that was kept for this proposal.
        let group = match &received {
            Received::Commit(commit) => &commit.group,
            Received::Proposal(proposal) => &proposal.group,
            _ => return Ok(()),
        };
        if matches!(&received, Received::Commit(commit) if commit.sender == Committer::Own) {
            outbox::taken(session, group).await?;
        }
        for held in session.client.receive_held(group).await? {
            match held {
                Ok(received) => self.values.push(show(session, &groups, path, &received)?),
                Err(error) => note(&format!("what was kept is dropped: {error}")),
            }
        }
        Ok(())
    }
}

/// The files of a directory, those written first first. What is hidden, and other directories, are left out.
fn files_of(directory: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error: std::io::Error| Failure::unreadable(directory, &error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let metadata = entry.metadata().map_err(failed)?;
        if metadata.is_file() && !entry.file_name().to_string_lossy().starts_with('.') {
            found.push((metadata.modified().map_err(failed)?, entry.path()));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// Whether the bytes begin as an `MLSMessage` that is a Welcome (RFC 9420 section 6).
fn is_welcome(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0, 1, 0, 3])
}

/// Whether another file may be what is missing.
fn may_come_later(failure: &Failure) -> bool {
    matches!(failure.kind(), Some(ErrorKind::NotFound | ErrorKind::FutureEpoch))
}

/// Whether it is this file that is wrong, and the next one may not be.
fn is_about_a_file(failure: &Failure) -> bool {
    matches!(
        failure.kind(),
        Some(
            ErrorKind::Invalid
                | ErrorKind::NotFound
                | ErrorKind::PastEpoch
                | ErrorKind::FutureEpoch
                | ErrorKind::Refused
                | ErrorKind::NotMember
                | ErrorKind::Aborted
        )
    )
}

fn show(session: &Session, groups: &Groups, path: &Path, received: &Received) -> Result<Value> {
    let output = session.output;
    let mut value = Map::new();
    value.insert("file".into(), path.to_string_lossy().into());
    value.insert("already_received".into(), matches!(received, Received::AlreadyReceived(_)).into());
    match received {
        Received::Message(message) | Received::AlreadyReceived(Some(message)) => {
            if matches!(received, Received::AlreadyReceived(_)) {
                note(&format!("{}: already received", path.display()));
            }
            let (group, text) = (groups.label(&message.group), escape(&message.content));
            output.line(format!("{group}\t{}\t{text}", escape(&message.sender)))?;
            value.insert("type".into(), "message".into());
            value.insert("group".into(), groups.to_json(&message.group));
            put_message(&mut value, message);
        }
        Received::AlreadyReceived(None) => {
            note(&format!("{}: already received", path.display()));
            value.insert("type".into(), "known".into());
        }
        Received::Commit(commit) => {
            let (group, epoch) = (&commit.group, commit.epoch);
            output.line(format!("{}\tepoch {epoch}", groups.label(group)))?;
            if commit.drops_staged {
                note(&format!("{}: the commit that was staged here is dropped for it", groups.label(group)));
            }
            if commit.removes_self {
                note(&format!("{}: this client was removed from the group; its history stays", groups.label(group)));
            }
            value.insert("type".into(), "commit".into());
            value.insert("group".into(), groups.to_json(group));
            value.insert("epoch".into(), epoch.into());
            value.insert("removed".into(), commit.removes_self.into());
        }
        Received::Proposal(proposal) => {
            let group = &proposal.group;
            let sender: &[u8] = match &proposal.sender {
                Some(Committer::Member(member)) => &member.identity,
                _ => b"",
            };
            output.line(format!("{}\tproposal\t{}", groups.label(group), escape(sender)))?;
            value.insert("type".into(), "proposal".into());
            value.insert("group".into(), groups.to_json(group));
            put_bytes(&mut value, "sender", sender);
        }
        Received::Held { group, epoch } => {
            note(&format!("{}: kept until what it needs has come (epoch {epoch})", path.display()));
            value.insert("type".into(), "held".into());
            value.insert("group".into(), groups.to_json(group));
            value.insert("epoch".into(), (*epoch).into());
        }
        Received::Own { group } => {
            note(&format!("{}: this client's own message", path.display()));
            value.insert("type".into(), "own".into());
            value.insert("group".into(), groups.to_json(group));
        }
        _ => {
            let what =
                format!("{}: this was received, and is of a kind that this program does not know", path.display());
            return Err(Failure::new(ErrorKind::UnsupportedVersion, what, "Use a newer version of mls-keep."));
        }
    }
    Ok(value.into())
}
