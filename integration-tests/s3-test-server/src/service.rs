//! From an HTTP request to an answer, through the fault that it meets.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body as _, Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, ETAG, IF_MATCH, IF_NONE_MATCH};
use hyper::{Method, Response, StatusCode};

use crate::fault::Fault;
use crate::objects::{ListedVersion, Written};
use crate::{BUCKET, Shared};

/// A request that arrived.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Request {
    number: usize,
    /// `GET`, `PUT`, ...
    pub method: String,
    /// The object's key; empty for a request about the bucket.
    pub key: String,
    /// What stands behind the question mark.
    pub query: String,
    /// Names of the conditions that it has.
    pub conditions: Vec<&'static str>,
    /// The header that asks for encryption by the server.
    pub encryption: Option<String>,
    /// How long its body is, bytes.
    pub len: usize,
    /// How long the body of the answer is that it was given; 0 if it met a fault.
    pub answer_len: usize,
}

type Body = BoxBody<Bytes, io::Error>;
type Answer = Response<Body>;

/// Answers `request`. An error cuts the connection.
pub(crate) async fn answer(shared: Arc<Shared>, request: hyper::Request<Incoming>) -> io::Result<Answer> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let path = parts.uri.path().trim_start_matches('/').to_owned();
    let (bucket, key) = path.split_once('/').unwrap_or((&path, ""));
    let header = |name: hyper::header::HeaderName| {
        parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let (matches, none) = (header(IF_MATCH), header(IF_NONE_MATCH));
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let number = shared.arrived.fetch_add(1, Ordering::Relaxed);
    shared.requests.lock().unwrap().push(Request {
        number,
        method: parts.method.to_string(),
        key: key.to_owned(),
        query: query.clone(),
        conditions: [matches.as_ref().map(|_| "if-match"), none.as_ref().map(|_| "if-none-match")]
            .into_iter()
            .flatten()
            .collect(),
        encryption: header(hyper::header::HeaderName::from_static("x-amz-server-side-encryption")),
        len: body.len(),
        answer_len: 0,
    });
    let apply =
        || apply(&shared, &parts.method, bucket, key, &query, body.clone(), matches.as_deref(), none.as_deref());
    let cut = || Err(io::Error::other("cut by the script"));
    let (fault, lands) = {
        let mut script = shared.script.lock().unwrap();
        (script.next(), script.lands())
    };
    if lands {
        shared.land();
    }
    match fault {
        None => {
            let answer = apply();
            if let Some(len) = answer.body().size_hint().exact() {
                let mut requests = shared.requests.lock().unwrap();
                if let Some(request) = requests.iter_mut().rfind(|request| request.number == number) {
                    request.answer_len = len as usize;
                }
            }
            Ok(answer)
        }
        Some(Fault::Status(status)) => Ok(error(status, "Scripted")),
        Some(Fault::AppliedThenStatus(status)) => {
            apply();
            Ok(error(status, "Scripted"))
        }
        Some(Fault::Reset) => cut(),
        Some(Fault::AppliedThenReset) => {
            apply();
            cut()
        }
        Some(Fault::Late) => {
            let (state, method, bucket, key) = (Arc::clone(&shared), parts.method, bucket.to_owned(), key.to_owned());
            let land = move || {
                let _ = self::apply(&state, &method, &bucket, &key, &query, body, matches.as_deref(), none.as_deref());
            };
            shared.late.lock().unwrap().push(Box::new(land));
            cut()
        }
        Some(Fault::Truncated) => truncated(apply()).await,
        Some(Fault::Stalled) => stalled(apply()).await,
        Some(Fault::CutShort) => {
            let (mut parts, body) = apply().into_parts();
            let body = body.collect().await?.to_bytes();
            let half = body.slice(..body.len() / 2);
            parts.headers.insert(CONTENT_LENGTH, half.len().into());
            Ok(Response::from_parts(parts, body_of(half)))
        }
        Some(Fault::Endless) => Ok(endless(apply(), shared)),
        Some(Fault::ErrorInside200) => {
            let mut answer = error(500, "InternalError");
            *answer.status_mut() = StatusCode::OK;
            Ok(answer)
        }
        Some(Fault::Delay(time)) => {
            let answer = apply();
            tokio::time::sleep(time).await;
            Ok(answer)
        }
        Some(Fault::Silence) => {
            apply();
            std::future::pending().await
        }
        Some(Fault::HoldThenReset(hold)) => {
            let _applied = hold.after.then(&apply);
            hold.stop().await;
            cut()
        }
        Some(Fault::Answer(status, code, headers)) => {
            let mut answer = error(status, code);
            for (name, value) in headers {
                answer.headers_mut().insert(*name, hyper::header::HeaderValue::from_static(value));
            }
            Ok(answer)
        }
        Some(Fault::Hold(hold)) => {
            let applied = hold.after.then(&apply);
            hold.stop().await;
            Ok(applied.unwrap_or_else(apply))
        }
    }
}

