//! [`Failure`]: what went wrong, in one line, and what to do about it, in another.

use std::error::Error as _;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use mls_keep::{Error, ErrorKind};

use crate::printed::harmless;

pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    what: String,
    advice: String,
    /// Whether a service said it. Then the advice is about that, whatever the command is.
    of_service: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// The command cannot be meant like this.
    Usage,
    /// The library's own kinds, also for what the program itself meets.
    Keep(ErrorKind),
    /// The reader of the output has gone. Nobody needs a message.
    OutputClosed,
}

impl Failure {
    pub(crate) fn usage(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { kind: Kind::Usage, what: what.into(), advice: advice.into(), of_service: false }
    }

    pub(crate) fn new(kind: ErrorKind, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { kind: Kind::Keep(kind), what: what.into(), advice: advice.into(), of_service: false }
    }

    /// A defect of the program at a place in its source.
    pub(crate) fn defect(place: &str) -> Self {
        let what = format!("the program has a defect at {place}");
        Self::new(ErrorKind::Internal, what, advice(ErrorKind::Internal))
    }

    /// A file that cannot be read.
    pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Self {
        let kind = kind_of_io(error.kind());
        let advice = match kind {
            ErrorKind::NotFound | ErrorKind::Invalid => "Name a file that is there.",
            ErrorKind::ReadOnly => "Change the permissions of the file, or name another one.",
            _ => "Look at the disk, then run the command again.",
        };
        Self::new(kind, format!("{} cannot be read: {}", path.display(), cause(error)), advice)
    }

    /// A file that cannot be written.
    pub(crate) fn unwritable(path: &Path, error: &io::Error) -> Self {
        let kind = kind_of_io(error.kind());
        let advice = match kind {
            ErrorKind::NotFound => "Nothing was changed. Make the directory first, or name a file elsewhere.",
            ErrorKind::Invalid => "Nothing was changed. Name another file.",
            ErrorKind::ReadOnly => "Nothing was changed. Change the permissions of the directory, or name another one.",
            _ => advice(kind),
        };
        Self::new(kind, format!("{} cannot be written: {}", path.display(), cause(error)), advice)
    }

    /// Standard output does not take what is printed.
    pub(crate) fn stdout(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self { kind: Kind::OutputClosed, ..Self::usage("", "") };
        }
        let kind = kind_of_io(error.kind());
        Self::new(kind, format!("standard output cannot be written: {error}"), "What the command did is durable.")
    }

    /// Names what the failure is about, before what happened.
    pub(crate) fn about(mut self, subject: impl std::fmt::Display) -> Self {
        self.what = format!("{subject}: {}", self.what);
        self
    }

    /// Another advice, if the failure is of this kind.
    pub(crate) fn advise(mut self, kind: ErrorKind, advice: impl Into<String>) -> Self {
        if self.kind == Kind::Keep(kind) && !self.of_service {
            self.advice = advice.into();
        }
        self
    }

    /// Another advice, whatever the failure is.
    pub(crate) fn advise_always(mut self, advice: impl Into<String>) -> Self {
        self.advice = advice.into();
        self
    }

    /// The library's kind, if it is one.
    pub(crate) fn kind(&self) -> Option<ErrorKind> {
        match self.kind {
            Kind::Keep(kind) => Some(kind),
            Kind::Usage | Kind::OutputClosed => None,
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(if self.kind == Kind::Usage { 2 } else { 1 })
    }

    pub(crate) fn print(&self) {
        let kind = match self.kind {
            Kind::Usage => "Usage".to_owned(),
            Kind::Keep(kind) => kind.to_string(),
            Kind::OutputClosed => return,
        };
        let text = format!("error: {} ({kind})\n{}\n", harmless(&self.what), harmless(&self.advice));
        // There is nobody left to tell that standard error is closed.
        drop(io::stderr().write_all(text.as_bytes()));
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let kind = error.kind();
        // OpenMLS ends some of its sentences.
        let mut what = error.to_string().trim_end_matches('.').to_owned();
        if is_of_service(&error) {
            return Self { of_service: true, ..Self::new(kind, what, advice_on_service(kind)) };
        }
        // What an engine said helps to find out why. Sources of other kinds say nothing that the text does not.
        if matches!(kind, ErrorKind::Unavailable | ErrorKind::OutcomeUnknown | ErrorKind::Internal)
            && let Some(source) = error.source()
        {
            what = format!("{what}: {source}");
        }
        Self::new(kind, what, advice(kind))
    }
}

