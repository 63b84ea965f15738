//! `backup` and `move`: a client as a file.

use std::fs::File;
use std::path::{Path, PathBuf};

use mls_keep::{
    Archive, ArchiveContents, ArchiveKind, ArchiveSummary, BackupOptions, Client, ErrorKind, ExportOptions,
    PersistenceManager, RestoreOptions,
};
use serde_json::{Map, Value, json};

use super::rejoin;
use crate::archive_key::{Purpose, Secret};
use crate::cli::{ArchiveKey, BackupCommand, Global, MoveCommand};
use crate::failure::{Failure, Result};
use crate::files::NewFile;
use crate::output::{Output, columns, extended, note};
use crate::printed::{escape, hex, put_bytes};
use crate::progress;
use crate::session::{close, identity, open_keep};
use crate::store::Access;
use crate::time::rfc3339;

pub(super) async fn backup(global: &Global, command: &BackupCommand) -> Result<()> {
    match command {
        BackupCommand::Create { out, key, without_group_secrets, since } => {
            create(global, out, key, *without_group_secrets, since.as_deref()).await
        }
        BackupCommand::Verify { files, key } => verify(global, files, key).await,
        BackupCommand::List { files, key } => list(global, files, key).await,
        BackupCommand::Restore { files, key, replace } => restore(global, files, key, *replace).await,
    }
}

pub(super) async fn moving(global: &Global, command: &MoveCommand) -> Result<()> {
    match command {
        MoveCommand::Out { out, key, again } => move_out(global, out, key, *again).await,
        MoveCommand::In { file, key } => move_in(global, file, key).await,
        MoveCommand::Reclaim => reclaim(global).await,
    }
}

async fn create(
    global: &Global,
    out: &Path,
    key: &ArchiveKey,
    without_group_secrets: bool,
    since: Option<&Path>,
) -> Result<()> {
    let mut file = NewFile::prepare_private(out)?;
    let secret = Secret::get(key, if since.is_some() { Purpose::Open } else { Purpose::Create })?;
    let parent = match since {
        Some(path) => Some(open(path, &secret).await?),
        None => None,
    };
    let manager = open_keep(global, Access::Existing).await?;
    let identity = identity(&manager, global).await?;
    let bar = progress::bytes(None, "bytes backed up");
    let mut options = BackupOptions::new(secret.encryption()?).progress(|done| bar.set_position(done));
    if without_group_secrets {
        options = options.without_group_secrets();
    }
    if let Some(parent) = &parent {
        options = options.since(parent);
    }
    let written = manager.create_backup_of(&identity, file.file_mut(), options).await;
    bar.finish_and_clear();
    let advice =
        "No backup was written. Give --since a backup of this client, with or without group secrets as this one.";
    let written = written.map_err(|error| Failure::from(error).advise(ErrorKind::Invalid, advice))?;
    close(&manager).await;
    let path = file.finish()?;
    if !without_group_secrets {
        note(
            "anyone with this file and its key can read the groups' messages; --without-group-secrets leaves the secrets out",
        );
    }
    report(global.output(), &path, &written)
}

async fn verify(global: &Global, files: &[PathBuf], key: &ArchiveKey) -> Result<()> {
    let secret = Secret::get(key, Purpose::Open)?;
    let mut archives = open_all(files, &secret).await?;
    if archives.len() > 1 {
        Archive::check_chain(&mut archives)?;
    }
    let output = global.output();
    for (path, archive) in files.iter().zip(&archives) {
        let ArchiveSummary { records, len, .. } = archive.summary();
        output.line(format!("{}\tsound\t{records} records, {len} bytes", path.display()))?;
    }
    output.json(|| json!({ "sound": true, "archives": to_json_of(files, &archives) }))
}

