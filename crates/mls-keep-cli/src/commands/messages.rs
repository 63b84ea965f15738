//! Sending, receiving, and what was sent and received.

use std::path::{Path, PathBuf};

use mls_keep::{Committer, ErrorKind, Message, Received};
use serde_json::{Map, Value, json};

use super::outbox::{self, Parcel};
use super::to_bytes;
use crate::failure::{Failure, Result};
use crate::files;
use crate::names::{Groups, escape, put_bytes};
use crate::output::{extended, note};
use crate::session::Session;

/// `send`
pub(super) async fn send(session: &mut Session, typed: &str, text: &str, parcel: Parcel) -> Result<()> {
    let (groups, group) = session.group(typed).await?;
    let text = if text == "-" { files::read_text()? } else { text.as_bytes().to_vec() };
    let before = session.client.outbox(&group).await?;
    let message = match session.client.send(&group, text).await {
        Ok(message) => to_bytes(&message)?,
        // What is sent after a message that nobody has written may make it unreadable.
        Err(error) if error.kind() == ErrorKind::OutcomeUnknown => {
            outbox::made(session, &group, &before, error.into()).await?.message.unwrap_or_default()
        }
        Err(error) => return Err(error.into()),
    };
    let (lines, files) = (parcel.to_lines(), parcel.to_json("file"));
    outbox::deliver(session, &group, &message, None, parcel).await?;
    lines.iter().try_for_each(|line| session.output.line(line))?;
    session.output.json(|| extended(json!({ "group": groups.to_json(&group) }), files))
}

const INVALID_ADVICE: &str =
    "Nothing was changed. `receive` takes messages, commits and proposals of others; a Welcome goes to `join`.";

/// `receive`
pub(super) async fn receive(session: &mut Session, paths: &[PathBuf]) -> Result<()> {
    let groups = session.groups().await?;
    let mut values = Vec::new();
    let mut result = Ok(());
    for path in paths {
        let taken = async {
            let received = receive_file(session, path).await?;
            let value = show(session, &groups, path, &received)?;
            values.push(value);
            // What was kept for the epoch that has begun.
            if let Received::Commit(commit) = &received {
                for held in session.client.receive_held(&commit.group).await? {
                    match held {
                        Ok(received) => values.push(show(session, &groups, path, &received)?),
                        Err(error) => note(&format!("what was kept for this epoch is dropped: {error}")),
                    }
                }
            }
            Ok(())
        };
        match taken.await {
            Ok(()) => {}
            Err(failure) => {
                result = Err(failure);
                break;
            }
        }
    }
    // Also when one failed: what was received is durable and will not come again as new.
    session.output.json(|| values.into())?;
    result
}

async fn receive_file(session: &mut Session, path: &Path) -> Result<Received> {
    let bytes = files::read_message(path)?;
    session.client.receive(bytes).await.map_err(|error| {
        let failure = Failure::from(error).about(path.display());
        failure
            .advise(ErrorKind::NotFound, "Nothing was changed. The client is not in the group that this is for.")
            .advise(ErrorKind::Invalid, INVALID_ADVICE)
    })
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
            note(&format!("{}: kept until this client is in epoch {epoch}", path.display()));
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

/// `history`
pub(super) async fn history(session: &mut Session, typed: &str, last: Option<usize>) -> Result<()> {
    let (_, group) = session.group(typed).await?;
    let messages = session.client.history(&group, last.unwrap_or(usize::MAX)).await?;
    let line = |message: &Message| format!("{}\t{}\n", escape(&message.sender), escape(&message.content));
    let lines: String = messages.iter().map(line).collect();
    if !lines.is_empty() {
        session.output.line(lines.trim_end_matches('\n'))?;
    }
    session.output.json(|| {
        let value = |message: &Message| {
            let mut value = Map::new();
            put_message(&mut value, message);
            Value::from(value)
        };
        messages.iter().map(value).collect()
    })
}

fn put_message(value: &mut Map<String, Value>, message: &Message) {
    value.insert("number".into(), message.number.into());
    value.insert("epoch".into(), message.epoch.into());
    value.insert("own".into(), message.own.into());
    put_bytes(value, "sender", &message.sender);
    put_bytes(value, "text", &message.content);
}
