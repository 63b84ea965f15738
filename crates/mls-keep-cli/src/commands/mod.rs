//! The commands.

mod archives;
mod copy;
mod enter;
mod groups;
mod import;
mod keeps;
mod key_packages;
mod messages;
mod outbox;
mod receive;
mod rejoin;

use clap::CommandFactory;
use clap_complete::Shell;
use mls_keep::ErrorKind;
use mls_keep::openmls::framing::MlsMessageOut;

use crate::cli::{Cli, Command, CommitOut, Global, GroupCommand, ImportCommand, KeyPackageCommand, Out, OutboxCommand};
use crate::failure::{Failure, Result};
use crate::files::NewFile;
use crate::session::Session;
use outbox::Parcel;

/// Runs what was typed.
///
/// Files to be written are prepared before the keep is opened, so that a file that is in the way costs nothing.
pub(crate) async fn run(cli: &Cli) -> Result<()> {
    let global = &cli.global;
    match &cli.command {
        Command::Keygen { file } => keeps::keygen(global, file),
        Command::Init { name, settings } => keeps::init(global, name, settings).await,
        Command::Clients => keeps::clients(global).await,
        Command::DeleteClient { name } => keeps::delete_client(global, name).await,
        Command::Stat => keeps::stat(global).await,
        Command::Verify => keeps::verify(global).await,
        Command::Gc => keeps::gc(global).await,
        Command::Purge => keeps::purge(global).await,
        Command::Backup(command) => archives::backup(global, command).await,
        Command::Move(command) => archives::moving(global, command).await,
        Command::Copy { from, to } => copy::copy(global, from, to).await,
        Command::Import(ImportCommand::Openmls { file, codec, skip }) => {
            import::openmls(global, file, *codec, *skip).await
        }
        Command::Demo { on, dir } => crate::demo::run(global.output(), on.clone(), dir.as_deref()).await,
        Command::Completions { shell } => completions(global, *shell),
        Command::KeyPackage { command: Some(KeyPackageCommand::List), .. } => {
            with_client(global, key_packages::list).await
        }
        Command::KeyPackage { command: Some(KeyPackageCommand::Prune), .. } => {
            with_client(global, key_packages::prune).await
        }
        Command::KeyPackage { command: None, new } => {
            let files = key_packages::prepare(new)?;
            with_client(global, async |session| key_packages::make(session, new, files).await).await
        }
        Command::Fingerprint { group } => {
            with_client(global, async |session| groups::fingerprint(session, group.as_deref()).await).await
        }
        Command::Group(command) => group(global, command).await,
        Command::Invite { group, key_packages, commit, welcome } => {
            let parcel = Parcel::new(committed(commit)?, Some(NewFile::prepare(welcome, commit.force)?))?;
            let key_packages = groups::read_key_packages(key_packages)?;
            with_client(global, async |session| {
                groups::invite(session, &group.group, &key_packages, parcel, commit).await
            })
            .await
        }
        Command::Join { welcome, replace, tree } => {
            let options = enter::options(tree.as_deref(), *replace)?;
            with_client(global, async |session| enter::join(session, welcome, options).await).await
        }
        Command::Send { group, text, out } => {
            let parcel = Parcel::new(file(out)?, None)?;
            with_client(global, async |session| messages::send(session, &group.group, text, parcel).await).await
        }
        Command::Receive { files, watch, save, remove } => {
            let how = receive::How { watch: *watch, save: *save, remove: *remove };
            with_client(global, async |session| receive::receive(session, files, how).await).await
        }
        Command::Update { group, commit } => {
            let parcel = Parcel::new(committed(commit)?, None)?;
            with_client(global, async |session| groups::update(session, &group.group, parcel, commit).await).await
        }
        Command::Commit { group, commit, welcome } => {
            let welcome = welcome.as_deref().map(|path| NewFile::prepare(path, commit.force)).transpose()?;
            let parcel = Parcel::new(committed(commit)?, welcome)?;
            with_client(global, async |session| groups::commit(session, &group.group, parcel, commit).await).await
        }
        Command::Confirm { group } => {
            with_client(global, async |session| groups::confirm(session, &group.group).await).await
        }
        Command::Reject { group } => {
            with_client(global, async |session| groups::reject(session, &group.group).await).await
        }
        Command::Pending { group } => {
            with_client(global, async |session| groups::pending(session, group.as_deref()).await).await
        }
        Command::Remove { group, member, leaf, commit } => {
            let parcel = Parcel::new(committed(commit)?, None)?;
            with_client(global, async |session| {
                groups::remove(session, &group.group, member.as_deref(), *leaf, parcel, commit).await
            })
            .await
        }
        Command::History { group, delete: Some(number), .. } => {
            with_client(global, async |session| messages::delete(session, &group.group, *number).await).await
        }
        Command::History { group, before, limit, long, delete: None } => {
            let page = (before.unwrap_or(u64::MAX), limit.unwrap_or(usize::MAX));
            with_client(global, async |session| messages::history(session, &group.group, page, *long).await).await
        }
        Command::Outbox(OutboxCommand::List) => with_client(global, outbox::list).await,
        Command::Outbox(OutboxCommand::Write { group, number, out, welcome }) => {
            let welcome = welcome.as_deref().map(|path| NewFile::prepare(path, out.force)).transpose()?;
            let parcel = Parcel::new(file(out)?, welcome)?;
            with_client(global, async |session| outbox::write(session, &group.group, *number, parcel).await).await
        }
    }
}

