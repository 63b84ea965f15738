//! An opened keep, and the client that a command is about.

use mls_keep::openmls::group::GroupId;
use mls_keep::{Client, Encryption, ErrorKind, PersistenceManager};

use crate::cli::Global;
use crate::failure::{Failure, Result};
use crate::groups::Groups;
use crate::key;
use crate::output::{Output, note};
use crate::printed::{self, escape};
use crate::store::{Access, Store, forms};
use crate::typed::{self, Purpose};

/// A client with its keep.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) output: Output,
    manager: PersistenceManager,
}

impl Session {
    /// Opens the keep and loads the client that `global` names.
    pub(crate) async fn open(global: &Global) -> Result<Self> {
        let manager = open_keep(global, Access::Existing).await?;
        let mut client = load_client(&manager, global).await?;
        // What is to be sent is kept until its file is written.
        client.set_outbox(true);
        Ok(Self { client, output: global.output(), manager })
    }

    /// Ends the session in order.
    pub(crate) async fn close(self) {
        drop(self.client);
        close(&self.manager).await;
    }

    /// All groups of the client.
    pub(crate) async fn groups(&mut self) -> Result<Groups> {
        Ok(Groups::new(self.client.groups().await?))
    }

    /// The group that is meant by its name or id.
    pub(crate) async fn group(&mut self, typed: &str) -> Result<(Groups, GroupId)> {
        let groups = self.groups().await?;
        match groups.find(typed) {
            Ok(group) => Ok((groups, group)),
            // One that it is about to enter is not in the list.
            Err(failure) => match printed::unhex(typed).map(|id| GroupId::from_slice(&id)) {
                Some(id) if self.client.pending(&id).await.is_ok_and(|staged| staged.is_some()) => Ok((groups, id)),
                _ => Err(failure),
            },
        }
    }
}

/// The store that `global` names, and its URL.
pub(crate) fn store(global: &Global) -> Result<(&str, Store)> {
    let url = global.store.as_deref().ok_or_else(|| {
        Failure::usage("no store is named", format!("Say --store URL, or set MLS_KEEP_STORE. Known: {}", forms()))
    })?;
    Ok((url, Store::parse(url)?))
}

/// Opens the keep that `global` names. With [`Access::Create`] it is made if there is none.
pub(crate) async fn open_keep(global: &Global, access: Access) -> Result<PersistenceManager> {
    let (url, store) = store(global)?;
    let encryption = encryption(global, &store, access).await?;
    let missing = |failure: Failure| match access {
        Access::Existing => failure.advise(ErrorKind::NotFound, "`mls-keep init NAME` makes a keep with a client."),
        Access::Create => failure.advise(ErrorKind::NotFound, "Make the directory first."),
    };
    let backend = store.open(access).await.map_err(|error| missing(error.into()))?;
    let builder = PersistenceManager::builder_shared(backend).encryption(encryption);
    let opened = match access {
        Access::Existing => builder.open_existing().await,
        Access::Create => builder.open().await,
    };
    opened.map_err(|error| missing(Failure::from(error).about(url)))
}

/// What was named, or is typed now.
async fn encryption(global: &Global, store: &Store, access: Access) -> Result<Encryption> {
    const INSTEAD: &str = "--key FILE or --passphrase-file FILE";
    match (&global.key, &global.passphrase_file, global.passphrase) {
        (Some(path), None, false) => key::from_key_file(path),
        (None, Some(path), false) => key::from_passphrase_file(path),
        (None, None, asked) if typed::can_ask() => {
            let purpose = match access {
                Access::Create if is_empty(store).await? => Purpose::Create,
                _ => Purpose::Open,
            };
            if !asked {
                note(&format!("no key is named, so that a passphrase opens the keep; else say {INSTEAD}"));
            }
            let words = typed::passphrase("keep", purpose, INSTEAD)?;
            Ok(Encryption::passphrase(words.as_bytes()))
        }
        (None, None, true) => Err(Failure::usage(
            "a passphrase is typed at a terminal, and there is none",
            "Say --passphrase-file FILE: its first line is the passphrase.",
        )),
        (None, None, false) => Err(Failure::usage(
            "no key is named",
            "Say --key FILE or --passphrase-file FILE, or set MLS_KEEP_KEY; `mls-keep keygen FILE` makes a key.",
        )),
        _ => Err(Failure::usage("both a key and a passphrase are named", "Name the one that opens the keep.")),
    }
}