async fn list(global: &Global, files: &[PathBuf], key: &ArchiveKey) -> Result<()> {
    let secret = Secret::get(key, Purpose::Open)?;
    let archives = open_all(files, &secret).await?;
    let row = |(path, archive): (&PathBuf, &Archive)| {
        let summary = archive.summary();
        vec![
            path.display().to_string(),
            kind(summary).to_owned(),
            contents(summary).to_owned(),
            escape(&summary.identity),
            rfc3339(summary.created),
            summary.number.to_string(),
            summary.scopes.saturating_sub(1).to_string(),
            summary.records.to_string(),
            summary.len.to_string(),
        ]
    };
    let header = ["FILE", "KIND", "CONTENTS", "CLIENT", "MADE", "COMMITS", "GROUPS", "RECORDS", "BYTES"];
    global.output().line(columns(&header, files.iter().zip(&archives).map(row).collect()))?;
    global.output().json(|| to_json_of(files, &archives))
}

async fn restore(global: &Global, files: &[PathBuf], key: &ArchiveKey, replace: bool) -> Result<()> {
    let secret = Secret::get(key, Purpose::Open)?;
    let mut archives = open_all(files, &secret).await?;
    let manager = open_keep(global, Access::Create).await?;
    let bar = progress::bytes(None, "bytes restored");
    let options = RestoreOptions::new().progress(|done| bar.set_position(done));
    let options = if replace { options.replace() } else { options };
    let restored = manager.restore_from_backup(&mut archives, options).await;
    bar.finish_and_clear();
    let client = restored.map_err(|error| {
        Failure::from(error)
            .advise(ErrorKind::OutcomeUnknown, IN_DOUBT)
            .advise(ErrorKind::Conflict, "Nothing was changed. Restore into another store, or say --replace.")
            .advise(
                ErrorKind::Invalid,
                "Nothing was changed. Name the full backup first, then its deltas in their order.",
            )
    })?;
    arrived(global, &manager, client).await
}

async fn move_out(global: &Global, out: &Path, key: &ArchiveKey, again: bool) -> Result<()> {
    let mut file = NewFile::prepare_private(out)?;
    let secret = Secret::get(key, Purpose::Create)?;
    let encryption = secret.encryption()?;
    let manager = open_keep(global, Access::Existing).await?;
    let identity = identity(&manager, global).await?;
    let bar = progress::bytes(None, "bytes written");
    let options = ExportOptions::new(encryption).progress(|done| bar.set_position(done));
    let written = match again {
        true => manager.export_again(&identity, file.file_mut(), options).await,
        false => match manager.load_client_state(&identity).await {
            Ok(mut client) => client.export_state(file.file_mut(), options).await,
            Err(error) => Err(error),
        },
    };
    bar.finish_and_clear();
    let advice = "It was moved out before. If that file was lost before it was used: `move out --again` writes it once more, \
                  `move reclaim` takes the client back.";
    let unwritten = "The client is moved out, and its file is not there: run `move out --again`.";
    let written = match written {
        Ok(written) => written,
        Err(error) => {
            // The last bytes may be what could not be written.
            let is_out = manager.keep().inspect_client(&identity).await.is_ok_and(|store| store.is_moved_out());
            let was_out = error.kind() == ErrorKind::MovedOut;
            let failure = Failure::from(error).advise(ErrorKind::MovedOut, advice);
            return Err(if is_out && !was_out { failure.advise_always(unwritten) } else { failure });
        }
    };
    close(&manager).await;
    let path = file.finish().map_err(|failure| failure.advise_always(unwritten))?;
    note("import it once, with `move in`, and delete the file then: this client goes on there, and no longer here");
    report(global.output(), &path, &written)
}

async fn move_in(global: &Global, file: &Path, key: &ArchiveKey) -> Result<()> {
    let secret = Secret::get(key, Purpose::Open)?;
    let archive = open(file, &secret).await?;
    let manager = open_keep(global, Access::Create).await?;
    let client = Client::import_state(&manager, archive).await.map_err(|error| {
        Failure::from(error)
            .advise(ErrorKind::OutcomeUnknown, IN_DOUBT)
            .advise(
                ErrorKind::Conflict,
                "Nothing was changed. A client moves in once, and where there is none of its name.",
            )
            .advise(ErrorKind::Invalid, "Nothing was changed. This is a backup: `mls-keep backup restore` restores it.")
    })?;
    arrived(global, &manager, client).await
}