async fn group(global: &Global, command: &GroupCommand) -> Result<()> {
    match command {
        GroupCommand::Create { name } => with_client(global, async |session| groups::create(session, name).await).await,
        GroupCommand::List => with_client(global, groups::list).await,
        GroupCommand::Waiting => with_client(global, rejoin::waiting).await,
        GroupCommand::Members { group } => {
            with_client(global, async |session| groups::members(session, &group.group).await).await
        }
        GroupCommand::Show { group } => {
            with_client(global, async |session| groups::show(session, &group.group).await).await
        }
        GroupCommand::Info { group, out, without_tree } => {
            let out = file(out)?;
            with_client(global, async |session| enter::info(session, &group.group, !without_tree, out).await).await
        }
        GroupCommand::Tree { group, out } => {
            let out = NewFile::prepare(out, false)?;
            with_client(global, async |session| enter::tree(session, &group.group, out).await).await
        }
        GroupCommand::Rejoin { group_info, tree, commit, force } => {
            let parcel = Parcel::new(NewFile::prepare(commit, *force)?, None)?;
            let options = enter::options(tree.as_deref(), false)?;
            with_client(global, async |session| enter::rejoin(session, group_info, options, parcel).await).await
        }
        GroupCommand::Forget { group } => {
            with_client(global, async |session| groups::forget(session, &group.group).await).await
        }
        GroupCommand::Policy { group, keep_days, keep_messages, no_history, keep_all } => {
            let is_set = *no_history || *keep_all || keep_days.is_some() || keep_messages.is_some();
            let retention = is_set.then(|| groups::retention(*keep_days, *keep_messages, *no_history));
            with_client(global, async |session| groups::policy(session, &group.group, retention).await).await
        }
        GroupCommand::Leave { group, out } => {
            let parcel = Parcel::new(file(out)?, None)?;
            with_client(global, async |session| groups::leave(session, &group.group, parcel).await).await
        }
    }
}

async fn with_client(global: &Global, command: impl AsyncFnOnce(&mut Session) -> Result<()>) -> Result<()> {
    let mut session = Session::open(global).await?;
    command(&mut session).await?;
    session.close().await;
    Ok(())
}

fn file(out: &Out) -> Result<NewFile> {
    NewFile::prepare(&out.out, out.force)
}

fn committed(out: &CommitOut) -> Result<NewFile> {
    NewFile::prepare(&out.commit, out.force)
}

fn completions(global: &Global, shell: Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "mls-keep", &mut script);
    let script = String::from_utf8_lossy(&script);
    global.output().line(script.trim_end())?;
    global.output().json(|| script.into())
}

/// The TLS encoding of an MLS message.
pub(crate) fn to_bytes(message: &MlsMessageOut) -> Result<Vec<u8>> {
    message.to_bytes().map_err(|error| {
        let what = format!("an MLS message cannot be encoded: {error}");
        Failure::new(ErrorKind::Internal, what, "This is a defect of mls-keep: please report it.")
    })
}
