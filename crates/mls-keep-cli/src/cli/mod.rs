//! What can be typed.

mod archives;
mod groups;
mod import;

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueHint};
use clap_complete::Shell;
use mls_keep::{MAX_NAME_LEN, limits};

pub(crate) use archives::{ArchiveKey, BackupCommand, MoveCommand};
pub(crate) use groups::{GroupCommand, KeyPackageCommand, NewKeyPackages, OutboxCommand, Settings};
pub(crate) use import::{Codec, ImportCommand};

use crate::demo::Ground;
use crate::output::Output;
use crate::store::{Kind, forms};

const AFTER_HELP: &str = "\
A first session:
  mls-keep keygen alice.key
  export MLS_KEEP_STORE=sqlite:alice.db MLS_KEEP_KEY=alice.key
  mls-keep init alice
  mls-keep group create tea
  mls-keep invite tea bob.kp --commit tea.commit --welcome bob.welcome    (bob.kp: bob's `key-package --out bob.kp`)
  mls-keep confirm tea                  (when the delivery service has taken tea.commit)
  mls-keep send tea 'at five?' --out 1.mls

Files that commands write are MLS messages (RFC 9420). An existing file is replaced with --force only, and only
if it is an MLS message, too.
Exit codes: 0 done, 1 failed, 2 the command cannot be meant like this.";

/// MLS clients whose state survives: each command is one sealed, atomic, durable commit.
#[derive(Debug, Parser)]
#[command(name = "mls-keep", version, arg_required_else_help = true, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Args, Debug)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// Where the keep is: sqlite:PATH, file:DIR, redb:PATH, sled:DIR, or s3://BUCKET/PREFIX?endpoint=URL&region=NAME
    #[arg(long, value_name = "URL", env = "MLS_KEEP_STORE", global = true)]
    pub(crate) store: Option<String>,
    /// The file with the master key, made by `keygen`
    #[arg(long, value_name = "FILE", env = "MLS_KEEP_KEY", global = true, value_hint = ValueHint::FilePath)]
    #[arg(value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub(crate) key: Option<PathBuf>,
    /// The file with a passphrase in its first line, instead of a master key
    #[arg(long, value_name = "FILE", global = true, value_hint = ValueHint::FilePath)]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Ask for a passphrase at the terminal. The same if no key is named at all
    #[arg(long, global = true)]
    pub(crate) passphrase: bool,
    /// The client, if the keep has several
    #[arg(long, value_name = "NAME", env = "MLS_KEEP_IDENTITY", global = true)]
    pub(crate) identity: Option<String>,
    /// Print one JSON value
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say on stderr what is done to the store, and how long it takes; -vv says more. Neither names people, groups or texts
    #[arg(short, long, action = ArgAction::Count, global = true)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a master key: 32 random bytes as text, in a file that only you can read
    Keygen {
        /// Must not exist
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Create a client, and the keep if there is none
    Init {
        /// What other members will see
        #[arg(value_parser = identity)]
        name: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// List the clients of the keep
    Clients,
    /// Delete a client with everything that it has
    DeleteClient {
        /// Its name, in full
        name: String,
    },
    /// Make key packages, with each of which somebody can invite this client once
    #[command(args_conflicts_with_subcommands = true)]
    KeyPackage {
        #[command(subcommand)]
        command: Option<KeyPackageCommand>,
        #[command(flatten)]
        new: NewKeyPackages,
    },
    /// Print what two people compare to be sure of each other: of this client, or of all members of a group
    Fingerprint {
        /// The group's name or its hex id
        #[arg(value_name = "GROUP")]
        group: Option<String>,
    },
    /// Create, list, look at, enter and leave groups
    #[command(subcommand)]
    Group(GroupCommand),
    /// Add members, by their key packages
    ///
    /// The commit is staged. Give it to the delivery service; when it has taken it, `confirm`, and give the Welcome to the new
    /// members. If it took another commit first, `reject`, or `receive` that one.
    Invite {
        #[command(flatten)]
        group: Group,
        /// Files with key packages; - is standard input
        #[arg(required = true, value_name = "KEYPACKAGE", value_hint = ValueHint::FilePath)]
        key_packages: Vec<PathBuf>,
        #[command(flatten)]
        commit: CommitOut,
        /// Where the Welcome for the new members is written
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        welcome: PathBuf,
    },
    /// Enter a group by a Welcome
    Join {
        /// The file with the Welcome; - is standard input
        #[arg(value_hint = ValueHint::FilePath)]
        welcome: PathBuf,
        /// Replace this client's old state of the group, if it has one; the history stays
        #[arg(long)]
        replace: bool,
        /// The file with the ratchet tree, if it does not come with the Welcome
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        tree: Option<PathBuf>,
    },
    /// Encrypt a message for a group
    Send {
        #[command(flatten)]
        group: Group,
        /// The text; - is standard input, taken as it is. Other users of this machine can see a command's arguments
        #[arg(allow_hyphen_values = true)]
        text: String,
        #[command(flatten)]
        out: Out,
    },
    /// Take in messages, commits, proposals and Welcomes, in the order in which they are given
    ///
    /// Of a directory, its files in the order in which they were written; what cannot be taken in yet is tried again
    /// after the others. Prints `GROUP<TAB>SENDER<TAB>TEXT` for a message, `GROUP<TAB>epoch N` for a commit, and
    /// `GROUP<TAB>proposal<TAB>SENDER` for a proposal. In names and texts \n, \t, \r, \\, \u{..} and \x.. stand for what would break a line or act on a
    /// terminal. What was received before is printed again, with a note on standard error.
    ///
    /// A file that cannot be taken in is named, and the others are; the exit code is then 1. Running it again with all of
    /// them does no harm.
    Receive {
        /// Files or directories; - is standard input
        #[arg(required = true, value_name = "FILE|DIR", value_hint = ValueHint::AnyPath)]
        files: Vec<PathBuf>,
        /// Go on, and take in what is written to the directories, until the program is ended (Ctrl-C, or SIGTERM)
        #[arg(long, conflicts_with = "json")]
        watch: bool,
        /// Save every so many seconds, as `every:SECONDS`, and at the end, instead of once for each message
        ///
        /// What is not saved yet is lost if the program is killed, so keep the files, or let --remove do it.
        #[arg(long, value_name = "every:SECONDS", requires = "watch", value_parser = save_every)]
        save: Option<Duration>,
        /// Remove each file when what it says is saved
        #[arg(long)]
        remove: bool,
    },
    /// Commit what others proposed; staged, as with `invite`
    Commit {
        #[command(flatten)]
        group: Group,
        #[command(flatten)]
        commit: CommitOut,
        /// Where the Welcome is written, if somebody's addition was proposed
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        welcome: Option<PathBuf>,
    },
    /// Merge the staged commit: the delivery service has taken it
    Confirm {
        #[command(flatten)]
        group: Group,
    },
    /// Drop the staged commit: the delivery service has refused it
    Reject {
        #[command(flatten)]
        group: Group,
    },
    /// List the staged commits, of one group or of all
    Pending {
        /// The group's name or its hex id
        #[arg(value_name = "GROUP")]
        group: Option<String>,
    },
    /// Renew this client's keys in a group, and commit what others proposed; staged, as with `invite`
    Update {
        #[command(flatten)]
        group: Group,
        #[command(flatten)]
        commit: CommitOut,
    },
    /// Remove a member from a group; staged, as with `invite`
    Remove {
        #[command(flatten)]
        group: Group,
        /// The member's identity; every device of that name is removed
        #[arg(required_unless_present = "leaf", conflicts_with = "leaf")]
        member: Option<String>,
        /// The member's leaf, as `group members` shows it
        #[arg(long, value_name = "N")]
        leaf: Option<u32>,
        #[command(flatten)]
        commit: CommitOut,
    },
    /// Print the messages of a group, sent and received: `SENDER<TAB>TEXT`
    History {
        #[command(flatten)]
        group: Group,
        /// Only those before number N
        #[arg(long, value_name = "N")]
        before: Option<u64>,
        /// Only the last N of them
        #[arg(long, value_name = "N", visible_alias = "last")]
        limit: Option<usize>,
        /// Their numbers and times as well: `NUMBER<TAB>TIME<TAB>SENDER<TAB>TEXT`, times in UTC
        #[arg(long)]
        long: bool,
        /// Delete message N instead
        #[arg(long, value_name = "N", conflicts_with_all = ["before", "limit", "long"])]
        delete: Option<u64>,
    },
    /// List what was made for others and never written to a file, and write it
    #[command(subcommand)]
    Outbox(OutboxCommand),
    /// Print sizes and counts
    Stat,
    /// Walk and open everything; exit 1 if anything is wrong
    Verify,
    /// Delete what interrupted commands have left in the store, of all clients, and complete deletions that were cut
    ///
    /// Does no harm while others use the keep. An opening does it by itself for the client that it opens.
    Gc,
    /// Delete the old versions that a bucket keeps of a store's objects
    ///
    /// Needed where versions were kept with `old-versions=report`, or a crash left some; `stat` counts them. No key is needed.
    /// If versioning is suspended, nobody may write to the store meanwhile.
    Purge,
    /// Copy a keep to another store, as ciphertext: no key is needed
    ///
    /// A run that was interrupted is taken up again by the next one, and at the end all of it is read back and compared. A
    /// target that holds something else, or newer state of a client, is refused and stays as it is.
    ///
    /// Use only one of the two afterwards: two live copies of a client are a fork, and reuse keys.
    Copy {
        /// The store to read
        #[arg(value_name = "FROM_URL")]
        from: String,
        /// The store to write; it is made if it is not there
        #[arg(value_name = "TO_URL")]
        to: String,
    },
    /// Back up a client into a file, look at such files, and restore a client from them
    #[command(subcommand)]
    Backup(BackupCommand),
    /// Move a client to another device: it goes on there, and no longer here
    #[command(subcommand)]
    Move(MoveCommand),
    /// Take over what another application has stored with OpenMLS
    #[command(subcommand)]
    Import(ImportCommand),
    /// Live through the whole life of three clients on three keeps, and measure it
    Demo {
        /// The kind of the keeps, sqlite, file, redb or sled; or the URL of an S3 store, below which they are made and go
        #[arg(long, value_name = "KIND", default_value = Kind::ALL[0].scheme(), value_parser = ground)]
        on: Ground,
        /// Where the keeps are made and stay; a directory that is empty or not there. Without it they are temporary
        #[arg(long, value_hint = ValueHint::DirPath)]
        dir: Option<PathBuf>,
    },
    /// Print a shell's completions
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Group {
    /// The group's name or its hex id
    #[arg(value_name = "GROUP")]
    pub(crate) group: String,
}

#[derive(Args, Debug)]
pub(crate) struct Out {
    /// Where the MLS message is written
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) out: PathBuf,
    /// Replace existing files
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Args, Debug)]
pub(crate) struct CommitOut {
    /// Where the commit for the other members is written
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) commit: PathBuf,
    /// Merge it at once, for groups without a delivery service: when two members commit at the same time, the group falls apart
    #[arg(long)]
    pub(crate) merge: bool,
    /// Leave out what other members have proposed, which may be what cannot be committed
    #[arg(long)]
    pub(crate) without_proposals: bool,
    /// Replace existing files
    #[arg(long)]
    pub(crate) force: bool,
}