#[allow(clippy::too_many_arguments)]
fn apply(
    shared: &Shared,
    method: &Method,
    bucket: &str,
    key: &str,
    query: &str,
    body: Bytes,
    matches: Option<&str>,
    none: Option<&str>,
) -> Answer {
    let what = if *method == Method::GET && key.is_empty() { "LIST" } else { method.as_str() };
    if *shared.forbidden.lock().unwrap() == Some(what.to_owned()) {
        return error(403, "AccessDenied");
    }
    let mut objects = shared.objects.lock().unwrap();
    if bucket != BUCKET {
        return error(404, "NoSuchBucket");
    }
    let parameter = |name: &str| {
        let value = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(found, _)| *found == name);
        value.map(|(_, value)| decode(value))
    };
    let asks_for = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
    match *method {
        Method::GET if key.is_empty() && asks_for("versions") => {
            let prefix = parameter("prefix").unwrap_or_default();
            let first_again = objects.quirks.stuck_versions || objects.quirks.circling;
            let mark = parameter("key-marker");
            let marker = mark.clone().filter(|_| !first_again).unwrap_or_default();
            let id = parameter("version-id-marker");
            let (page, more) = objects.list_versions(&prefix, &marker, id.as_deref());
            let next = page.last().filter(|_| more).map(|version| (version.key.clone(), version.id.clone()));
            let mut text = format!("<ListVersionsResult><IsTruncated>{more}</IsTruncated>");
            for version in page {
                let ListedVersion { key, id, is_latest, len, .. } = version;
                let size = len.map_or_else(String::new, |len| format!("<Size>{len}</Size>"));
                let tag = if len.is_some() { "Version" } else { "DeleteMarker" };
                let _ = write!(
                    text,
                    "<{tag}><Key>{key}</Key><VersionId>{id}</VersionId><IsLatest>{is_latest}</IsLatest>{size}</{tag}>"
                );
            }
            if let Some((mut key, id)) = next {
                if objects.quirks.circling {
                    key = format!("{}+", mark.unwrap_or_default());
                }
                let _ =
                    write!(text, "<NextKeyMarker>{key}</NextKeyMarker><NextVersionIdMarker>{id}</NextVersionIdMarker>");
            }
            xml(&(text + "</ListVersionsResult>"))
        }
        Method::GET if key.is_empty() && asks_for("list-type") => {
            let prefix = parameter("prefix").unwrap_or_default();
            let mark = parameter("continuation-token");
            let after =
                mark.clone().or(parameter("start-after")).filter(|_| !objects.quirks.circling).unwrap_or_default();
            let limit = parameter("max-keys").and_then(|text| text.parse().ok()).unwrap_or(1000);
            let (mut entries, more) = objects.list(&prefix, &after, limit);
            let next = entries.last().filter(|_| more).map(|entry| entry.key.clone());
            if objects.quirks.reversed_pages {
                entries.reverse();
            }
            let mut text = format!("<ListBucketResult><IsTruncated>{more}</IsTruncated>");
            for entry in entries {
                let (key, etag, len) = (entry.key, entry.etag.replace('"', "&quot;"), entry.len);
                let _ = write!(text, "<Contents><Key>{key}</Key><ETag>{etag}</ETag><Size>{len}</Size></Contents>");
            }
            if let Some(mut next) = next {
                if objects.quirks.circling {
                    next = format!("{}+", mark.unwrap_or_default());
                }
                let _ = write!(text, "<NextContinuationToken>{next}</NextContinuationToken>");
            }
            xml(&(text + "</ListBucketResult>"))
        }
        Method::GET => match objects.get(key) {
            None => error(404, "NoSuchKey"),
            Some((_, etag, _)) if none == Some(&etag) => {
                let answer = Response::builder().status(304).header(ETAG, etag);
                answer.body(body_of(Bytes::new())).unwrap()
            }
            Some((body, etag, version)) => {
                let mut answer = Response::builder().header(ETAG, etag).header(CONTENT_LENGTH, body.len());
                if let Some(version) = version {
                    answer = answer.header("x-amz-version-id", version);
                }
                answer.body(body_of(body)).unwrap()
            }
        },
        Method::PUT => match objects.put_if(key, body, matches, none.is_some()) {
            Written::PreconditionFailed => {
                let (status, code) = objects.lost(key);
                error(status, code)
            }
            Written::NoSuchKey => error(404, "NoSuchKey"),
            Written::Done { etag, version } => {
                let mut answer = Response::builder().header(ETAG, etag);
                if let Some(version) = version {
                    answer = answer.header("x-amz-version-id", version);
                }
                answer.body(body_of(Bytes::new())).unwrap()
            }
        },
        Method::DELETE => {
            let mut answer = Response::builder().status(204);
            if let Some(marker) = objects.delete(key, parameter("versionId").as_deref()) {
                answer = answer.header("x-amz-delete-marker", "true").header("x-amz-version-id", marker);
            }
            answer.body(body_of(Bytes::new())).unwrap()
        }
        _ => error(501, "NotImplemented"),
    }
}

