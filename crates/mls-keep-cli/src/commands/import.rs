//! Coming from elsewhere.

use std::path::Path;

use mls_keep::import::{Encoding, ImportReport, StoredState};
use mls_keep::{Client, ErrorKind, Persistence, PersistenceManager, SavePolicy};
use serde_json::json;

use crate::cli::{Codec, Global};
use crate::failure::{Failure, Result};
use crate::output::note;
use crate::printed::{escape, hex};
use crate::session::{close, open_keep};
use crate::store::Access;

/// `import openmls`
pub(super) async fn openmls(global: &Global, file: &Path, codec: Option<Codec>, skip: u32) -> Result<()> {
    let encoding = codec.map(|codec| match codec {
        Codec::Json => Encoding::Json,
        Codec::Cbor => Encoding::Cbor,
    });
    let stored = mls_keep_import::read(file, encoding).map_err(|error| {
        let advice = "End the application that has it open, and try again.";
        Failure::from(error).advise(ErrorKind::Busy, advice)
    })?;
    let identity = identity(global, &stored)?;
    let manager = open_keep(global, Access::Create).await?;
    let mut client = client(&manager, &stored, &identity).await?;
    let report = client.import_skipping(&stored, skip).await?;
    drop(client);
    close(&manager).await;
    print(global, file, &identity, &report)
}

/// The one that is meant.
fn identity(global: &Global, stored: &StoredState) -> Result<Vec<u8>> {
    let identities = stored.identities();
    match (&global.identity, identities.as_slice()) {
        (Some(named), _) => Ok(named.as_bytes().to_vec()),
        (None, [only]) => Ok(only.clone()),
        (None, []) => Err(Failure::usage("the file has neither groups nor key packages", "Say which file is meant.")),
        (None, several) => {
            let several: Vec<_> = several.iter().map(|identity| escape(identity)).collect();
            let text = format!("the file is of several identities: {}", several.join(", "));
            Err(Failure::usage(text, "Choose one with --identity."))
        }
    }
}

/// The client of the keep, made if it is not there.
async fn client(manager: &PersistenceManager, stored: &StoredState, identity: &[u8]) -> Result<Client> {
    match manager.load_client_state(identity).await {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        loaded => return Ok(loaded?),
    }
    let persistence = Persistence { manager: manager.clone(), save: SavePolicy::EveryOperation };
    Ok(stored.client_builder(identity)?.persistence(persistence).create().await?)
}

fn print(global: &Global, file: &Path, identity: &[u8], report: &ImportReport) -> Result<()> {
    let output = global.output();
    for group in &report.groups {
        let staged = if group.has_staged { "\ta commit is staged" } else { "" };
        output.line(format!(
            "{}\tepoch {}\tmembers: {}{staged}",
            hex(group.id.as_slice()),
            group.epoch,
            group.members
        ))?;
    }
    for left in &report.left {
        note(&format!("left: {}: {}", hex(&left.id), left.why));
    }
    output.line(format!(
        "{}: groups: {}, key packages: {}, pre-shared keys: {}; left: {} groups, {} key packages, {} pre-shared keys",
        escape(identity),
        report.groups.len(),
        report.key_packages,
        report.psks,
        report.left.len(),
        report.key_packages_left,
        report.psks_left,
    ))?;
    note(&format!("{} must not be used any more: it would use the same keys again", file.display()));
    output.json(|| {
        let groups = report.groups.iter().map(|group| {
            json!({
                "id": hex(group.id.as_slice()),
                "epoch": group.epoch,
                "members": group.members,
                "has_staged": group.has_staged,
            })
        });
        let left = report.left.iter().map(|left| json!({ "id": hex(&left.id), "why": left.why.to_string() }));
        json!({
            "identity": String::from_utf8_lossy(identity),
            "groups": groups.collect::<Vec<_>>(),
            "left": left.collect::<Vec<_>>(),
            "key_packages": report.key_packages,
            "key_packages_left": report.key_packages_left,
            "psks": report.psks,
            "psks_left": report.psks_left,
        })
    })
}
