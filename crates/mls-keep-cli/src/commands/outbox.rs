//! From a durable operation to the files that travel.
//!
//! What an operation makes for others stands in the client's outbox from the commit that made it until its files are
//! written. So neither a full disk nor a kill between the two loses a commit that the client itself has merged already.

use std::path::Path;

use mls_keep::openmls::group::GroupId;
use mls_keep::{ErrorKind, Outgoing, Scope};
use serde_json::{Value, json};

use crate::failure::{Failure, Result};
use crate::files::NewFile;
use crate::groups::Groups;
use crate::output::{columns, extended, note};
use crate::printed::hex;
use crate::session::Session;

/// The files of one operation.
pub(super) struct Parcel {
    message: NewFile,
    welcome: Option<NewFile>,
}

impl Parcel {
    pub(super) fn new(message: NewFile, welcome: Option<NewFile>) -> Result<Self> {
        if welcome.as_ref().is_some_and(|welcome| welcome.is_same_as(&message)) {
            let what = format!("{} is named twice", message.path().display());
            return Err(Failure::usage(what, "The Welcome and the commit go to different people: name two files."));
        }
        Ok(Self { message, welcome })
    }

    /// The files' names in JSON, the first one's under `name`.
    pub(super) fn to_json(&self, name: &str) -> Vec<(String, Value)> {
        let path = |path: &Path| Value::from(path.to_string_lossy());
        let welcome = self.welcome.as_ref().map(|file| ("welcome".to_owned(), path(file.path())));
        [(name.to_owned(), path(self.message.path()))].into_iter().chain(welcome).collect()
    }

    /// Who gets which file, for people.
    pub(super) fn to_lines(&self) -> Vec<String> {
        let welcome = self.welcome.as_ref().map(|file| format!("for those who join: {}", file.path().display()));
        [format!("for the other members: {}", self.message.path().display())].into_iter().chain(welcome).collect()
    }

    fn write_welcome(self, welcome: &[u8]) -> Result<()> {
        self.welcome.unwrap_or(self.message).write(welcome)
    }

    fn write(self, message: &[u8], welcome: Option<&[u8]>) -> Result<()> {
        self.message.write(message)?;
        match (self.welcome, welcome) {
            (Some(file), Some(welcome)) => file.write(welcome),
            _ => Ok(()),
        }
    }
}

/// Writes what an operation made, and takes it out of the outbox.
///
/// The operation is durable when this begins, so nothing here may say that nothing was changed.
pub(super) async fn deliver(
    session: &mut Session,
    group: &GroupId,
    message: &[u8],
    welcome: Option<&[u8]>,
    parcel: Parcel,
) -> Result<()> {
    let has_welcome = parcel.welcome.is_some();
    let written = parcel.write(message, welcome);
    let is_whole = welcome.is_none() || has_welcome;
    let outbox = session.client.outbox(group).await.unwrap_or_default();
    let number = outbox
        .iter()
        .rev()
        .find(|outgoing| outgoing.message.as_deref() == Some(message))
        .map(|outgoing| outgoing.number);
    if let Err(failure) = written {
        let files = if welcome.is_some() { "--out FILE --welcome FILE" } else { "--out FILE" };
        let number = number.map_or("NUMBER".to_owned(), |number| number.to_string());
        return Err(failure.advise_always(format!(
            "The operation is durable and only its file is missing: do not repeat it. Mend the cause, then run \
             `mls-keep outbox write {} {number} {files}`.",
            hex(group.as_slice())
        )));
    }
    let is_staged = outbox.iter().any(|outgoing| outgoing.is_staged && outgoing.number == number.unwrap_or(u64::MAX));
    match number {
        // It leaves the outbox by `confirm` or `reject`.
        Some(number) if is_staged => {
            if welcome.is_some() && has_welcome {
                note_written(session, group, number).await;
            }
        }
        Some(number) if !is_whole => {
            note(&format!(
                "there is a Welcome as well, for who was proposed: `mls-keep outbox write` has it, number {number}"
            ));
        }
        Some(number) => delivered(session, group, number).await,
        None => note("the files are written, but the outbox cannot be read now: they may be offered again"),
    }
    // Unless another process is about to write it.
    if number.is_some_and(|number| outbox.iter().any(|outgoing| outgoing.number < number && !outgoing.is_staged)) {
        note("more was made in this group and not written to a file yet: see `mls-keep outbox list`");
    }
    Ok(())
}

