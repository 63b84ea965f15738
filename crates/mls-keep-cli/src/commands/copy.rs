//! `copy`: a keep from one store to another, without its key.

use mls_keep::ErrorKind;
use mls_keep_core::copy_store;
use serde_json::json;

use crate::cli::Global;
use crate::failure::{Failure, Result};
use crate::output::note;
use crate::progress;
use crate::store::{Access, Store};

pub(super) async fn copy(global: &Global, from: &str, to: &str) -> Result<()> {
    let (source, target) = (Store::parse(from)?, Store::parse(to)?);
    if source.is(&target) {
        return Err(Failure::usage("both stores are the same", "Name another target."));
    }
    let source = source.open(Access::Existing).await.map_err(|error| Failure::from(error).about(from))?;
    let target = target.open(Access::Create).await.map_err(|error| Failure::from(error).about(to))?;
    let bar = progress::counter("values copied and compared");
    let copied = copy_store(&*source, &*target, &mut |done| bar.set_position(done as u64)).await;
    bar.finish_and_clear();
    // What was copied is durable, whatever tidying up says. A failure of the copy is reported first.
    let closed = target.close().await.and(source.close().await);
    let copied = copied.map_err(|error| {
        let advice = "Nothing in it was changed. Name a target that is empty, or holds an earlier run of this copy.";
        Failure::from(error).about(format!("{from} to {to}")).advise(ErrorKind::Conflict, advice)
    })?;
    if let Err(error) = closed {
        note(&format!("everything is durable, but a store could not tidy up ({})", error.kind()));
    }
    note("use only one of the two from now on: two live copies of a client are a fork");
    let output = global.output();
    let (values, bytes) = (copied.values, copied.bytes);
    output
        .line(format!("copied and compared: {values} values, {bytes} bytes; there before: {}", copied.already_there))?;
    output.json(|| json!({ "values": values, "bytes": bytes, "already_there": copied.already_there }))
}
