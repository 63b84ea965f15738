//! Groups, their members and their commits.

use std::path::PathBuf;
use std::time::Duration;

use mls_keep::openmls::group::GroupId;
use mls_keep::{Change, ErrorKind, GroupMember, GroupSummary, OwnCommit, Retention};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::outbox::{self, Parcel};
use super::to_bytes;
use crate::cli::CommitOut;
use crate::failure::{Failure, Result};
use crate::files;
use crate::groups::Groups;
use crate::output::{columns, extended, note};
use crate::printed::{escape, hex, is_meant, put_bytes};
use crate::session::Session;

/// `group create`
pub(super) async fn create(session: &mut Session, name: &str) -> Result<()> {
    let group = session.client.create_group(name).await?;
    session.output.line(format!("{}\t{}", escape(name.as_bytes()), hex(group.as_slice())))?;
    session.output.json(|| json!({ "id": hex(group.as_slice()), "name": name }))
}

/// `group list`
pub(super) async fn list(session: &mut Session) -> Result<()> {
    let groups = session.groups().await?;
    let (mut rows, mut values) = (Vec::new(), Vec::new());
    for (id, name) in groups.iter() {
        let group = match session.client.group(id).await {
            Ok(group) => Some(group),
            // It came from a backup without the secrets of groups, and is known by its name only.
            Err(error) if error.kind() == ErrorKind::NeedsRejoin => None,
            Err(error) => return Err(error.into()),
        };
        let [epoch, members] = match &group {
            Some(group) => [group.epoch.to_string(), group.members.to_string()],
            None => ["-".to_owned(), "-".to_owned()],
        };
        let state = group.as_ref().map_or(WAITS, state).to_owned();
        rows.push(vec![escape(name.as_bytes()), hex(id.as_slice()), epoch, members, state]);
        values.push(group.as_ref().map_or_else(|| waiting_json(id, name), summary_json));
    }
    if rows.is_empty() {
        session.output.line("no groups: `mls-keep group create NAME` makes one, `mls-keep join WELCOME` enters one")?;
    } else {
        session.output.line(columns(&["NAME", "ID", "EPOCH", "MEMBERS", "STATE"], rows))?;
    }
    session.output.json(|| values.into())
}

/// `group show`
pub(super) async fn show(session: &mut Session, typed: &str) -> Result<()> {
    let (_, group) = session.group(typed).await?;
    let group = session.client.group(&group).await?;
    let rows = [
        ("name", escape(group.name.as_bytes())),
        ("id", hex(group.id.as_slice())),
        ("epoch", group.epoch.to_string()),
        ("members", group.members.to_string()),
        ("state", state(&group).to_owned()),
        ("proposals that wait", group.pending_proposals.to_string()),
        ("ciphersuite", format!("{:?}", group.ciphersuite)),
    ];
    for (name, value) in rows {
        session.output.line(format!("{:<20} {value}", format!("{name}:")))?;
    }
    session.output.json(|| summary_json(&group))
}

/// `fingerprint`
///
/// A fingerprint is the SHA-256 of a signature public key. Members of one epoch have the same epoch authenticator (RFC 9420
/// section 8.7), whatever a delivery service does.
pub(super) async fn fingerprint(session: &mut Session, typed: Option<&str>) -> Result<()> {
    let Some(typed) = typed else {
        let own = digits(session.client.credential().signature_key.as_slice());
        session.output.line(format!("{}\t{own}", escape(session.client.identity())))?;
        return session.output.json(|| json!({ "fingerprint": own }));
    };
    let (_, group) = session.group(typed).await?;
    let members = session.client.members(&group).await?;
    let authenticator = session.client.with_group(&group, |group| hex(group.epoch_authenticator().as_slice())).await?;
    for member in &members {
        session.output.line(format!("{}\t{}", escape(&member.identity), digits(&member.signature_key)))?;
    }
    session.output.line(format!("this epoch\t{authenticator}"))?;
    session.output.json(|| {
        let value = |member: &GroupMember| {
            let mut value = Map::new();
            put_bytes(&mut value, "identity", &member.identity);
            value.insert("leaf".into(), member.index.into());
            value.insert("fingerprint".into(), digits(&member.signature_key).into());
            Value::from(value)
        };
        json!({ "members": members.iter().map(value).collect::<Vec<_>>(), "epoch_authenticator": authenticator })
    })
}

