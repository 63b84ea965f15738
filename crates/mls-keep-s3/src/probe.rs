//! What a service is asked before anything is written to it: whether its conditional writes can decide a root.

use bytes::Bytes;
use mls_keep_core::{Error, ErrorKind, Result};

use crate::bucket::{Bucket, Condition, Tag};
use crate::error::{Failure, OfTheService};
use crate::layout::PROBES;
use crate::look::Quotes;
use crate::object::Object;
use crate::retry::Patience;

/// What was found.
pub(crate) struct Found {
    pub(crate) quotes: Quotes,
    pub(crate) keeps_versions: bool,
}

/// Writes one object of its own, and deletes it with all of its versions. With `purges` it has to be able to do that.
///
/// # Errors
/// `Invalid` if a condition is not looked at, or never holds; and what the service says.
pub(crate) async fn probe(bucket: &Bucket, purges: bool) -> Result<Found> {
    let object = Object::new(None, Default::default())?;
    let name = PROBES.to_owned() + &object.id.map(|byte| format!("{byte:02x}")).concat();
    let mut probe = Probe { bucket, name, patience: bucket.patience(), keeps_versions: false };
    match probe.conditions().await {
        Ok(found) => {
            let gone = probe.clean_up().await;
            if purges || !probe.keeps_versions {
                // Also the permission to delete versions: before anything depends on it.
                gone.map_err(Failure::into_error)?;
            }
            Ok(found)
        }
        Err(error) => {
            // Nothing is to stay after a refusal either. A service that does not answer is asked once.
            if error.kind() != ErrorKind::Unavailable {
                let _ = probe.clean_up().await;
            } else if probe.patience.may_be_applied() {
                let _ = bucket.delete_once(&probe.name, None).await;
            }
            Err(error)
        }
    }
}

struct Probe<'a> {
    bucket: &'a Bucket,
    name: String,
    patience: Patience,
    keeps_versions: bool,
}

/// What became of a conditional write.
enum Outcome {
    Done(Tag),
    Lost,
}

impl Probe<'_> {
    async fn conditions(&mut self) -> Result<Found> {
        let Outcome::Done(first) = self.write(&Condition::Absent).await? else {
            return refuse("it does not make an object with If-None-Match");
        };
        if !matches!(self.write(&Condition::Absent).await?, Outcome::Lost) {
            return refuse("it does not look at If-None-Match");
        }
        let stale = Condition::Is("00000000000000000000000000000000".to_owned(), Quotes::With);
        if !matches!(self.write(&stale).await?, Outcome::Lost) {
            return refuse("it does not look at If-Match");
        }
        for quotes in [Quotes::With, Quotes::Without] {
            if let Outcome::Done(second) = self.write(&Condition::Is(first.etag.clone(), quotes)).await? {
                if second.etag == first.etag {
                    return refuse("it gives two objects the same ETag");
                }
                return Ok(Found { quotes, keeps_versions: first.kept().is_some() });
            }
        }
        refuse("it does not take an If-Match that holds")
    }

    /// A conditional write; one that fails for now is read back, as the writes of roots are.
    async fn write(&mut self, condition: &Condition) -> Result<Outcome> {
        let body: Bytes = Object::new(None, Default::default())?.encode();
        let (bucket, name) = (self.bucket, &self.name);
        let attempt = || async {
            match bucket.put_once(name, body.clone(), condition).await {
                Ok(tag) => Ok(Outcome::Done(tag)),
                Err(Failure::Lost | Failure::Missing) => match bucket.get_once(name, None).await {
                    Ok(read) if read.body == body => Ok(Outcome::Done(read.tag)),
                    Ok(_) | Err(Failure::Missing) => Ok(Outcome::Lost),
                    Err(failure) => Err(failure),
                },
                Err(failure) => Err(failure),
            }
        };
        let outcome = self.patience.repeat(attempt).await.map_err(Failure::into_error)?;
        if let Outcome::Done(tag) = &outcome {
            self.keeps_versions |= tag.version.is_some();
        }
        Ok(outcome)
    }

    async fn clean_up(&mut self) -> Result<(), Failure> {
        let (bucket, name) = (self.bucket, &self.name);
        // Versions that were not seen leave a marker.
        self.keeps_versions |=
            self.patience.repeat(|| bucket.delete_once(name, None)).await.or_else(Failure::if_missing)?;
        if self.keeps_versions {
            for version in bucket.versions(name).await? {
                bucket.delete(&version.name, Some(&version.id)).await?;
            }
        }
        Ok(())
    }
}

fn refuse<T>(what: &'static str) -> Result<T> {
    let text = format!("the service cannot decide between two writers: {what}: take one with conditional writes");
    Err(Error::new(ErrorKind::Invalid, text).with_source(OfTheService))
}