/// Whether it comes of what a service said, or of the way to it.
fn is_of_service(error: &Error) -> bool {
    #[cfg(feature = "s3")]
    {
        let mut causes = std::iter::successors(error.source(), |cause| (**cause).source());
        causes.any(|cause| cause.is::<mls_keep_s3::OfTheService>())
    }
    #[cfg(not(feature = "s3"))]
    false
}

/// What to do about each kind where a service said it.
fn advice_on_service(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NotFound => "Nothing was changed. Make the bucket first, or name one that is there.",
        ErrorKind::ReadOnly => {
            "Nothing was changed. Permit s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket; where versions are \
             kept also s3:ListBucketVersions and s3:DeleteObjectVersion."
        }
        ErrorKind::Invalid => {
            "Nothing was changed. Correct what the message names: the store's URL, the credentials, the clock; or take another \
             service. Reading, `verify` and `copy` need no conditional writes."
        }
        ErrorKind::Unavailable => {
            "Nothing was changed. Look at the endpoint, the network and the service, then run the command again."
        }
        ErrorKind::NoSpace => "Nothing was changed. Free some space at the service, or raise the quota of the bucket.",
        kind => advice(kind),
    }
}

/// What to do about each kind.
fn advice(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Conflict => "Nothing was changed. Somebody else changed it at the same time: run the command again.",
        ErrorKind::Busy => "Nothing was changed. Run the command again when the other program has finished.",
        ErrorKind::Unavailable => {
            "Nothing was changed. Look at the disk, the path or the network, then run the command again."
        }
        ErrorKind::NoSpace => "Nothing was changed. Free some space, then run the command again.",
        ErrorKind::ReadOnly => "Nothing was changed. Change the permissions or the mount, then run the command again.",
        ErrorKind::Corrupt => {
            "Use another copy of the store or a backup. `mls-keep verify` lists what is damaged, if the keep still opens."
        }
        ErrorKind::WrongKey => "Give the key file, or the passphrase, that the keep was made with.",
        ErrorKind::RolledBack => "An old copy of the store is in place. Put the newest one back, or rejoin the groups.",
        ErrorKind::NeedsRejoin => {
            "The client was restored. Have a member remove it and invite it again, with a new key package."
        }
        ErrorKind::MovedOut => {
            "Use it on the other device. If it never arrived there: `mls-keep move reclaim` takes it back."
        }
        ErrorKind::UnsupportedVersion => "Nothing was touched. Use a newer version of mls-keep.",
        ErrorKind::Invalid => "Nothing was changed. Correct the command; `mls-keep help COMMAND` says what it takes.",
        ErrorKind::NotFound => "Nothing was changed. `mls-keep group list` and `group members` show what is there.",
        ErrorKind::NotMember => "Nothing was changed. Ask a member to invite this client again.",
        ErrorKind::CommitPending => {
            "Nothing was changed. `confirm` or `reject` the commit that is staged: `mls-keep pending` shows it."
        }
        ErrorKind::NoSigner => {
            "Nothing was changed. The client's signature key is not in the keep: use the application that has it."
        }
        ErrorKind::ProposalPending => {
            "Nothing was changed. A proposal waits for a commit: run `update`, with `--without-proposals` if it cannot be committed."
        }
        ErrorKind::PastEpoch => "Nothing was changed. It is too old to be read: leave it out.",
        ErrorKind::FutureEpoch => "Nothing was changed. Receive what was sent before it first.",
        ErrorKind::Refused => "Nothing was changed.",
        ErrorKind::Aborted => "Nothing was changed. Receive what the others sent first, in its order.",
        ErrorKind::OutcomeUnknown => {
            "Whether it was done is not known. Before anything else is sent, look with `mls-keep outbox list`: what was done waits there."
        }
        ErrorKind::Poisoned => "Run the command again: the store has to be opened anew.",
        ErrorKind::Internal => "This is a defect of mls-keep: please report it.",
        _ => "Use a newer version of mls-keep, which knows this kind of error.",
    }
}

/// What the system said, without the name of a temporary file around it.
fn cause(error: &io::Error) -> String {
    if error.get_ref().is_some() { error.kind().to_string() } else { error.to_string() }
}

/// Of a file that the user named.
fn kind_of_io(kind: io::ErrorKind) -> ErrorKind {
    match kind {
        io::ErrorKind::InvalidData | io::ErrorKind::AlreadyExists => ErrorKind::Invalid,
        kind => kind.into(),
    }
}
