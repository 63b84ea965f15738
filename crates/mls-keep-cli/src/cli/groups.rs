//! The commands about groups, key packages and the outbox; and the settings of a new client.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

use super::{Group, Out, group_name};

#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// Create a group with this client as its only member
    Create {
        /// Travels to those who join
        #[arg(value_parser = group_name)]
        name: String,
    },
    /// List the groups of this client
    List,
    /// List the groups that must be entered anew after a restoration, and whom to ask
    Waiting,
    /// List the members of a group
    Members {
        #[command(flatten)]
        group: Group,
    },
    /// Show a group as it stands
    Show {
        #[command(flatten)]
        group: Group,
    },
    /// Write a GroupInfo, with which others enter the group by an external commit
    Info {
        #[command(flatten)]
        group: Group,
        #[command(flatten)]
        out: Out,
        /// Leave the ratchet tree out: who enters needs it from elsewhere
        #[arg(long)]
        without_tree: bool,
    },
    /// Write the ratchet tree of a group, for who gets a GroupInfo or a Welcome without it
    Tree {
        #[command(flatten)]
        group: Group,
        /// Where it is written; must not exist
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        out: PathBuf,
    },
    /// Enter a group by an external commit: without an invitation, or again after its state was lost
    ///
    /// The commit is staged, as with `invite`. Once it is confirmed, this client's old leaf is gone and its history stays.
    Rejoin {
        /// The file with the GroupInfo, from `group info` of a member or from the delivery service
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        group_info: PathBuf,
        /// The file with the ratchet tree, if it is not in the GroupInfo
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        tree: Option<PathBuf>,
        /// Where the commit is written
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        commit: PathBuf,
        /// Replace existing files
        #[arg(long)]
        force: bool,
    },
    /// Delete a group with its history, without telling anybody
    Forget {
        #[command(flatten)]
        group: Group,
    },
    /// Show, or set, which messages of a group are kept
    Policy {
        #[command(flatten)]
        group: Group,
        /// Keep messages for N days
        #[arg(long, value_name = "N")]
        keep_days: Option<u32>,
        /// Keep the newest N messages
        #[arg(long, value_name = "N")]
        keep_messages: Option<u64>,
        /// Keep none
        #[arg(long, conflicts_with_all = ["keep_days", "keep_messages", "keep_all"])]
        no_history: bool,
        /// Keep all
        #[arg(long, conflicts_with_all = ["keep_days", "keep_messages"])]
        keep_all: bool,
    },
    /// Propose to leave; done when another member commits it (`update`) and this client received that
    Leave {
        #[command(flatten)]
        group: Group,
        #[command(flatten)]
        out: Out,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyPackageCommand {
    /// List the key packages that have not been used
    List,
    /// Delete those whose lifetime is over
    Prune,
}

/// The key packages that are to be made.
#[derive(Args, Debug)]
pub(crate) struct NewKeyPackages {
    /// Where the key package is written; of several, the second one is FILE.2, and so on
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, required = true)]
    pub(crate) out: Option<PathBuf>,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) count: u16,
    /// How long others can invite with it; 84 if nothing is said
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=366))]
    pub(crate) days: Option<u16>,
    /// Not used up: for a service to give out when it has no other one
    #[arg(long)]
    pub(crate) last_resort: bool,
    /// Replace existing files
    #[arg(long)]
    pub(crate) force: bool,
}

/// How the groups of a new client work.
#[derive(Args, Debug)]
#[command(next_help_heading = "Settings")]
pub(crate) struct Settings {
    /// The ciphersuite, as RFC 9420 numbers them
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) ciphersuite: u16,
    /// Commits and proposals as PublicMessage, so that a delivery service can order them
    #[arg(long)]
    pub(crate) public_handshakes: bool,
    /// Epochs whose messages can still be read after they ended
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..=64))]
    pub(crate) past_epochs: u8,
    /// Pad messages to a multiple of N bytes
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) padding: u16,
}

#[derive(Debug, Subcommand)]
pub(crate) enum OutboxCommand {
    /// List what was made for others and never written to a file, because the disk was full or the program was killed
    List,
    /// Write it
    Write {
        #[command(flatten)]
        group: Group,
        /// The number that `outbox list` shows
        number: u64,
        #[command(flatten)]
        out: Out,
        /// Where the Welcome is written, if there is one
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        welcome: Option<PathBuf>,
    },
}
