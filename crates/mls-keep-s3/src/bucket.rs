//! [`Bucket`]: requests for the objects below one prefix, each repeated until it has an answer or the deadline is there.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types;
use bytes::{Bytes, BytesMut};
use mls_keep_core::ErrorKind;
use tokio::sync::Semaphore;

use crate::answer::{AtMost, MAX_ANSWER_LEN};
use crate::config::{Config, ServerSideEncryption};
use crate::error::Failure;
use crate::look::Quotes;
use crate::object::MAX_OBJECT_LEN;
use crate::retry::Patience;

/// The condition of a write.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Condition {
    None,
    /// There is no object.
    Absent,
    /// The object has this ETag.
    Is(String, Quotes),
}

/// An object that was read.
pub(crate) struct Read {
    pub(crate) body: Bytes,
    pub(crate) tag: Tag,
}

/// What a service says of one version of an object.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Tag {
    /// As it came.
    pub(crate) etag: String,
    /// `None` or "null" where no versions are kept, or were not when it was written.
    pub(crate) version: Option<String>,
}

impl Tag {
    /// The id of its version, if versions were kept when it was written.
    pub(crate) fn kept(&self) -> Option<&str> {
        self.version.as_deref().filter(|id| !matches!(*id, NULL | ""))
    }
}

/// The id of a version that was written while none were kept.
pub(crate) const NULL: &str = "null";

/// An object in a listing.
pub(crate) struct Listed {
    /// Its name below the prefix.
    pub(crate) name: String,
    pub(crate) etag: String,
    pub(crate) len: u64,
}

/// A version that is kept of an object.
#[derive(Clone)]
pub(crate) struct Version {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) is_latest: bool,
    /// Whether it says that the object is deleted.
    pub(crate) is_marker: bool,
    pub(crate) len: u64,
}

pub(crate) struct Bucket {
    client: Client,
    name: String,
    /// What every object's key begins with: empty, or ending with `/`.
    prefix: String,
    encryption: Option<ServerSideEncryption>,
    permits: Semaphore,
    attempt_timeout: Duration,
    deadline: Duration,
}

impl Bucket {
    pub(crate) fn new(client: Client, name: String, prefix: String, config: &Config) -> Self {
        Self {
            client,
            name,
            prefix,
            encryption: config.encryption.clone(),
            permits: Semaphore::new(config.connections),
            attempt_timeout: config.attempt_timeout,
            deadline: config.deadline,
        }
    }