fn body_of(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never: Infallible| match never {}).boxed()
}

fn xml(text: &str) -> Answer {
    let text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{text}");
    Response::builder().header("content-type", "application/xml").body(body_of(text.into())).unwrap()
}

fn error(status: u16, code: &str) -> Answer {
    let mut answer = xml(&format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>"));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    answer
}

/// The same answer with half of its body, after which the connection is cut. One without a body is cut as a whole.
async fn truncated(answer: Answer) -> io::Result<Answer> {
    let (mut parts, body) = answer.into_parts();
    let body = body.collect().await?.to_bytes();
    if body.is_empty() {
        return Err(io::Error::other("cut by the script"));
    }
    parts.headers.insert(CONTENT_LENGTH, body.len().into());
    let half = body.slice(..body.len() / 2);
    let frames = [Ok(Frame::data(half)), Err(io::Error::other("cut by the script"))];
    let body = StreamBody::new(futures_util::stream::iter(frames));
    Ok(Response::from_parts(parts, BodyExt::boxed(body)))
}

/// The same answer with half of its body, and then nothing for as long as the connection lasts.
async fn stalled(answer: Answer) -> io::Result<Answer> {
    let (mut parts, body) = answer.into_parts();
    let body = body.collect().await?.to_bytes();
    parts.headers.insert(CONTENT_LENGTH, (body.len() + 1).into());
    let half = futures_util::stream::iter([Ok(Frame::data(body.slice(..body.len() / 2)))]);
    let body = StreamBody::new(half.chain(futures_util::stream::pending()));
    Ok(Response::from_parts(parts, BodyExt::boxed(body)))
}

/// The same answer with a body that goes on for as long as the connection does.
fn endless(mut answer: Answer, shared: Arc<Shared>) -> Answer {
    answer.headers_mut().remove(CONTENT_LENGTH);
    let spaces = Bytes::from_static(&[b' '; 64 << 10]);
    let frames = futures_util::stream::repeat_with(move || {
        shared.endless.fetch_add(spaces.len(), Ordering::Relaxed);
        Ok(Frame::data(spaces.clone()))
    });
    answer.map(|_| BodyExt::boxed(StreamBody::new(frames)))
}

/// Percent-decodes a value of a query.
fn decode(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}
