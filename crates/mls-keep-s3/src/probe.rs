//! What a bucket is asked when it is opened: whether its conditional writes can decide a root.

use bytes::Bytes;
use mls_keep_core::{Error, ErrorKind, Result};

use crate::bucket::{Bucket, Condition, Quotes};
use crate::error::Failure;
use crate::layout::PROBES;
use crate::object::Object;

/// What was found.
pub(crate) struct Found {
    pub(crate) quotes: Quotes,
    /// Whether the bucket keeps old versions.
    pub(crate) versioned: bool,
}

/// Writes and deletes one object of its own.
///
/// # Errors
/// `Invalid` if a condition is not looked at, or never holds; and what the service says.
pub(crate) async fn probe(bucket: &mut Bucket) -> Result<Found> {
    let object = Object::new(None, Default::default())?;
    let name = PROBES.to_owned() + &object.id.map(|byte| format!("{byte:02x}")).concat();
    let found = conditions(bucket, &name).await;
    // Also after a failure nothing is to stay.
    let gone = bucket.delete(&name, None).await;
    let found = found?;
    gone.map_err(Failure::into_error)?;
    Ok(found)
}

async fn conditions(bucket: &mut Bucket, name: &str) -> Result<Found> {
    let refuse = |what: &'static str| {
        let text = format!("the service cannot decide between two writers: {what}: take one with conditional writes");
        Err(Error::new(ErrorKind::Invalid, text))
    };
    let body = || Ok::<Bytes, Error>(Object::new(None, Default::default())?.encode());
    let Outcome::Done(first) = write(bucket, name, body()?, &Condition::Absent).await? else {
        return refuse("it does not make an object with If-None-Match");
    };
    if !matches!(write(bucket, name, body()?, &Condition::Absent).await?, Outcome::Lost) {
        return refuse("it does not look at If-None-Match");
    }
    let stale = Condition::Is("\"00000000000000000000000000000000\"".to_owned());
    if !matches!(write(bucket, name, body()?, &stale).await?, Outcome::Lost) {
        return refuse("it does not look at If-Match");
    }
    for quotes in [Quotes::With, Quotes::Without] {
        bucket.set_quotes(quotes);
        if let Outcome::Done(_) = write(bucket, name, body()?, &Condition::Is(first.etag.clone())).await? {
            return Ok(Found { quotes, versioned: first.version.is_some() });
        }
    }
    refuse("it does not take an If-Match that holds")
}

enum Outcome {
    Done(crate::bucket::Tag),
    Lost,
}

/// A conditional write; one that fails for now is read back, as the writes of roots are.
async fn write(bucket: &Bucket, name: &str, body: Bytes, condition: &Condition) -> Result<Outcome> {
    let mut patience = bucket.patience();
    loop {
        match bucket.put_once(name, body.clone(), condition).await {
            Ok(tag) => return Ok(Outcome::Done(tag)),
            Err(Failure::Lost | Failure::Missing) => {
                let found = bucket.get(name, None).await.map_err(Failure::into_error)?;
                return Ok(match found {
                    Some(read) if read.body == body => Outcome::Done(read.tag),
                    _ => Outcome::Lost,
                });
            }
            Err(failure) => patience.after(failure).await.map_err(Failure::into_error)?,
        }
    }
}