/// In groups, as they are read aloud.
fn digits(signature_key: &[u8]) -> String {
    let digest = hex(&Sha256::digest(signature_key));
    digest.as_bytes().chunks(4).map(String::from_utf8_lossy).collect::<Vec<_>>().join(" ")
}

/// `group forget`
pub(super) async fn forget(session: &mut Session, typed: &str) -> Result<()> {
    let (groups, group) = session.group(typed).await?;
    session.client.forget_group(&group).await?;
    session.output.line(format!("{}\tforgotten", groups.label(&group)))?;
    session.output.json(|| json!({ "group": groups.to_json(&group) }))
}

pub(super) fn retention(days: Option<u32>, messages: Option<u64>, nothing: bool) -> Retention {
    let mut retention = if nothing { Retention::nothing() } else { Retention::all() };
    if let Some(days) = days {
        retention = retention.age(Duration::from_secs(u64::from(days) * 24 * 3600));
    }
    match messages {
        Some(messages) => retention.messages(messages),
        None => retention,
    }
}

/// `group policy`
pub(super) async fn policy(session: &mut Session, typed: &str, retention: Option<Retention>) -> Result<()> {
    let (groups, group) = session.group(typed).await?;
    if let Some(retention) = retention {
        session.client.set_retention(&group, retention).await?;
    }
    let gone = session.client.prune_history(&group).await?;
    if gone > 0 {
        note(&format!("messages deleted: {gone}"));
    }
    let kept = session.client.retention(&group).await?;
    session.output.line(format!("{}\t{kept}", groups.label(&group)))?;
    session.output.json(|| json!({ "group": groups.to_json(&group), "keeps": kept.to_string() }))
}

/// `group members`
pub(super) async fn members(session: &mut Session, typed: &str) -> Result<()> {
    let (_, group) = session.group(typed).await?;
    let members = session.client.members(&group).await?;
    let own_key = session.client.credential().signature_key.as_slice().to_vec();
    let is_own = |member: &GroupMember| member.signature_key == own_key;
    let row = |member: &GroupMember| {
        let identity = escape(&member.identity);
        let own = if is_own(member) { "this client" } else { "" };
        vec![member.index.to_string(), identity, hex(&member.signature_key), own.to_owned()]
    };
    session.output.line(columns(&["LEAF", "IDENTITY", "SIGNATURE KEY", ""], members.iter().map(row).collect()))?;
    session.output.json(|| {
        let value = |member: &GroupMember| {
            let mut value = Map::new();
            value.insert("index".into(), member.index.into());
            put_bytes(&mut value, "identity", &member.identity);
            value.insert("signature_key".into(), hex(&member.signature_key).into());
            value.insert("own".into(), is_own(member).into());
            Value::from(value)
        };
        members.iter().map(value).collect()
    })
}

/// `group leave`
pub(super) async fn leave(session: &mut Session, typed: &str, parcel: Parcel) -> Result<()> {
    let (groups, group) = session.group(typed).await?;
    let proposal = session.client.leave(&group).await?;
    let message = to_bytes(&proposal)?;
    let made = Made { message, welcome: None, name: "file", invited: None, staged: false, epoch: None };
    hand_out(session, &groups, &group, made, parcel).await
}

/// The key packages of files.
pub(super) fn read_key_packages(paths: &[PathBuf]) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    paths.iter().map(|path| Ok((path.clone(), files::read_message(path)?))).collect()
}

/// `invite`
pub(super) async fn invite(
    session: &mut Session,
    typed: &str,
    key_packages: &[(PathBuf, Vec<u8>)],
    parcel: Parcel,
    how: &CommitOut,
) -> Result<()> {
    let (groups, group) = session.group(typed).await?;
    let bytes: Vec<_> = key_packages.iter().map(|(_, bytes)| bytes).collect();
    let made = make(session, &group, Change::new().invite(bytes), how).await.map_err(|error| {
        let advice =
            "Nothing was changed. `invite` takes the files that `key-package --out` wrote, fresh and used once.";
        let failure = Failure::from(error).advise(ErrorKind::Invalid, advice).advise(ErrorKind::Aborted, advice);
        match key_packages {
            [(path, _)] if failure.kind() == Some(ErrorKind::Invalid) => failure.about(path.display()),
            _ => failure,
        }
    })?;
    let invited = Some(key_packages.len());
    let made = Made { invited, ..Made::commit(made, how.merge) };
    hand_out(session, &groups, &group, made, parcel).await
}