/// What an operation made that ended with `failure`, which does not say whether it was applied: if it was, the outbox has
/// something that was not there `before`.
pub(super) async fn made(
    session: &mut Session,
    group: &GroupId,
    before: &[Outgoing],
    failure: Failure,
) -> Result<Outgoing> {
    let Ok(outbox) = session.client.outbox(group).await else { return Err(failure) };
    let new = |outgoing: &Outgoing| before.iter().all(|earlier| earlier.number != outgoing.number);
    outbox.into_iter().find(new).ok_or_else(|| {
        let advice = "Nothing was changed. Run the command again.";
        Failure::new(ErrorKind::Unavailable, "the store did not answer, and it was not done", advice)
    })
}

/// `outbox list`
pub(super) async fn list(session: &mut Session) -> Result<()> {
    let groups = session.groups().await?;
    let waiting = session.client.outbox_of_all_groups().await?;
    if waiting.is_empty() {
        session.output.line("nothing waits")?;
    } else {
        let row = |outgoing: &Outgoing| {
            let what = if outgoing.is_staged {
                "staged commit"
            } else if outgoing.message.is_none() {
                "Welcome"
            } else if outgoing.welcome.is_some() {
                "commit and Welcome"
            } else {
                "message, commit or proposal"
            };
            vec![groups.label(&outgoing.group), outgoing.number.to_string(), what.to_owned()]
        };
        session.output.line(columns(&["GROUP", "NUMBER", "WHAT"], waiting.iter().map(row).collect()))?;
    }
    session.output.json(|| waiting.iter().map(|outgoing| to_json(&groups, outgoing)).collect())
}

/// `outbox write`
pub(super) async fn write(session: &mut Session, typed: &str, number: u64, parcel: Parcel) -> Result<()> {
    let (groups, group) = session.group(typed).await?;
    let outbox = session.client.outbox(&group).await?;
    let outgoing = outbox.iter().find(|outgoing| outgoing.number == number).ok_or_else(|| {
        let what = format!("the outbox of the group has no number {number}");
        Failure::new(ErrorKind::NotFound, what, "`mls-keep outbox list` shows what waits.")
    })?;
    match (outgoing.welcome.as_ref().filter(|_| outgoing.message.is_some()), &parcel.welcome) {
        (Some(_), None) => {
            let what = "there is a Welcome as well";
            return Err(Failure::usage(what, "Say --welcome FILE: without it the new members cannot join."));
        }
        (None, Some(_)) => return Err(Failure::usage("there is no Welcome to be written", "Leave --welcome out.")),
        _ => {}
    }
    let (lines, files) = (parcel.to_lines(), parcel.to_json("file"));
    match &outgoing.message {
        Some(message) => parcel.write(message, outgoing.welcome.as_deref())?,
        // The commit was taken: what is left goes where it can be named.
        None => parcel.write_welcome(outgoing.welcome.as_deref().unwrap_or_default())?,
    }
    if !outgoing.is_staged {
        delivered(session, &group, number).await;
    }
    lines.iter().try_for_each(|line| session.output.line(line))?;
    session.output.json(|| extended(to_json(&groups, outgoing), files))
}

/// The record that says which staged commit's files are written.
const WRITTEN: &str = "mls-keep/written";

/// Remembers that the files of a staged commit are written: its Welcome need not wait in the outbox when it is confirmed.
async fn note_written(session: &mut Session, group: &GroupId, number: u64) {
    let noted = session.client.transact(group, |tx| Ok(tx.records.put(WRITTEN, number.to_be_bytes())?));
    if let Err(error) = noted.await {
        note(&format!("the files are written; the Welcome will be offered again: {error}"));
    }
}

/// The staged commit was taken, so that its Welcome is worth something. It leaves the outbox if it was written to a file.
pub(super) async fn taken(session: &mut Session, group: &GroupId) -> Result<()> {
    let Some(left) = session.client.outbox(group).await?.into_iter().rfind(|left| left.message.is_none()) else {
        return Ok(());
    };
    let record = session.client.record(&Scope::Group(group.clone()), WRITTEN).await?;
    if record.is_some_and(|record| record.as_slice() == left.number.to_be_bytes()) {
        delivered(session, group, left.number).await;
    } else {
        note("the Welcome was not written to a file yet: see `mls-keep outbox list`");
    }
    Ok(())
}

async fn delivered(session: &mut Session, group: &GroupId, number: u64) {
    // The files are there. At worst they are offered again.
    if let Err(error) = session.client.delivered(group, number).await {
        note(&format!("the files are written, but stay in the outbox: {error}"));
    }
}

fn to_json(groups: &Groups, outgoing: &Outgoing) -> Value {
    json!({
        "group": groups.to_json(&outgoing.group),
        "number": outgoing.number,
        "has_welcome": outgoing.welcome.is_some(),
    })
}
