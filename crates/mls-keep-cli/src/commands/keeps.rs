//! Keys, keeps and their clients as a whole.

use std::path::Path;

use mls_keep::openmls::prelude::Ciphersuite;
use mls_keep::{ErrorKind, GroupSettings, HandshakeFormat, PersistenceManager, Statistics, Verification};
use serde_json::{Map, Value, json};

use crate::cli::{Global, Settings};
use crate::failure::{Failure, Result};
use crate::output::{columns, note};
use crate::printed::{escape, put_bytes};
use crate::session::{close, identities, open_keep};
use crate::store::{Access, OldVersions};
use crate::{key, progress, session};

/// `keygen`
pub(super) fn keygen(global: &Global, file: &Path) -> Result<()> {
    key::generate(file)?;
    global
        .output()
        .line(format!("{}: keep a copy in a safe place. Without it the keep cannot be opened", file.display()))?;
    global.output().json(|| json!({ "file": file.to_string_lossy() }))
}

/// `init`
pub(super) async fn init(global: &Global, name: &str, typed: &Settings) -> Result<()> {
    let ciphersuite = Ciphersuite::try_from(typed.ciphersuite).map_err(|_| {
        let what = format!("{} is the number of no ciphersuite that this program knows", typed.ciphersuite);
        Failure::usage(what, "RFC 9420 section 17.1 has the numbers; 1 is the one that every MLS library has.")
    })?;
    let mut settings =
        GroupSettings::new().max_past_epochs(typed.past_epochs.into()).padding_size(typed.padding.into());
    if typed.public_handshakes {
        settings = settings.handshake_format(HandshakeFormat::Public);
    }
    let manager = open_keep(global, Access::Create).await?;
    let builder = manager.client_builder(name).ciphersuite(ciphersuite).settings(settings);
    let client = builder.create().await.map_err(|error| {
        let advice = "Nothing was changed. Use that client, or choose another name.";
        Failure::from(error).advise(ErrorKind::Conflict, advice)
    })?;
    drop(client);
    close(&manager).await;
    global.output().line(format!("{}: ready", escape(name.as_bytes())))?;
    global.output().json(|| json!({ "identity": name, "store": global.store }))
}

/// `delete-client`
pub(super) async fn delete_client(global: &Global, name: &str) -> Result<()> {
    let manager = open_keep(global, Access::Existing).await?;
    let identity = session::find_identity(&manager.clients().await?, name)?;
    manager.delete_client(&identity).await?;
    close(&manager).await;
    global.output().line(format!("{}: deleted", escape(&identity)))?;
    global.output().json(|| json!({ "deleted": true }))
}

/// `clients`
pub(super) async fn clients(global: &Global) -> Result<()> {
    let manager = open_keep(global, Access::Existing).await?;
    let identities = identities(&manager, global).await?;
    close(&manager).await;
    for identity in &identities {
        global.output().line(escape(identity))?;
    }
    global.output().json(|| {
        let value = |identity: &Vec<u8>| {
            let mut value = Map::new();
            put_bytes(&mut value, "identity", identity);
            Value::from(value)
        };
        identities.iter().map(value).collect()
    })
}

/// `stat`
pub(super) async fn stat(global: &Global) -> Result<()> {
    let manager = open_keep(global, Access::Existing).await?;
    let checked = check_all(&manager, global).await?;
    let promised = manager.keep().capabilities();
    close(&manager).await;
    let versions = match session::store(global)?.1.old_versions().await {
        Ok(versions) => versions,
        Err(error) => {
            note(&format!("old versions cannot be counted: {error}"));
            None
        }
    };

    let output = global.output();
    let durable = format!("{:?}", promised.durability);
    output.line(format!("store: {}", global.store.as_deref().unwrap_or_default()))?;
    output.line(format!("an acknowledged operation survives: {durable}"))?;
    output.line(format!("deleted bytes are erased from its files: {}", yes(promised.erases_deleted)))?;
    if let Some(OldVersions { count, bytes }) = &versions {
        output.line(format!("old versions in the bucket: {count}, {bytes} bytes; `mls-keep purge` deletes them"))?;
    }
    output.line("")?;
    let header = ["CLIENT", "COMMITS", "GROUPS", "RECORDS", "NODES", "STORED BYTES", "VALUE BYTES", "ORPHANS"];
    output.line(columns(&header, checked.iter().map(Checked::row).collect()))?;
    output.json(|| {
        json!({
            "store": global.store,
            "durability": durable,
            "erases_deleted": promised.erases_deleted,
            "old_versions": versions.map(|OldVersions { count, bytes }| json!({ "count": count, "bytes": bytes })),
            "clients": checked.iter().map(Checked::to_json).collect::<Vec<_>>(),
        })
    })
}

