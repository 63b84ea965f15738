//! Databases of `openmls_sqlite_storage` and `openmls_sqlx_storage`.
//!
//! Both have the same tables under other names, and the key of an encoded value is an encoded value. A database is what
//! somebody else made: what it could run is switched off, and what it says is bounded.

use std::collections::BTreeMap;
use std::path::Path;

use mls_keep::import::{Encoding, GroupValue, StoredGroup, StoredState};
use mls_keep::{Error, ErrorKind, Result, SecretBytes, limits};
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags, Row, ffi};

use crate::{MAX_LEN, too_large};

/// The names of the tables of a provider.
struct Tables {
    /// A table that the other provider does not have.
    mark: &'static str,
    epoch_key_pairs: &'static str,
    proposals: &'static str,
    own_leaf_nodes: &'static str,
    /// The order of its rows.
    own_leaf_order: &'static str,
    key_packages: &'static str,
    psks: &'static str,
    signature_keys: &'static str,
    encryption_keys: &'static str,
}

const PROVIDERS: [Tables; 2] = [
    Tables {
        mark: "openmls_key_packages",
        epoch_key_pairs: "openmls_epoch_keys_pairs",
        proposals: "openmls_proposals",
        own_leaf_nodes: "openmls_own_leaf_nodes",
        own_leaf_order: "id",
        key_packages: "openmls_key_packages",
        psks: "openmls_psks",
        signature_keys: "openmls_signature_keys",
        encryption_keys: "openmls_encryption_keys",
    },
    Tables {
        mark: "openmls_key_package",
        epoch_key_pairs: "openmls_epoch_key_pairs",
        proposals: "openmls_proposal",
        own_leaf_nodes: "openmls_own_leaf_node",
        own_leaf_order: "rowid",
        key_packages: "openmls_key_package",
        psks: "openmls_psk",
        signature_keys: "openmls_signature_key",
        encryption_keys: "openmls_encryption_key",
    },
];

const GROUP_DATA: &str = "openmls_group_data";

pub(crate) fn read(path: &Path, encoding: Option<Encoding>) -> Result<StoredState> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let absolute = std::path::absolute(path).map_err(|source| crate::io_error(path, source))?;
    let connection = Connection::open_with_flags(absolute, flags).map_err(|error| failed(path, error))?;
    let mut reader = Reader { path, connection, read: 0, rows: 0 };
    reader.read_all(encoding)
}

struct Reader<'p> {
    path: &'p Path,
    connection: Connection,
    /// Bytes read so far.
    read: u64,
    /// And rows.
    rows: u64,
}

