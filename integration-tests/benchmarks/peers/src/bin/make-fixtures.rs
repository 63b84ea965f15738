//! Makes the databases that `crates/mls-keep-import/tests` reads, with the providers' own crates: `make-fixtures DIRECTORY`.

#[path = "../fixture.rs"]
mod fixture;
#[path = "../codec.rs"]
mod codec;

use std::fs;
use std::path::Path;

use openmls_rust_crypto::{OpenMlsRustCrypto, RustCrypto};
use openmls_sqlite_storage::{Codec, SqliteStorageProvider};
use openmls_traits::OpenMlsProvider;
use rusqlite::Connection;

use codec::{Cbor, Json};
use fixture::Result;

struct Provider<'c, C: Codec> {
    crypto: RustCrypto,
    storage: SqliteStorageProvider<C, &'c Connection>,
}

impl<'c, C: Codec> OpenMlsProvider for Provider<'c, C> {
    type CryptoProvider = RustCrypto;
    type RandProvider = RustCrypto;
    type StorageProvider = SqliteStorageProvider<C, &'c Connection>;

    fn storage(&self) -> &Self::StorageProvider {
        &self.storage
    }

    fn crypto(&self) -> &RustCrypto {
        &self.crypto
    }

    fn rand(&self) -> &RustCrypto {
        &self.crypto
    }
}

fn main() -> Result<()> {
    let directory = std::env::args().nth(1).ok_or("make-fixtures DIRECTORY")?;
    let place = |name: &str| {
        let place = Path::new(&directory).join(name);
        fs::create_dir_all(&place).map(|()| place)
    };
    sqlite::<Json>(&place("sqlite-json")?)?;
    sqlite::<Cbor>(&place("sqlite-cbor")?)?;
    memory(&place("memory")?)
}

fn sqlite<C: Codec>(directory: &Path) -> Result<()> {
    let path = directory.join("alice.db");
    if path.exists() {
        fs::remove_file(&path)?;
    }
    let mut connection = Connection::open(path)?;
    SqliteStorageProvider::<C, _>::new(&mut connection).run_migrations()?;
    let storage = SqliteStorageProvider::<C, _>::new(&connection);
    fixture::make(&Provider { crypto: RustCrypto::default(), storage }, directory)?;
    Ok(connection.execute_batch("VACUUM")?)
}

fn memory(directory: &Path) -> Result<()> {
    let alice = OpenMlsRustCrypto::default();
    fixture::make(&alice, directory)?;
    Ok(alice.storage().save_to_file(&fs::File::create(directory.join("alice.json"))?)?)
}
