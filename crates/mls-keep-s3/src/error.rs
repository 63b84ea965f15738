//! [`Failure`]: what became of a request, from what the SDK says. Nothing of the SDK's errors is kept but the status, the
//! service's code and the system's words: the rest may hold addresses, headers and signatures.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::{fmt, io};

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

/// Marks an error that comes of what the service said, or of the way to it: its source is one of these. A program can then
/// give advice that fits a service.
#[derive(Clone, Copy, Debug)]
pub struct OfTheService;

impl fmt::Display for OfTheService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an answer of the S3 service, or none")
    }
}

impl StdError for OfTheService {}

/// Codes of a 400, 401 or 403 that says that the service does not know who asks.
const NOT_KNOWN: [&str; 7] = [
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "MissingAuthenticationToken",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
];

/// Codes that say that the times differ.
const SKEWED: [&str; 2] = ["RequestExpired", "RequestTimeTooSkewed"];

impl Failure {
    pub(crate) fn of<E: ProvideErrorMetadata + StdError + 'static>(error: &SdkError<E, HttpResponse>) -> Self {
        match error {
            SdkError::ServiceError(answer) => {
                let region = answer.raw().headers().get("x-amz-bucket-region");
                Self::of_answer(answer.raw().status().as_u16(), answer.err().code().unwrap_or_default(), region)
            }
            // An answer that cannot be read. With a status that says no more than "error" it still says that.
            SdkError::ResponseError(answer) => match answer.raw().status().as_u16() {
                status @ 300.. => Self::of_answer(status, "", answer.raw().headers().get("x-amz-bucket-region")),
                status => {
                    Self::for_now(format!("the service answered {status} and then nonsense, broke off, or did not end"))
                }
            },
            SdkError::TimeoutError(_) => Self::too_late(),
            SdkError::DispatchFailure(failure) => {
                Self::of_the_way(failure.as_connector_error().map(|error| error as &dyn StdError))
            }
            _ => Self::for_good(ErrorKind::Invalid, "the request cannot be made: check the configuration"),
        }
    }

    fn for_now(text: impl Into<Cow<'static, str>>) -> Self {
        Self::ForNow { text: text.into(), applied: Applied::Unknown }
    }

    pub(crate) fn for_good(kind: ErrorKind, text: impl Into<Cow<'static, str>>) -> Self {
        Self::ForGood { kind, text: text.into() }
    }

    /// No connection, or one that ended.
    fn of_the_way(error: Option<&(dyn StdError + 'static)>) -> Self {
        let causes: Vec<_> = std::iter::successors(error, cause).collect();
        let is = |kind| {
            let mut systems = causes.iter().filter_map(|error| error.downcast_ref::<io::Error>());
            systems.any(|error| error.kind() == kind)
        };
        let words = causes.last().map_or_else(|| "no connection".to_owned(), ToString::to_string);
        if is(io::ErrorKind::InvalidData) {
            let text = format!("no TLS connection can be made ({words}): check the endpoint, `http:` or `https:`");
            return Self::for_good(ErrorKind::Invalid, text);
        }
        let applied = if is(io::ErrorKind::ConnectionRefused) { Applied::No } else { Applied::Unknown };
        Self::ForNow { text: format!("the service cannot be reached: {words}").into(), applied }
    }

    fn of_answer(status: u16, code: &str, region: Option<&str>) -> Self {
        // A word of the service; what is none is not repeated.
        let word =
            |text: &str| text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let code = if word(code) { code } else { "" };
        let said = format!("{status} {code}").trim_end().to_owned();
        let answered = format!("the service answered {said}");
        match (status, code) {
            (304, _) => Self::NotModified,
            (301, _) | (400, "AuthorizationHeaderMalformed") if region.is_some_and(word) => {
                let region = region.unwrap_or_default();
                let text = format!("the bucket is in another region ({said}): name the region {region}");
                Self::for_good(ErrorKind::Invalid, text)
            }
            (301, _) => {
                let text = format!("the bucket is elsewhere ({said}): name its region or its endpoint");
                Self::for_good(ErrorKind::Invalid, text)
            }
            (404, "NoSuchBucket") => Self::for_good(ErrorKind::NotFound, "there is no such bucket"),
            (404, _) => Self::Missing,
            (409, _) => Self::InTheWay,
            (412, _) => Self::Lost,
            (507, _) | (_, "QuotaExceeded" | "XMinioStorageFull") => Self::for_good(ErrorKind::NoSpace, answered),
            (400..=403, code) if NOT_KNOWN.contains(&code) => {
                let text = format!("the service does not accept the credentials ({said}): check key, secret and token");
                Self::for_good(ErrorKind::Invalid, text)
            }
            (400..=403, code) if SKEWED.contains(&code) => {
                let text = format!("the clocks of this machine and of the service differ ({said}): set this one");
                Self::for_good(ErrorKind::Invalid, text)
            }
            (401 | 403, _) => {
                Self::for_good(ErrorKind::ReadOnly, format!("the credentials do not permit this: {answered}"))
            }
            (400, "RequestTimeout") | (408 | 429, _) => Self::for_now(answered),
            (400..=499 | 501, _) => Self::for_good(ErrorKind::Invalid, answered),
            _ => Self::for_now(answered),
        }
    }

    /// The body of an answer broke off, or was broken off since it had no end.
    pub(crate) fn broken_off() -> Self {
        Self::for_now("the service's answer broke off, or did not end")
    }

    pub(crate) fn too_late() -> Self {
        Self::for_now("the service did not answer in time")
    }

    /// What is to be deleted may be gone already.
    pub(crate) fn if_missing<T: Default>(self) -> Result<T, Self> {
        if matches!(self, Self::Missing) { Ok(T::default()) } else { Err(self) }
    }

    pub(crate) fn may_be_applied(&self) -> bool {
        matches!(self, Self::ForNow { applied: Applied::Unknown, .. })
    }

    /// The error of a call that gives up, of which nothing was applied, or nothing that counts.
    pub(crate) fn into_error(self) -> Error {
        let error = match self {
            Self::Unreadable(error) => return error,
            Self::ForGood { kind, text } => Error::new(kind, text),
            Self::ForNow { text, .. } => Error::new(ErrorKind::Unavailable, text),
            Self::Refused => Error::new(
                ErrorKind::Invalid,
                "the service refuses a write whose condition holds, If-Match with the ETag that it gives itself",
            ),
            Self::InTheWay => Error::new(ErrorKind::Busy, "other requests for the same object are in the way"),
            Self::Missing | Self::NotModified | Self::Lost => {
                Error::new(ErrorKind::Unavailable, "the service answered what does not fit the request")
            }
        };
        error.with_source(OfTheService)
    }
}

/// What is behind `error`. An error of the system's that wraps another is left out by the standard library.
fn cause<'a>(error: &&'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    let error: &'a (dyn StdError + 'static) = *error;
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

/// The error of a write of which it is not known whether it landed.
pub(crate) fn outcome_unknown(why: &str) -> Error {
    let text = format!("the service did not say whether the write was applied, {why}: read the root back");
    Error::new(ErrorKind::OutcomeUnknown, text).with_source(OfTheService)
}

/// A write was refused, and what is there cannot be read.
pub(crate) fn failed_to_compare() -> Failure {
    let text = "the service refused the write and cannot be asked now why".into();
    Failure::ForNow { text, applied: Applied::No }
}