impl Cli {
    /// What was typed. A mistake ends the program with exit code 2, as help does with 0.
    pub(crate) fn read() -> Self {
        let matches = Self::command().get_matches();
        let mut cli = Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        let global = &mut cli.global;
        // What is typed wins over what the environment says.
        if (global.passphrase || global.passphrase_file.is_some())
            && source_of_key(&matches) == Some(ValueSource::EnvVariable)
        {
            global.key = None;
        }
        // An empty variable is how shells say that there is none.
        global.store = global.store.take().filter(|store| !store.is_empty());
        global.key = global.key.take().filter(|key| !key.as_os_str().is_empty());
        global.identity = global.identity.take().filter(|identity| !identity.is_empty());
        cli
    }
}

impl Global {
    pub(crate) fn output(&self) -> Output {
        Output { json: self.json }
    }
}

/// Where the key comes from: options of every command may stand at any level.
fn source_of_key(matches: &ArgMatches) -> Option<ValueSource> {
    let here = matches.value_source("key");
    let below = matches.subcommand().and_then(|(_, matches)| source_of_key(matches));
    here.max(below)
}

/// Where the demo takes place: a kind of local store, by what its URLs begin with, or the URL of a remote one.
fn ground(typed: &str) -> Result<Ground, String> {
    Ground::parse(typed).ok_or_else(|| format!("known kinds of stores: {}", forms()))
}

/// `every:SECONDS`
fn save_every(text: &str) -> std::result::Result<Duration, String> {
    let seconds = text.strip_prefix("every:").and_then(|seconds| seconds.parse().ok());
    let seconds = seconds.filter(|seconds| (1..=86_400).contains(seconds));
    seconds.map(Duration::from_secs).ok_or_else(|| "say every:SECONDS, of at most a day".to_owned())
}

fn identity(text: &str) -> std::result::Result<String, String> {
    bounded(text, limits::MAX_IDENTITY_LEN)
}

fn group_name(text: &str) -> std::result::Result<String, String> {
    bounded(text, MAX_NAME_LEN)
}

fn bounded(text: &str, max: usize) -> std::result::Result<String, String> {
    match text.len() {
        0 => Err("it is empty".to_owned()),
        len if len > max => Err(format!("it has {len} bytes, and at most {max} are allowed")),
        _ => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
