//! Entering groups: by a Welcome, and by an external commit.

use std::path::Path;

use mls_keep::{ErrorKind, JoinOptions};
use serde_json::{Value, json};

use super::groups::{Made, hand_out};
use super::outbox::Parcel;
use crate::failure::{Failure, Result};
use crate::files::{self, NewFile};
use crate::output::note;
use crate::printed::hex;
use crate::session::Session;

pub(super) fn options(tree: Option<&Path>, replace: bool) -> Result<JoinOptions> {
    let mut options = JoinOptions::new();
    if let Some(tree) = tree {
        options = options.ratchet_tree(files::read_message(tree)?);
    }
    Ok(if replace { options.replace() } else { options })
}

/// `join`
pub(super) async fn join(session: &mut Session, welcome: &Path, options: JoinOptions) -> Result<()> {
    let bytes = files::read_message(welcome)?;
    let value = enter(session, welcome, &bytes, options).await?;
    session.output.json(|| value)
}

/// Enters by a Welcome, and prints it. Returns what it was.
pub(super) async fn enter(session: &mut Session, welcome: &Path, bytes: &[u8], options: JoinOptions) -> Result<Value> {
    let joined = session.client.join_with(bytes, options).await.map_err(|error| {
        let aborted =
            "Nothing was changed. A Welcome works once, and only for the client whose key package was invited.";
        let invalid = "Nothing was changed. `join` takes the file that `invite --welcome` wrote; `--replace` replaces an \
                       old state of the group.";
        let failure = Failure::from(error).about(welcome.display());
        failure.advise(ErrorKind::Aborted, aborted).advise(ErrorKind::Invalid, invalid)
    })?;
    let groups = session.groups().await?;
    if joined.already {
        note(&format!("{}: joined already", welcome.display()));
    }
    session.output.line(format!("{}\tepoch {}", groups.label(&joined.id), joined.epoch))?;
    Ok(json!({ "group": groups.to_json(&joined.id), "epoch": joined.epoch }))
}

/// `group info`
pub(super) async fn info(session: &mut Session, typed: &str, with_tree: bool, out: NewFile) -> Result<()> {
    let (groups, group) = session.group(typed).await?;
    let info = session.client.group_info(&group, with_tree).await?;
    let path = out.path().to_path_buf();
    out.write(&info)?;
    session.output.line(format!("for who is to enter {}: {}", groups.label(&group), path.display()))?;
    session.output.json(|| json!({ "group": groups.to_json(&group), "file": path.to_string_lossy() }))
}

/// `group tree`
pub(super) async fn tree(session: &mut Session, typed: &str, out: NewFile) -> Result<()> {
    let (groups, group) = session.group(typed).await?;
    let tree = session.client.ratchet_tree(&group).await?;
    let path = out.path().to_path_buf();
    out.write(&tree)?;
    session.output.line(format!("the ratchet tree of {}: {}", groups.label(&group), path.display()))?;
    session.output.json(|| json!({ "group": groups.to_json(&group), "file": path.to_string_lossy() }))
}

/// `group rejoin`
pub(super) async fn rejoin(session: &mut Session, info: &Path, options: JoinOptions, parcel: Parcel) -> Result<()> {
    let bytes = files::read_message(info)?;
    let made = session.client.stage_entry(bytes, options).await.map_err(|error| {
        let aborted = "Nothing was changed. A GroupInfo is good for one epoch and has to come with its ratchet tree, \
                       or the tree with --tree.";
        let failure = Failure::from(error).about(info.display());
        failure
            .advise(ErrorKind::Aborted, aborted)
            .advise(ErrorKind::Invalid, "Nothing was changed. `group info` writes one.")
    })?;
    let (groups, group) = (session.groups().await?, made.group.clone());
    note(&format!("when the delivery service has taken it: `mls-keep confirm {}`", hex(group.as_slice())));
    hand_out(session, &groups, &group, Made::entry(made), parcel).await
}