/// `update`
pub(super) async fn update(session: &mut Session, typed: &str, parcel: Parcel, how: &CommitOut) -> Result<()> {
    let (groups, group) = session.group(typed).await?;
    let made = make(session, &group, Change::new().update(), how).await?;
    hand_out(session, &groups, &group, Made::commit(made, how.merge), parcel).await
}

/// `commit`
pub(super) async fn commit(session: &mut Session, typed: &str, parcel: Parcel, how: &CommitOut) -> Result<()> {
    let (groups, group) = session.group(typed).await?;
    let made = make(session, &group, Change::new(), how).await?;
    hand_out(session, &groups, &group, Made::commit(made, how.merge), parcel).await
}

/// `remove`
pub(super) async fn remove(
    session: &mut Session,
    typed: &str,
    member: Option<&str>,
    leaf: Option<u32>,
    parcel: Parcel,
    how: &CommitOut,
) -> Result<()> {
    let (groups, group) = session.group(typed).await?;
    let members = session.client.members(&group).await?;
    let is_it = |other: &&GroupMember| match (member, leaf) {
        (Some(member), _) => is_meant(&other.identity, member),
        (None, leaf) => Some(other.index) == leaf,
    };
    let Some(meant) = members.iter().find(is_it) else {
        let what = match member {
            Some(member) => format!("the group has no member `{member}`"),
            None => "the group has no member at this leaf".to_owned(),
        };
        let advice = format!("`mls-keep group members {}` shows who is there.", hex(group.as_slice()));
        return Err(Failure::new(ErrorKind::NotFound, what, advice));
    };
    let own_leaf = session.client.with_group(&group, |group| group.own_leaf_index().u32()).await?;
    // By its name it is removed with everybody who has the same one.
    if meant.index == own_leaf || leaf.is_none() && meant.identity == session.client.identity() {
        let what = "a client cannot remove itself";
        let advice = "Nothing was changed. `mls-keep group leave` proposes to leave.";
        return Err(Failure::new(ErrorKind::Invalid, what, advice));
    }
    let change = match leaf {
        Some(leaf) => Change::new().remove_leaf(leaf),
        None => Change::new().remove(&meant.identity),
    };
    let made = make(session, &group, change, how).await?;
    hand_out(session, &groups, &group, Made::commit(made, how.merge), parcel).await
}

/// `confirm`
pub(super) async fn confirm(session: &mut Session, typed: &str) -> Result<()> {
    let (groups, group) = session.group(typed).await?;
    let summary = session.client.confirm(&group).await.map_err(no_staged)?;
    outbox::taken(session, &group).await?;
    session.output.line(format!("{}\tepoch {}", groups.label(&group), summary.epoch))?;
    session.output.json(|| json!({ "group": groups.to_json(&group), "epoch": summary.epoch }))
}

/// `reject`
pub(super) async fn reject(session: &mut Session, typed: &str) -> Result<()> {
    let (groups, group) = session.group(typed).await?;
    session.client.reject(&group).await.map_err(no_staged)?;
    session.output.line(format!("{}\tnothing is staged", groups.label(&group)))?;
    session.output.json(|| json!({ "group": groups.to_json(&group) }))
}

/// `pending`
pub(super) async fn pending(session: &mut Session, typed: Option<&str>) -> Result<()> {
    let groups = session.groups().await?;
    let asked = match typed {
        Some(typed) => vec![session.group(typed).await?.1],
        None => {
            let staged = session.client.outbox_of_all_groups().await?.into_iter().filter(|outgoing| outgoing.is_staged);
            staged.map(|outgoing| outgoing.group).collect()
        }
    };
    let mut staged = Vec::new();
    for group in asked {
        staged.extend(session.client.pending(&group).await?);
    }
    if staged.is_empty() {
        session.output.line("nothing is staged")?;
    }
    for commit in &staged {
        session.output.line(format!("{}\tstaged in epoch {}", groups.label(&commit.group), commit.epoch))?;
    }
    session.output.json(|| {
        let value = |commit: &OwnCommit| {
            let has_welcome = commit.welcome.is_some();
            json!({ "group": groups.to_json(&commit.group), "epoch": commit.epoch, "has_welcome": has_welcome })
        };
        staged.iter().map(value).collect()
    })
}

