//! Versions that the bucket keeps beside the current ones: deleting and counting them.

use std::sync::atomic::Ordering;

use futures_util::future::{join_all, try_join_all};
use mls_keep_core::{Key, Result};

use crate::bucket::{NULL, Tag, Version};
use crate::error::Failure;
use crate::layout::{PROBES, VALUES, name};
use crate::store::Store;

impl Store {
    /// Deletes the object of `key`, with its versions if they are to go.
    pub(crate) async fn delete_own(&self, key: &Key) -> Result<(), Failure> {
        let name = name(key);
        if !self.purges {
            return self.bucket.delete(&name, None).await.map(drop);
        }
        if !self.keeps_versions.load(Ordering::Relaxed) {
            if !self.bucket.delete(&name, None).await? {
                return Ok(());
            }
            self.keeps_versions.store(true, Ordering::Relaxed);
        }
        let versions = self.bucket.versions(&name).await?;
        let versions: Vec<_> = versions.into_iter().filter(|version| version.name == name).collect();
        // The current one goes last: what was replaced is not to come back meanwhile.
        let (latest, old): (Vec<_>, Vec<_>) = versions.iter().partition(|version| version.is_latest);
        for version in old.into_iter().chain(latest) {
            self.bucket.delete(&name, Some(&version.id)).await?;
        }
        Ok(())
    }

    /// Deletes all versions of the store's objects that are not current. Returns how many.
    pub(crate) async fn purge(&self) -> Result<usize> {
        let versions = self.versions_that_are_old().await?;
        // A marker of deletion goes after what it hides.
        let (markers, old): (Vec<_>, Vec<_>) = versions.iter().partition(|version| version.is_latest);
        for group in [&old, &markers] {
            try_join_all(group.iter().map(|version| self.bucket.delete(&version.name, Some(&version.id))))
                .await
                .map_err(Failure::into_error)?;
        }
        Ok(old.len() + markers.len())
    }

    /// How many versions of the store's objects are not current, and how many bytes they hold.
    pub(crate) async fn old_versions(&self) -> Result<(usize, u64)> {
        let old = self.versions_that_are_old().await?;
        Ok(old.iter().fold((0, 0), |(count, len), version| (count + 1, len + version.len)))
    }

    /// Of what others keep below the prefix nothing is looked at.
    async fn versions_that_are_old(&self) -> Result<Vec<Version>> {
        let ours = try_join_all([VALUES, PROBES].map(|names| self.bucket.versions(names)));
        let mut versions = ours.await.map_err(Failure::into_error)?.concat();
        versions.retain(|version| !version.is_latest || version.is_marker);
        Ok(versions)
    }

    /// Deletes the version `old` of the object of `key`, which one of the tag `new` has replaced. The commit stands; a version
    /// that stays is found by `purge_old_versions`.
    pub(crate) async fn purge_replaced(&self, key: &Key, old: &Tag, new: &Tag) {
        match (old.kept(), new.kept()) {
            // Versioning was switched on in between where there is no id.
            (old, Some(_)) => drop(self.bucket.delete(&name(key), Some(old.unwrap_or(NULL))).await),
            // It was suspended in between. What is there is looked at: moto has forgotten the old version, and takes the
            // current one for it.
            (Some(_), None) => self.purge_others(key, new).await,
            (None, None) => {}
        }
    }

    /// Deletes all versions of the object of `key` but the one that was just written.
    pub(crate) async fn purge_others(&self, key: &Key, tag: &Tag) {
        let name = name(key);
        let Ok(versions) = self.bucket.versions(&name).await else { return };
        let others =
            versions.iter().filter(|version| version.name == name && Some(&version.id) != tag.version.as_ref());
        // A version that another writer has just written stays: it is current.
        join_all(
            others.filter(|version| !version.is_latest).map(|version| self.bucket.delete(&name, Some(&version.id))),
        )
        .await;
    }
}