async fn reclaim(global: &Global) -> Result<()> {
    let manager = open_keep(global, Access::Existing).await?;
    let identity = identity(&manager, global).await?;
    let client = manager.reclaim(&identity).await.map_err(|error| {
        Failure::from(error).advise(ErrorKind::Invalid, "Nothing was changed. The client is here and can be used.")
    })?;
    arrived(global, &manager, client).await
}

/// Of a restoration whose last step may have been done.
const IN_DOUBT: &str =
    "`mls-keep group waiting` shows whether the client is there as it is in the file. If not, run the command again.";

/// Says which client is here now, and which groups it must enter anew.
async fn arrived(global: &Global, manager: &PersistenceManager, mut client: Client) -> Result<()> {
    let waiting = client.rejoin_plan().await?;
    let identity = client.identity().to_vec();
    drop(client);
    close(manager).await;
    let output = global.output();
    output.line(format!("{}: ready", escape(&identity)))?;
    rejoin::print(output, &waiting)?;
    output.json(|| {
        let mut value = Map::new();
        put_bytes(&mut value, "identity", &identity);
        value.insert("to_rejoin".into(), rejoin::to_json(&waiting));
        value.into()
    })
}

async fn open(path: &Path, secret: &Secret<'_>) -> Result<Archive> {
    let file = File::open(path).map_err(|error| Failure::unreadable(path, &error))?;
    let len = file.metadata().map_err(|error| Failure::unreadable(path, &error))?;
    if len.is_dir() {
        return Err(Failure::unreadable(path, &std::io::ErrorKind::IsADirectory.into()));
    }
    let bar = progress::bytes(Some(len.len()), &format!("bytes of {} verified", path.display()));
    let opened = Archive::open(file, &secret.encryption()?, &mut |read| bar.set_position(read)).await;
    bar.finish_and_clear();
    opened.map_err(|error| {
        Failure::from(error)
            .about(path.display())
            .advise(ErrorKind::Corrupt, "Nothing was changed. Use another copy of it, or an older backup.")
            .advise(ErrorKind::WrongKey, "Give the key file, or the passphrase, that the archive was made with.")
    })
}

async fn open_all(paths: &[PathBuf], secret: &Secret<'_>) -> Result<Vec<Archive>> {
    let mut archives = Vec::with_capacity(paths.len());
    for path in paths {
        archives.push(open(path, secret).await?);
    }
    Ok(archives)
}

fn report(output: Output, path: &Path, written: &ArchiveSummary) -> Result<()> {
    let ArchiveSummary { records, len, .. } = written;
    output.line(format!("{}: {}, {records} records, {len} bytes", path.display(), kind(written)))?;
    output.json(|| to_json(path, written))
}

fn kind(summary: &ArchiveSummary) -> &'static str {
    match summary.kind {
        ArchiveKind::Full => "full",
        ArchiveKind::Delta { .. } => "delta",
        ArchiveKind::Move => "move",
        _ => "unknown",
    }
}

fn contents(summary: &ArchiveSummary) -> &'static str {
    match summary.contents {
        ArchiveContents::Everything => "everything",
        ArchiveContents::WithoutGroupSecrets => "no group secrets",
        ArchiveContents::OwnMaterial => "own material",
        _ => "unknown",
    }
}

fn to_json(path: &Path, summary: &ArchiveSummary) -> Value {
    let mut value = Map::new();
    put_bytes(&mut value, "identity", &summary.identity);
    let parent = match &summary.kind {
        ArchiveKind::Delta { parent } => Some(hex(parent)),
        _ => None,
    };
    let fields = json!({
        "file": path.to_string_lossy(),
        "id": hex(&summary.id),
        "kind": kind(summary),
        "contents": contents(summary),
        "parent": parent,
        "made": rfc3339(summary.created),
        "commits": summary.number,
        "groups": summary.scopes.saturating_sub(1),
        "records": summary.records,
        "bytes": summary.len,
    });
    extended(fields, value)
}

fn to_json_of(files: &[PathBuf], archives: &[Archive]) -> Value {
    files.iter().zip(archives).map(|(path, archive)| to_json(path, archive.summary())).collect()
}