/// `verify`
pub(super) async fn verify(global: &Global) -> Result<()> {
    let manager = open_keep(global, Access::Existing).await?;
    let checked = check_all(&manager, global).await?;
    close(&manager).await;

    let output = global.output();
    let problems: usize = checked.iter().map(|client| client.found.problems.len()).sum();
    for client in &checked {
        let name = escape(&client.identity);
        let Statistics { nodes, records, .. } = client.found.statistics;
        match client.found.problems.len() {
            0 => output.line(format!("{name}\tsound\t{nodes} nodes, {records} records, groups: {}", client.groups))?,
            wrong => output.line(format!("{name}\tdamaged\tproblems: {wrong}"))?,
        }
        for problem in &client.found.problems {
            output.line(format!("{name}\t{}", escape(problem.as_bytes())))?;
        }
    }
    output.json(|| {
        let clients: Vec<_> = checked.iter().map(Checked::to_json).collect();
        json!({ "sound": problems == 0, "clients": clients })
    })?;
    if problems == 0 {
        return Ok(());
    }
    let advice = "Stop using this copy and restore a backup.";
    Err(Failure::new(ErrorKind::Corrupt, format!("something is damaged; problems found: {problems}"), advice))
}

/// `gc`
pub(super) async fn gc(global: &Global) -> Result<()> {
    let manager = open_keep(global, Access::Existing).await?;
    let bar = progress::counter("clients");
    let swept = manager.keep().sweep(&mut |clients| bar.set_position(clients as u64)).await;
    bar.finish_and_clear();
    let swept = swept?;
    close(&manager).await;
    let output = global.output();
    output.line(format!("clients looked through: {}, nodes deleted: {}", swept.clients, swept.nodes))?;
    output.json(|| json!({ "clients": swept.clients, "nodes": swept.nodes, "skipped": swept.skipped }))?;
    if swept.skipped > 0 {
        note(&format!("clients left as they are: {}; `mls-keep verify` says why", swept.skipped));
    }
    Ok(())
}

/// `purge`
pub(super) async fn purge(global: &Global) -> Result<()> {
    let (url, store) = session::store(global)?;
    let deleted = store.purge_old_versions().await.map_err(|error| Failure::from(error).about(url))?;
    let deleted = deleted.ok_or_else(|| {
        Failure::usage(format!("the store `{url}` is not in a bucket"), "Only buckets keep old versions of objects.")
    })?;
    global.output().line(format!("old versions deleted: {deleted}"))?;
    global.output().json(|| json!({ "deleted": deleted }))
}

/// A client that was walked through.
struct Checked {
    identity: Vec<u8>,
    commits: u64,
    groups: usize,
    found: Verification,
}

impl Checked {
    fn row(&self) -> Vec<String> {
        let Statistics { records, nodes, stored_bytes, value_bytes, orphans, .. } = self.found.statistics;
        let counts = [records, nodes, stored_bytes, value_bytes, orphans].map(|count| count.to_string());
        [escape(&self.identity), self.commits.to_string(), self.groups.to_string()].into_iter().chain(counts).collect()
    }

    fn to_json(&self) -> Value {
        let counted = &self.found.statistics;
        let mut value = Map::new();
        put_bytes(&mut value, "identity", &self.identity);
        value.insert("sound".into(), self.found.is_sound().into());
        value.insert("problems".into(), self.found.problems.clone().into());
        for (name, count) in [
            ("groups", self.groups),
            ("scopes", counted.scopes),
            ("records", counted.records),
            ("nodes", counted.nodes),
            ("chunks", counted.chunks),
            ("stored_bytes", counted.stored_bytes),
            ("value_bytes", counted.value_bytes),
            ("orphans", counted.orphans),
        ] {
            value.insert(name.into(), count.into());
        }
        value.insert("commits".into(), self.commits.into());
        value.into()
    }
}

async fn check_all(manager: &PersistenceManager, global: &Global) -> Result<Vec<Checked>> {
    let mut checked = Vec::new();
    for identity in identities(manager, global).await? {
        checked.push(check(manager, identity).await?);
    }
    Ok(checked)
}

/// Opens everything of a client: its nodes, and what OpenMLS makes of them.
async fn check(manager: &PersistenceManager, identity: Vec<u8>) -> Result<Checked> {
    // Also one that was moved to another device.
    let store = manager.keep().inspect_client(&identity).await?;
    let bar = progress::counter(&format!("nodes of {}", escape(&identity)));
    let found = store.verify(&mut |nodes| bar.set_position(nodes as u64)).await;
    bar.finish_and_clear();
    let mut checked = Checked { identity, commits: store.number(), groups: 0, found: found? };
    // Damage of the nodes was listed; it would only be met again.
    if store.is_moved_out() {
        checked.groups = checked.found.statistics.scopes.saturating_sub(1);
        note(&format!("{}: moved to another device", escape(&checked.identity)));
    } else if checked.found.is_sound() {
        match open_groups(manager, &checked.identity).await {
            Ok(groups) => checked.groups = groups,
            Err(error) if error.kind() == ErrorKind::Corrupt => checked.found.problems.push(error.to_string()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(checked)
}

async fn open_groups(manager: &PersistenceManager, identity: &[u8]) -> mls_keep::Result<usize> {
    let mut client = manager.load_client_state(identity).await?;
    let groups = client.groups().await?;
    for (group, _) in &groups {
        match client.group(group).await {
            // It came from a backup without the secrets of groups.
            Err(error) if error.kind() == ErrorKind::NeedsRejoin => {}
            found => drop(found?),
        }
        client.history(group, usize::MAX).await?;
        client.outbox(group).await?;
    }
    Ok(groups.len())
}

fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}
