//! The objects, and what S3 says about changing them.

use std::collections::BTreeMap;

use bytes::Bytes;

/// Where the server differs from AWS.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quirks {
    /// Old versions are kept.
    pub versioning: bool,
    /// `If-Match` must be the ETag without its quotes.
    pub bare_if_match: bool,
    /// `If-Match` is not looked at.
    pub ignores_if_match: bool,
    /// `If-Match` never holds.
    pub refuses_if_match: bool,
    /// `If-None-Match` is not looked at when something is written.
    pub ignores_if_none_match: bool,
    /// The same, where versions are kept: as Ceph does.
    pub ignores_if_none_match_with_versions: bool,
    /// Once versioning is suspended, a write forgets the old versions, and whoever deletes one of them deletes what is there: as
    /// moto does.
    pub forgets_versions: bool,
    /// Who loses to another conditional write is answered 500, as Ceph does in a race. Nobody races for the objects of a probe.
    pub lost_is_500: bool,
    /// Listings come in the opposite order within a page.
    pub reversed_pages: bool,
    /// Most keys or versions on a page of a listing; 1000 if it is 0.
    pub page_len: usize,
    /// ETags say no more than how long an object is.
    pub etags_of_length: bool,
    /// What ETags end with.
    pub etag_end: &'static str,
    /// What lies below `KEY/` counts as an object `KEY` when that is to be made, as SeaweedFS has it.
    pub directories: bool,
    /// A listing that has more pages gives the first one again and again, each time with another mark.
    pub circling: bool,
    /// A listing of versions that has more pages gives the first one again and again.
    pub stuck_versions: bool,
}

/// One version of an object; `None` marks its deletion.
struct Version {
    id: u64,
    /// Whether it was written while no versions were kept. Its id is `null` then, and the next of its kind replaces it.
    is_null: bool,
    is_conditional: bool,
    body: Option<Bytes>,
}

impl Version {
    fn name(&self) -> String {
        if self.is_null { "null".to_owned() } else { self.id.to_string() }
    }
}

#[derive(Default)]
pub(crate) struct Objects {
    pub(crate) quirks: Quirks,
    /// The versions of each key, the current one last.
    versions: BTreeMap<String, Vec<Version>>,
    last_id: u64,
    /// `None` where versions were never kept.
    versioning: Option<bool>,
}

/// What is answered to a conditional write.
pub(crate) enum Written {
    Done { etag: String, version: Option<String> },
    PreconditionFailed,
    NoSuchKey,
}

/// A line of a listing.
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) etag: String,
    pub(crate) len: usize,
}

/// A line of a listing of versions; one without a length marks a deletion.
pub(crate) struct ListedVersion {
    pub(crate) key: String,
    pub(crate) id: String,
    number: u64,
    pub(crate) is_latest: bool,
    pub(crate) len: Option<usize>,
}

impl Objects {
    pub(crate) fn new(quirks: Quirks) -> Self {
        Self { quirks, versioning: quirks.versioning.then_some(true), ..Self::default() }
    }

    pub(crate) fn set_versioning(&mut self, versioning: Option<bool>) {
        self.versioning = versioning;
    }

    /// The object with its ETag, and the id of its version where versions are or were kept.
    pub(crate) fn get(&self, key: &str) -> Option<(Bytes, String, Option<String>)> {
        let version = self.versions.get(key)?.last()?;
        let body = version.body.clone()?;
        let etag = self.etag(&body);
        Some((body, etag, self.versioning.map(|_| version.name())))
    }

