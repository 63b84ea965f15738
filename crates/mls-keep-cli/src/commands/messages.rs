//! Sending, and what was sent and received.

use mls_keep::{ErrorKind, Message};
use serde_json::{Map, Value, json};

use super::outbox::{self, Parcel};
use super::to_bytes;
use crate::failure::Result;
use crate::files;
use crate::output::{extended, utc};
use crate::printed::{escape, put_bytes};
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

/// `history`
pub(super) async fn history(
    session: &mut Session,
    typed: &str,
    (before, limit): (u64, usize),
    long: bool,
) -> Result<()> {
    let (_, group) = session.group(typed).await?;
    let messages = session.client.history_before(&group, before, limit).await?;
    for message in &messages {
        let line = format!("{}\t{}", escape(&message.sender), escape(&message.content));
        let number = message.number.map(|number| number.to_string()).unwrap_or_default();
        let head = if long { format!("{number}\t{}\t", utc(message.time)) } else { String::new() };
        session.output.line(head + &line)?;
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

/// `history --delete`
pub(super) async fn delete(session: &mut Session, typed: &str, number: u64) -> Result<()> {
    let (groups, group) = session.group(typed).await?;
    session.client.delete_message(&group, number).await?;
    session.output.line(format!("{}\tmessage {number} deleted", groups.label(&group)))?;
    session.output.json(|| json!({ "group": groups.to_json(&group), "deleted": number }))
}

pub(super) fn put_message(value: &mut Map<String, Value>, message: &Message) {
    value.insert("number".into(), message.number.into());
    value.insert("epoch".into(), message.epoch.into());
    value.insert("time".into(), utc(message.time).into());
    value.insert("own".into(), message.own.into());
    put_bytes(value, "sender", &message.sender);
    put_bytes(value, "text", &message.content);
}