    /// The patience of one call.
    pub(crate) fn patience(&self) -> Patience {
        Patience::new(self.deadline)
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// One attempt to write `body` to the object `name`.
    pub(crate) async fn put_once(&self, name: &str, body: Bytes, condition: &Condition) -> Result<Tag, Failure> {
        let _permit = self.permits.acquire().await;
        let mut request = self.client.put_object().bucket(&self.name).key(self.key(name)).body(ByteStream::from(body));
        match condition {
            Condition::None => {}
            Condition::Absent => request = request.if_none_match("*"),
            Condition::Is(etag, quotes) => {
                let bare = etag.trim_matches('"');
                request = request.if_match(match quotes {
                    Quotes::With => format!("\"{bare}\""),
                    Quotes::Without => bare.to_owned(),
                });
            }
        }
        match &self.encryption {
            None => {}
            Some(ServerSideEncryption::Aes256) => {
                request = request.server_side_encryption(types::ServerSideEncryption::Aes256);
            }
            Some(ServerSideEncryption::Kms(key)) => {
                request =
                    request.server_side_encryption(types::ServerSideEncryption::AwsKms).set_ssekms_key_id(key.clone());
            }
        }
        let request = request.customize().interceptor(AtMost(MAX_ANSWER_LEN));
        let answer = request.send().await.map_err(|error| Failure::of(&error))?;
        match answer.e_tag {
            Some(etag) => Ok(Tag { etag, version: answer.version_id }),
            // Some services send an error in the body of a 200.
            None => Err(Failure::broken_off()),
        }
    }

    /// One attempt to read the object `name`, unless its ETag is `known`.
    pub(crate) async fn get_once(&self, name: &str, known_etag: Option<&str>) -> Result<Read, Failure> {
        // The SDK's own bound ends with the head of the answer.
        let whole = tokio::time::timeout(self.attempt_timeout, self.get_whole(name, known_etag));
        whole.await.unwrap_or_else(|_| Err(Failure::too_late()))
    }

    async fn get_whole(&self, name: &str, known_etag: Option<&str>) -> Result<Read, Failure> {
        let _permit = self.permits.acquire().await;
        let request = self.client.get_object().bucket(&self.name).key(self.key(name));
        let request = request.set_if_none_match(known_etag.map(str::to_owned));
        let request = request.customize().interceptor(AtMost(MAX_OBJECT_LEN));
        let mut answer = request.send().await.map_err(|error| Failure::of(&error))?;
        let len = usize::try_from(answer.content_length.unwrap_or_default()).unwrap_or(usize::MAX);
        if len > MAX_OBJECT_LEN {
            return Err(Failure::for_good(ErrorKind::Corrupt, "an object in the bucket is longer than any of ours"));
        }
        let Some(etag) = answer.e_tag else { return Err(Failure::broken_off()) };
        let mut body = BytesMut::with_capacity(len);
        while let Some(chunk) = answer.body.try_next().await.map_err(|_| Failure::broken_off())? {
            body.extend_from_slice(&chunk);
        }
        if body.len() < len {
            return Err(Failure::broken_off());
        }
        Ok(Read { body: body.freeze(), tag: Tag { etag, version: answer.version_id } })
    }

    /// Writes an object that nobody else writes, or whose last writer wins.
    pub(crate) async fn put(&self, name: &str, body: Bytes) -> Result<Tag, Failure> {
        self.patience().repeat(|| self.put_once(name, body.clone(), &Condition::None)).await
    }

    /// Deletes an object, or one version of it. Returns whether older versions stay, and a marker that hides them.
    pub(crate) async fn delete(&self, name: &str, version: Option<&str>) -> Result<bool, Failure> {
        self.patience().repeat(|| self.delete_once(name, version)).await.or_else(Failure::if_missing)
    }

    /// One attempt to do that.
    pub(crate) async fn delete_once(&self, name: &str, version: Option<&str>) -> Result<bool, Failure> {
        let _permit = self.permits.acquire().await;
        let request = self.client.delete_object().bucket(&self.name).key(self.key(name));
        let request = request.set_version_id(version.map(str::to_owned));
        let request = request.customize().interceptor(AtMost(MAX_ANSWER_LEN));
        let answer = request.send().await.map_err(|error| Failure::of(&error))?;
        Ok(version.is_none() && answer.delete_marker.unwrap_or_default())
    }

    /// All objects whose names begin with `prefix`, in byte order.
    ///
    /// `start-after` is not used: services that keep directories walk them in another order than that of bytes, and leave
    /// out what comes later in byte order only. A whole listing has everything, in whatever order.
    pub(crate) async fn list(&self, prefix: &str) -> Result<Vec<Listed>, Failure> {
        let mut listed = BTreeMap::new();
        let mut token = None::<String>;
        let mut circles = Circles::default();
        loop {
            let attempt = || async {
                let _permit = self.permits.acquire().await;
                let request = self.client.list_objects_v2().bucket(&self.name).prefix(self.key(prefix));
                let request = request.set_continuation_token(token.clone());
                let request = request.customize().interceptor(AtMost(MAX_ANSWER_LEN));
                request.send().await.map_err(|error| Failure::of(&error))
            };
            // Each page has the time of a call.
            let answer = self.patience().repeat(attempt).await?;
            let before = listed.len();
            for object in answer.contents.unwrap_or_default() {
                let name = object.key.as_deref().and_then(|key| key.strip_prefix(&self.prefix)).unwrap_or_default();
                if name.starts_with(prefix) {
                    let etag = object.e_tag.unwrap_or_default();
                    let len = object.size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default();
                    listed.insert(name.to_owned(), Listed { name: name.to_owned(), etag, len });
                }
            }
            if !answer.is_truncated.unwrap_or_default() {
                return Ok(listed.into_values().collect());
            }
            circles.page(listed.len() - before)?;
            if answer.next_continuation_token.is_none() || answer.next_continuation_token == token {
                return Err(endless_listing());
            }
            token = answer.next_continuation_token;
        }
    }

    /// All versions that are kept of the objects whose names begin with `prefix`.
    pub(crate) async fn versions(&self, prefix: &str) -> Result<Vec<Version>, Failure> {
        let mut found = BTreeMap::new();
        let mut marker = (None, None);
        let mut circles = Circles::default();
        loop {
            let attempt = || async {
                let _permit = self.permits.acquire().await;
                let request = self.client.list_object_versions().bucket(&self.name).prefix(self.key(prefix));
                let request = request.set_key_marker(marker.0.clone()).set_version_id_marker(marker.1.clone());
                let request = request.customize().interceptor(AtMost(MAX_ANSWER_LEN));
                request.send().await.map_err(|error| Failure::of(&error))
            };
            // Each page has the time of a call.
            let answer = self.patience().repeat(attempt).await?;
            let before = found.len();
            let mut add = |key: Option<String>, id: Option<String>, is_latest: Option<bool>, len: Option<i64>| {
                let name = key.as_deref().and_then(|key| key.strip_prefix(&self.prefix));
                if let (Some(name), Some(id)) = (name, id) {
                    let version = Version {
                        name: name.to_owned(),
                        id: id.clone(),
                        is_latest: is_latest.unwrap_or_default(),
                        is_marker: len.is_none(),
                        len: len.and_then(|len| u64::try_from(len).ok()).unwrap_or_default(),
                    };
                    found.insert((name.to_owned(), id), version);
                }
            };
            for version in answer.versions.unwrap_or_default() {
                add(version.key, version.version_id, version.is_latest, Some(version.size.unwrap_or_default()));
            }
            for marker in answer.delete_markers.unwrap_or_default() {
                add(marker.key, marker.version_id, marker.is_latest, None);
            }
            if !answer.is_truncated.unwrap_or_default() {
                return Ok(found.into_values().collect());
            }
            circles.page(found.len() - before)?;
            let next = (answer.next_key_marker, answer.next_version_id_marker);
            if next.0.is_none() || next == marker {
                return Err(endless_listing());
            }
            marker = next;
        }
    }
}

/// Pages in a row that a listing may have with nothing that is new: of markers, or of what lies elsewhere.
const MAX_EMPTY_PAGES: usize = 100;

/// Looks whether a listing goes in circles.
#[derive(Default)]
struct Circles {
    empty: usize,
}

impl Circles {
    /// A page that is not the last one, with so many names that no page before had.
    fn page(&mut self, new: usize) -> Result<(), Failure> {
        self.empty = if new == 0 { self.empty + 1 } else { 0 };
        if self.empty > MAX_EMPTY_PAGES { Err(endless_listing()) } else { Ok(()) }
    }
}

fn endless_listing() -> Failure {
    Failure::for_good(ErrorKind::Invalid, "the service says that a listing goes on, and not how")
}
