//! [`Failure`]: what became of a request, from what the SDK says. Nothing of the SDK's errors is kept but the status, the
//! service's code and the system's words: the rest may hold addresses, headers and signatures.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::io;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use mls_keep_core::{Error, ErrorKind};

/// Why a request did not do what it should.
#[derive(Debug)]
pub(crate) enum Failure {
    /// There is no such object.
    Missing,
    /// The object is what the caller has already.
    NotModified,
    /// The condition does not hold. Not applied.
    Lost,
    /// Another request was in the way. Not applied; to be repeated.
    InTheWay,
    /// The condition holds, and the service says that it does not. Not applied.
    Refused,
    /// What is there is not ours, or damaged.
    Unreadable(Error),
    /// It failed for now. Repeating it may help.
    ForNow { text: Cow<'static, str>, applied: Applied },
    /// It fails again as often as it is repeated. Not applied.
    ForGood { kind: ErrorKind, text: Cow<'static, str> },
}

/// Whether a failed request may have been applied.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Applied {
    No,
    Unknown,
}

impl Failure {
    pub(crate) fn of<E: ProvideErrorMetadata + StdError + 'static>(error: &SdkError<E, HttpResponse>) -> Self {
        let for_now = |text: String| Self::ForNow { text: text.into(), applied: Applied::Unknown };
        match error {
            SdkError::ServiceError(answer) => {
                Self::of_answer(answer.raw().status().as_u16(), answer.err().code().unwrap_or_default())
            }
            // An answer that cannot be read. With a status that says no more than "error" it still says that.
            SdkError::ResponseError(answer) => match answer.raw().status().as_u16() {
                status @ 300.. => Self::of_answer(status, ""),
                status => {
                    for_now(format!("the service answered {status} and then nonsense, broke off, or did not end"))
                }
            },
            SdkError::TimeoutError(_) => for_now("the service did not answer in time".into()),
            SdkError::DispatchFailure(failure) => {
                let innermost = innermost(failure.as_connector_error().map(|error| error as &dyn StdError));
                let refused = innermost
                    .and_then(|error| error.downcast_ref::<io::Error>())
                    .is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
                let words = innermost.map_or_else(|| "no connection".to_owned(), ToString::to_string);
                let applied = if refused { Applied::No } else { Applied::Unknown };
                Self::ForNow { text: format!("the service cannot be reached: {words}").into(), applied }
            }
            _ => Self::ForGood {
                kind: ErrorKind::Invalid,
                text: "the request cannot be made: check the configuration".into(),
            },
        }
    }

    fn of_answer(status: u16, code: &str) -> Self {
        // A code is a word of the service; one that is none is not repeated.
        let code = if code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric()) { code } else { "" };
        let text = format!("the service answered {status} {code}").trim_end().to_owned().into();
        match (status, code) {
            (304, _) => Self::NotModified,
            (404, "NoSuchBucket") => {
                Self::ForGood { kind: ErrorKind::NotFound, text: "there is no such bucket".into() }
            }
            (404, _) => Self::Missing,
            (409, _) => Self::InTheWay,
            (412, _) => Self::Lost,
            (507, _) | (_, "QuotaExceeded" | "XMinioStorageFull") => Self::ForGood { kind: ErrorKind::NoSpace, text },
            (401 | 403, _) => Self::ForGood { kind: ErrorKind::ReadOnly, text },
            (408 | 429, _) => Self::ForNow { text, applied: Applied::Unknown },
            (400..=499 | 501, _) => Self::ForGood { kind: ErrorKind::Invalid, text },
            _ => Self::ForNow { text, applied: Applied::Unknown },
        }
    }

    /// The body of an answer broke off, or was broken off since it had no end.
    pub(crate) fn broken_off() -> Self {
        Self::ForNow { text: "the service's answer broke off, or did not end".into(), applied: Applied::Unknown }
    }

    pub(crate) fn may_be_applied(&self) -> bool {
        matches!(self, Self::ForNow { applied: Applied::Unknown, .. })
    }

    /// The error of a call that gives up, of which nothing was applied, or nothing that counts.
    pub(crate) fn into_error(self) -> Error {
        match self {
            Self::ForGood { kind, text } => Error::new(kind, text),
            Self::ForNow { text, .. } => Error::new(ErrorKind::Unavailable, text),
            Self::Refused => Error::new(
                ErrorKind::Invalid,
                "the service refuses a write whose condition holds (If-Match with the ETag that it gives itself): take another one",
            ),
            Self::Unreadable(error) => error,
            Self::InTheWay => Error::new(ErrorKind::Busy, "other requests for the same object are in the way"),
            Self::Missing | Self::NotModified | Self::Lost => {
                Error::new(ErrorKind::Internal, "the service answered what does not fit the request")
            }
        }
    }
}

fn innermost<'a>(error: Option<&'a (dyn StdError + 'static)>) -> Option<&'a (dyn StdError + 'static)> {
    let mut error = error?;
    while let Some(source) = error.source() {
        error = source;
    }
    Some(error)
}

/// The error of a write of which it is not known whether it landed.
pub(crate) fn outcome_unknown(why: &str) -> Error {
    let text = format!("the service did not say whether the write was applied, {why}: read the root back");
    Error::new(ErrorKind::OutcomeUnknown, text)
}

/// A write was refused, and what is there cannot be read.
pub(crate) fn failed_to_compare() -> Failure {
    let text = "the service refused the write and cannot be asked now why".into();
    Failure::ForNow { text, applied: Applied::No }
}