/// Whether nothing is in the store, so that a keep is to be made. It is not kept open while somebody types.
async fn is_empty(store: &Store) -> Result<bool> {
    let backend = match store.open(Access::Existing).await {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        opened => opened?,
    };
    let first = backend.list_page("", None, 1).await;
    backend.close().await?;
    Ok(first?.is_empty())
}

/// Closes a keep. Everything is durable before that, so that a failure is worth a note only.
pub(crate) async fn close(manager: &PersistenceManager) {
    match manager.close().await {
        Ok(()) => {}
        // Somebody else uses the store, and will tidy up.
        Err(error) if error.kind() == ErrorKind::Busy => {}
        Err(error) => note(&format!("everything is durable, but the store could not tidy up ({})", error.kind())),
    }
}

/// The clients that a command is about: the one that is named, or all of them.
pub(crate) async fn identities(manager: &PersistenceManager, global: &Global) -> Result<Vec<Vec<u8>>> {
    let all = manager.clients().await?;
    match &global.identity {
        Some(typed) => find_identity(&all, typed).map(|identity| vec![identity]),
        None => Ok(all),
    }
}

/// The client that a command is about, which need not be one that can be loaded.
pub(crate) async fn identity(manager: &PersistenceManager, global: &Global) -> Result<Vec<u8>> {
    let all = manager.clients().await?;
    match &global.identity {
        Some(typed) => find_identity(&all, typed),
        None => only_identity(all),
    }
}

async fn load_client(manager: &PersistenceManager, global: &Global) -> Result<Client> {
    let identity = match &global.identity {
        Some(typed) => match manager.load_client_state(typed).await {
            // It may have been typed as it is printed.
            Err(error) if error.kind() == ErrorKind::NotFound => find_identity(&manager.clients().await?, typed)?,
            loaded => return Ok(loaded?),
        },
        None => match manager.load_only_client().await {
            // None, or several: which, the failure says.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Invalid) => {
                only_identity(manager.clients().await?)?
            }
            loaded => return Ok(loaded?),
        },
    };
    Ok(manager.load_client_state(&identity).await?)
}

pub(crate) fn find_identity(all: &[Vec<u8>], typed: &str) -> Result<Vec<u8>> {
    all.iter().find(|identity| printed::is_meant(identity, typed)).cloned().ok_or_else(|| {
        let advice = match all {
            [] => "It has none: `mls-keep init NAME` makes one.".to_owned(),
            _ => format!("It has: {}", listed(all)),
        };
        Failure::new(ErrorKind::NotFound, format!("the keep has no client `{typed}`"), advice)
    })
}

fn only_identity(mut all: Vec<Vec<u8>>) -> Result<Vec<u8>> {
    match (all.pop(), all.as_slice()) {
        (Some(only), []) => Ok(only),
        (None, _) => {
            let advice = "`mls-keep init NAME` makes a client.";
            Err(Failure::new(ErrorKind::NotFound, "the keep has no client", advice))
        }
        (Some(last), _) => {
            all.push(last);
            let advice = format!("Say --identity NAME, or set MLS_KEEP_IDENTITY: {}", listed(&all));
            Err(Failure::usage("the keep has several clients and none is named", advice))
        }
    }
}

fn listed(identities: &[Vec<u8>]) -> String {
    identities.iter().map(|identity| escape(identity)).collect::<Vec<_>>().join(", ")
}
