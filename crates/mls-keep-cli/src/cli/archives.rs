//! The commands about backups and moves.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

#[derive(Debug, Subcommand)]
pub(crate) enum BackupCommand {
    /// Write a backup of the client
    ///
    /// A restored client can read, and must enter each of its groups anew before it sends: keys may have been used since.
    Create {
        /// Where the backup is written. Must not exist
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        out: PathBuf,
        #[command(flatten)]
        key: ArchiveKey,
        /// Leave out what reads messages: the identity, members, history and the application's records remain, enough to enter
        /// the groups anew
        #[arg(long)]
        without_group_secrets: bool,
        /// Only what has changed since this backup, which is needed to restore the new one. Its key is used
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        since: Option<PathBuf>,
    },
    /// Read backups to their end, and check that they go on from each other; exit 1 if anything is wrong
    Verify {
        /// A full backup, and its deltas in their order
        #[arg(required = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
        files: Vec<PathBuf>,
        #[command(flatten)]
        key: ArchiveKey,
    },
    /// List what backups hold
    List {
        /// Backups, or files of a move
        #[arg(required = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
        files: Vec<PathBuf>,
        #[command(flatten)]
        key: ArchiveKey,
    },
    /// Restore a client into the store of --store, which is made under --key if it is not there
    ///
    /// All of it is there afterwards, or nothing. The groups are listed that must be entered anew.
    Restore {
        /// A full backup, and its deltas in their order
        #[arg(required = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
        files: Vec<PathBuf>,
        #[command(flatten)]
        key: ArchiveKey,
        /// In the place of the client of this name that is there, whose state goes
        #[arg(long)]
        replace: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum MoveCommand {
    /// Write the client into a file, from which it goes on elsewhere. It cannot be used here any more
    Out {
        /// Where it is written. Must not exist
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        out: PathBuf,
        #[command(flatten)]
        key: ArchiveKey,
        /// Write the file of a client that was moved out once more, because it was lost before it was used
        #[arg(long)]
        again: bool,
    },
    /// Go on with the client of a file that `move out` wrote, in the store of --store, which is made under --key if it is not there
    ///
    /// Once: the same file is refused here a second time. In another store it cannot be, and two clients that go on from one
    /// file reuse keys.
    In {
        /// What `move out` wrote
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        #[command(flatten)]
        key: ArchiveKey,
    },
    /// Take a client back that was moved out and never arrived, as one that was restored from a backup
    Reclaim,
}

/// Without either, a passphrase is asked for at the terminal.
#[derive(Args, Debug)]
pub(crate) struct ArchiveKey {
    /// The file with the key of the backup, made by `keygen`
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "backup_passphrase_file")]
    pub(crate) backup_key: Option<PathBuf>,
    /// The file with the passphrase of the backup in its first line
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) backup_passphrase_file: Option<PathBuf>,
}
