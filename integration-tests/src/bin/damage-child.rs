//! Reads all of a store that may be damaged: `damage-child ADAPTER STORE`. Says what it found: `contents DIGEST`, or
//! `refused KIND TEXT`.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use integration_tests::adapter::Adapter;
use integration_tests::store::{contents, open_keep_shared};
use mls_keep_core::Result;

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, adapter, store] = arguments.as_slice() else { return Err("damage-child ADAPTER STORE".into()) };
    let adapter: Adapter = adapter.parse()?;
    match read(adapter, Path::new(store)) {
        Ok(digest) => println!("contents {digest}"),
        Err(error) => println!("refused {} {error}", error.kind()),
    }
    Ok(())
}

fn read(adapter: Adapter, store: &Path) -> Result<u64> {
    let keep = open_keep_shared(adapter.open(store)?)?;
    let mut hasher = DefaultHasher::new();
    contents(&keep, "alice")?.hash(&mut hasher);
    Ok(hasher.finish())
}
