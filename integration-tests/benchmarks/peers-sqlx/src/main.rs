//! Makes the database of openmls_sqlx_storage that `crates/mls-keep-import/tests` reads: `mls-keep-peers-sqlx DIRECTORY`.

#[path = "../../peers/src/fixture.rs"]
mod fixture;

use std::fs;
use std::path::Path;

use openmls_rust_crypto::RustCrypto;
use openmls_sqlx_storage::{Codec, SqliteStorageProvider};
use openmls_traits::OpenMlsProvider;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

use fixture::Result;

/// The codec of the provider's own example.
#[derive(Default)]
struct Json;

impl Codec for Json {
    type Error = serde_json::Error;

    fn to_vec<T: Serialize + ?Sized>(value: &T) -> std::result::Result<Vec<u8>, Self::Error> {
        serde_json::to_vec(value)
    }

    fn from_slice<T: DeserializeOwned>(slice: &[u8]) -> std::result::Result<T, Self::Error> {
        serde_json::from_slice(slice)
    }
}

struct Provider<'c> {
    crypto: RustCrypto,
    storage: SqliteStorageProvider<'c, Json>,
}

impl<'c> OpenMlsProvider for Provider<'c> {
    type CryptoProvider = RustCrypto;
    type RandProvider = RustCrypto;
    type StorageProvider = SqliteStorageProvider<'c, Json>;

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

#[tokio::main(flavor = "multi_thread")]
async fn main() -> Result<()> {
    let directory = std::env::args().nth(1).ok_or("mls-keep-peers-sqlx DIRECTORY")?;
    let directory = Path::new(&directory).join("sqlx-json");
    fs::create_dir_all(&directory)?;
    let path = directory.join("alice.db");
    if path.exists() {
        fs::remove_file(&path)?;
    }
    let mut connection = SqliteConnectOptions::new().filename(&path).create_if_missing(true).connect().await?;
    SqliteStorageProvider::<Json>::new(&mut connection).run_migrations()?;
    make(&mut connection, &directory)?;
    sqlx::query("VACUUM").execute(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

fn make(connection: &mut SqliteConnection, directory: &Path) -> Result<()> {
    let storage = SqliteStorageProvider::new(connection);
    fixture::make(&Provider { crypto: RustCrypto::default(), storage }, directory)
}