    /// The same bytes have the same ETag, as on AWS.
    fn etag(&self, body: &[u8]) -> String {
        if self.quirks.etags_of_length {
            return format!("\"{}\"", body.len());
        }
        // Of 128 bits, as MD5 has; nobody attacks it here.
        let hash = |seed: u64| {
            body.iter().fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3).rotate_left(5)
            })
        };
        format!("\"{:016x}{:016x}{}\"", hash(1), hash(2), self.quirks.etag_end)
    }

    pub(crate) fn put_if(&mut self, key: &str, body: Bytes, matches: Option<&str>, none: bool) -> Written {
        let current = self.get(key).map(|(_, etag, _)| etag);
        let ignores = self.quirks.ignores_if_none_match
            || self.quirks.ignores_if_none_match_with_versions && self.versioning == Some(true);
        let is_directory = self.quirks.directories && !self.list(&format!("{key}/"), "", 1).0.is_empty();
        if none && !ignores && (current.is_some() || is_directory) {
            return Written::PreconditionFailed;
        }
        if let Some(wanted) = matches.filter(|_| !self.quirks.ignores_if_match) {
            let Some(current) = current else { return Written::NoSuchKey };
            let current = if self.quirks.bare_if_match { current.trim_matches('"').to_owned() } else { current };
            if wanted != current || self.quirks.refuses_if_match {
                return Written::PreconditionFailed;
            }
        }
        let etag = self.etag(&body);
        let version = self.push(key, Some(body), none || matches.is_some());
        Written::Done { etag, version: self.versioning.map(|_| version) }
    }

    /// What is answered to a conditional write that lost.
    pub(crate) fn lost(&self, key: &str) -> (u16, &'static str) {
        let raced = self.versions.get(key).and_then(|versions| versions.last()).is_some_and(|last| last.is_conditional);
        if self.quirks.lost_is_500 && raced && !key.contains("probe/") {
            return (500, "UnknownError");
        }
        (412, "PreconditionFailed")
    }

    pub(crate) fn put(&mut self, key: &str, body: Bytes) -> String {
        self.push(key, Some(body), false)
    }

    fn push(&mut self, key: &str, body: Option<Bytes>, is_conditional: bool) -> String {
        self.last_id += 1;
        let versions = self.versions.entry(key.to_owned()).or_default();
        let version = Version { id: self.last_id, is_null: self.versioning != Some(true), is_conditional, body };
        if version.is_null {
            versions.retain(|version| !version.is_null && !self.quirks.forgets_versions);
        }
        let name = version.name();
        versions.push(version);
        name
    }

    /// Deletes a version, or the object. Returns the id of the marker that this makes.
    pub(crate) fn delete(&mut self, key: &str, version: Option<&str>) -> Option<String> {
        let mut marker = None;
        match version {
            Some(id) => {
                let is_there = self.versions.get(key).is_some_and(|kept| kept.iter().any(|kept| kept.name() == id));
                if self.quirks.forgets_versions && !is_there {
                    self.versions.remove(key);
                } else if let Some(versions) = self.versions.get_mut(key) {
                    versions.retain(|version| version.name() != id);
                }
            }
            None if self.versioning.is_some() => marker = Some(self.push(key, None, false)),
            None => {
                self.versions.remove(key);
            }
        }
        self.versions.retain(|_, versions| !versions.is_empty());
        marker
    }

    /// Current objects that begin with `prefix` and come after `after`; and whether there are more.
    pub(crate) fn list(&self, prefix: &str, after: &str, limit: usize) -> (Vec<Entry>, bool) {
        let page = self.page_len().min(limit);
        let mut found = self
            .versions
            .range(prefix.to_owned()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(key, _)| key.as_str() > after)
            .filter_map(|(key, versions)| {
                let body = versions.last()?.body.as_ref()?;
                Some(Entry { key: key.clone(), etag: self.etag(body), len: body.len() })
            });
        let entries: Vec<Entry> = found.by_ref().take(page).collect();
        (entries, found.next().is_some())
    }

    fn page_len(&self) -> usize {
        if self.quirks.page_len == 0 { 1000 } else { self.quirks.page_len }
    }

    /// Versions of the objects whose keys begin with `prefix`, the latest of each first, that come after the version `id` of
    /// the object `key`; and whether there are more.
    pub(crate) fn list_versions(&self, prefix: &str, key: &str, id: Option<&str>) -> (Vec<ListedVersion>, bool) {
        let all = self.all_versions(prefix);
        let is_last = |version: &&ListedVersion| version.key == key && Some(version.id.as_str()) == id;
        let last = all.iter().find(is_last).map(|version| version.number);
        let mut left = all.into_iter().filter(|version| {
            version.key.as_str() > key || version.key == key && last.is_some_and(|last| version.number < last)
        });
        let page = left.by_ref().take(self.page_len()).collect();
        (page, left.next().is_some())
    }

    fn all_versions(&self, prefix: &str) -> Vec<ListedVersion> {
        let kept = self.versions.iter().filter(|(key, _)| key.starts_with(prefix));
        kept.flat_map(|(key, versions)| {
            let latest = versions.last().map(|version| version.id);
            versions.iter().rev().map(move |version| ListedVersion {
                key: key.clone(),
                id: version.name(),
                number: version.id,
                is_latest: Some(version.id) == latest,
                len: version.body.as_ref().map(Bytes::len),
            })
        })
        .collect()
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        self.versions.keys().filter(|key| self.get(key).is_some()).cloned().collect()
    }

    pub(crate) fn old_versions(&self) -> usize {
        let all: usize = self.versions.values().map(Vec::len).sum();
        all - self.keys().len()
    }

    pub(crate) fn contains(&self, marker: &[u8]) -> bool {
        let bodies = self.versions.values().flatten().filter_map(|version| version.body.as_ref());
        bodies.into_iter().any(|body| body.windows(marker.len()).any(|window| window == marker))
    }
}