fn no_staged(error: mls_keep::Error) -> Failure {
    Failure::from(error).advise(ErrorKind::NotFound, "Nothing was changed. `mls-keep pending` shows what is staged.")
}

async fn make(session: &mut Session, group: &GroupId, change: Change, how: &CommitOut) -> mls_keep::Result<OwnCommit> {
    let change = if how.without_proposals { change.without_proposals() } else { change };
    match how.merge {
        true => session.client.commit_at_once(group, change).await,
        false => session.client.stage(group, change).await,
    }
}

/// What an operation made for others.
pub(super) struct Made {
    message: Vec<u8>,
    welcome: Option<Vec<u8>>,
    /// What the message is called in JSON.
    name: &'static str,
    invited: Option<usize>,
    /// It is staged, and not merged.
    staged: bool,
    /// If the group cannot be asked.
    epoch: Option<u64>,
}

impl Made {
    /// An external commit, to a group of which the client need not be a member so far.
    pub(super) fn entry(made: OwnCommit) -> Self {
        Self { epoch: Some(made.epoch), ..Self::commit(made, false) }
    }

    pub(super) fn commit(made: OwnCommit, merged: bool) -> Self {
        Self {
            message: made.commit,
            welcome: made.welcome,
            name: "commit",
            invited: None,
            staged: !merged,
            epoch: None,
        }
    }
}

/// Writes the files of an operation, and prints what it was.
pub(super) async fn hand_out(
    session: &mut Session,
    groups: &Groups,
    group: &GroupId,
    made: Made,
    parcel: Parcel,
) -> Result<()> {
    let (lines, files) = (parcel.to_lines(), parcel.to_json(made.name));
    outbox::deliver(session, group, &made.message, made.welcome.as_deref(), parcel).await?;
    let epoch = match made.epoch {
        Some(epoch) => Ok(epoch),
        None => session.client.group(group).await.map(|group| group.epoch),
    };
    let epoch = epoch.map_err(|error| {
        Failure::from(error).advise_always("The operation is durable and its files are written: do not repeat it.")
    })?;
    let staged = if made.staged { "staged in " } else { "" };
    session.output.line(format!("{}\t{staged}epoch {epoch}", groups.label(group)))?;
    lines.iter().try_for_each(|line| session.output.line(line))?;
    session.output.json(|| {
        let invited = made.invited.map(|invited| ("invited".to_owned(), invited.into()));
        let staged = made.staged.then(|| ("staged".to_owned(), true.into()));
        extended(
            json!({ "group": groups.to_json(group), "epoch": epoch }),
            files.into_iter().chain(invited).chain(staged),
        )
    })
}

/// Of a group that was restored: `group waiting` says whom to ask.
const WAITS: &str = "to be entered anew";

fn state(group: &GroupSummary) -> &'static str {
    if group.needs_rejoin {
        return WAITS;
    }
    match (group.is_active, group.has_staged, group.pending_proposals) {
        (false, true, _) => "removed, a commit is staged",
        (false, false, _) => "removed",
        (true, true, _) => "member, a commit is staged",
        (true, false, 0) => "member",
        (true, false, _) => "member, a proposal waits for a commit",
    }
}

fn summary_json(group: &GroupSummary) -> Value {
    json!({
        "id": hex(group.id.as_slice()),
        "name": group.name,
        "epoch": group.epoch,
        "members": group.members,
        "active": group.is_active,
        "pending_proposals": group.pending_proposals,
        "needs_rejoin": group.needs_rejoin,
        "ciphersuite": format!("{:?}", group.ciphersuite),
    })
}

/// A group of which there is nothing but its name.
fn waiting_json(id: &GroupId, name: &str) -> Value {
    json!({ "id": hex(id.as_slice()), "name": name, "needs_rejoin": true })
}