impl Reader<'_> {
    fn read_all(&mut self, encoding: Option<Encoding>) -> Result<StoredState> {
        self.disarm()?;
        // One state of the database, also while another program writes it.
        self.connection.execute_batch("BEGIN").map_err(|error| failed(self.path, error))?;
        let tables = self.identify()?;
        let mut groups = BTreeMap::<SecretBytes, StoredGroup>::new();
        let rows = self.rows(&format!("SELECT group_id, group_data, data_type FROM {GROUP_DATA}"), |row| {
            Ok((secret(row, 0)?, secret(row, 1)?, row.get::<_, String>(2)?))
        })?;
        for (id, value, name) in rows {
            if let Some(kind) = value_named(&name) {
                group(&mut groups, id).values.insert(kind, value);
            }
        }
        let pairs = format!("SELECT group_id, epoch_id, key_pairs, leaf_index FROM {}", tables.epoch_key_pairs);
        let rows =
            self.rows(&pairs, |row| Ok((secret(row, 0)?, secret(row, 1)?, secret(row, 2)?, row.get::<_, u32>(3)?)))?;
        for (id, epoch, pairs, leaf) in rows {
            group(&mut groups, id).epoch_key_pairs.push((epoch, leaf, pairs));
        }
        let (leaves, order) = (tables.own_leaf_nodes, tables.own_leaf_order);
        for (id, leaf) in self.pairs(&format!("SELECT group_id, leaf_node FROM {leaves} ORDER BY {order}"))? {
            group(&mut groups, id).own_leaf_nodes.push(leaf);
        }
        let proposals = tables.proposals;
        for (id, proposal) in self.pairs(&format!("SELECT group_id, proposal FROM {proposals} ORDER BY rowid"))? {
            group(&mut groups, id).proposals.push(proposal);
        }
        // What OpenMLS has left of a group that it deleted is no group.
        groups.retain(|_, group| !group.values.is_empty());
        let mut state = StoredState {
            groups: groups.into_values().collect(),
            key_packages: self.values(&format!("SELECT key_package FROM {}", tables.key_packages))?,
            psks: self.pairs(&format!("SELECT psk_id, psk_bundle FROM {}", tables.psks))?,
            signature_keys: self.values(&format!("SELECT signature_key FROM {}", tables.signature_keys))?,
            encryption_keys: self.pairs(&format!("SELECT public_key, key_pair FROM {}", tables.encryption_keys))?,
            ..StoredState::default()
        };
        state.encoding = encoding.unwrap_or_else(|| guess(&state));
        Ok(state)
    }

    /// Switches off what a file can bring along.
    fn disarm(&self) -> Result<()> {
        let configured = [
            (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
            (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
            (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
            (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        ]
        .into_iter()
        .try_for_each(|(option, on)| self.connection.set_db_config(option, on).map(drop))
        .and_then(|()| self.connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_ROW_LEN).map(drop));
        configured.map_err(|error| failed(self.path, error))
    }

    fn identify(&self) -> Result<&'static Tables> {
        let exists = |table: &str| {
            let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?";
            self.connection.query_row(sql, [table], |row| row.get::<_, u32>(0)).map(|count| count == 1)
        };
        for tables in &PROVIDERS {
            if exists(GROUP_DATA).and_then(|data| Ok(data && exists(tables.mark)?)).map_err(|e| failed(self.path, e))? {
                return Ok(tables);
            }
        }
        let text = format!(
            "{} has neither the tables of openmls_sqlite_storage nor those of openmls_sqlx_storage",
            self.path.display()
        );
        Err(Error::new(ErrorKind::Invalid, text))
    }

    fn values(&mut self, sql: &str) -> Result<Vec<SecretBytes>> {
        self.rows(sql, |row| secret(row, 0))
    }

    fn pairs(&mut self, sql: &str) -> Result<Vec<(SecretBytes, SecretBytes)>> {
        self.rows(sql, |row| Ok((secret(row, 0)?, secret(row, 1)?)))
    }

    fn rows<T>(&mut self, sql: &str, make: impl Fn(&Row<'_>) -> rusqlite::Result<T>) -> Result<Vec<T>> {
        let mut made = Vec::new();
        let mut statement = self.connection.prepare(sql).map_err(|error| failed(self.path, error))?;
        let columns = statement.column_count();
        let mut rows = statement.query([]).map_err(|error| failed(self.path, error))?;
        while let Some(row) = rows.next().map_err(|error| failed(self.path, error))? {
            for column in 0..columns {
                let value = row.get_ref(column).map_err(|error| failed(self.path, error))?;
                self.read += value.as_bytes().map_or(8, |bytes| bytes.len() as u64);
            }
            // A forged tree has rows without end, and nothing in them.
            self.rows += 1;
            if self.read > MAX_LEN || self.rows > MAX_ROWS {
                return Err(too_large(self.path));
            }
            made.push(make(row).map_err(|error| failed(self.path, error))?);
        }
        Ok(made)
    }
}

/// Most rows that are read. A group has about a dozen.
const MAX_ROWS: u64 = 1 << 20;

/// A row has a few keys beside its value.
const MAX_ROW_LEN: i32 = limits::MAX_VALUE_LEN as i32 * 2;

fn group(groups: &mut BTreeMap<SecretBytes, StoredGroup>, id: SecretBytes) -> &mut StoredGroup {
    groups.entry(id.clone()).or_insert_with(|| StoredGroup { id, ..StoredGroup::default() })
}

fn secret(row: &Row<'_>, column: usize) -> rusqlite::Result<SecretBytes> {
    row.get::<_, Vec<u8>>(column).map(SecretBytes::from)
}

fn value_named(name: &str) -> Option<GroupValue> {
    Some(match name {
        "join_group_config" => GroupValue::JoinConfig,
        "tree" => GroupValue::Tree,
        "interim_transcript_hash" => GroupValue::InterimTranscriptHash,
        "context" => GroupValue::Context,
        "confirmation_tag" => GroupValue::ConfirmationTag,
        "group_state" => GroupValue::State,
        "message_secrets" => GroupValue::MessageSecrets,
        "resumption_psk_store" => GroupValue::ResumptionPskStore,
        "own_leaf_index" => GroupValue::OwnLeafIndex,
        "group_epoch_secrets" => GroupValue::EpochSecrets,
        "application_export_tree" => GroupValue::ApplicationExportTree,
        _ => return None,
    })
}

/// All values are in the same codec, and the ones that can be told apart best are maps.
fn guess(state: &StoredState) -> Encoding {
    let groups = state.groups.iter().map(|group| &group.id);
    let others = state.key_packages.iter().chain(&state.signature_keys);
    groups.chain(others).next().map_or_else(Encoding::default, |value| Encoding::of_map(value))
}

fn failed(path: &Path, error: rusqlite::Error) -> Error {
    let code = error.sqlite_error().map(|error| error.extended_code & 0xff);
    let kind = match code {
        Some(ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED) => ErrorKind::Busy,
        Some(ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB | ffi::SQLITE_FORMAT | ffi::SQLITE_TOOBIG) => ErrorKind::Corrupt,
        // A table is not as the provider makes it.
        Some(ffi::SQLITE_ERROR) => ErrorKind::Corrupt,
        Some(_) => ErrorKind::Unavailable,
        None => ErrorKind::Corrupt,
    };
    Error::new(kind, format!("{} cannot be read", path.display())).with_source(error)
}
