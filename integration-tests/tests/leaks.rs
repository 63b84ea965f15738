//! What is secret stands in no file and in no text that is made for people.

#![allow(clippy::panic, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt::{Debug, Display};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use integration_tests::needles::{Needles, runs, shares_a_run};
use integration_tests::store::{MASTER_KEY, contents, encryption, image, load, open};
use integration_tests::wait::block_on;
use mls_keep::openmls::group::GroupId;
use mls_keep::{Change, Client, Encryption, ErrorKind, MasterKey, Persistence, PersistenceManager, Scope};
use mls_keep_conformance::fault::{Fault as StoreFault, FaultBackend, FaultPoint, Faults, Lasting};
use mls_keep_core::{Changes, Key, MemoryBackend, ScopeId, StorageBackend, Value};
use mls_keep_s3::{Credentials, S3Backend};
use mls_keep_sqlite::{Config, SqliteBackend};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::RustCrypto;
use openmls_traits::crypto::OpenMlsCrypto as _;
use openmls_traits::types::SignatureScheme;
use s3_test_server::{BUCKET, Fault, Server};
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

const IDENTITY: &str = "alice@secret-identity.example";
const PEER: &str = "bob@secret-identity.example";
const NAME: &str = "a secret name of a group";
const TEXT: &str = "a secret text of a message";
const ANSWER: &str = "a secret text of an answer";
const RECORD_KEY: &str = "secret-record-key";
const RECORD: &str = "a secret value of a record";

fn signer(needles: &mut Needles) -> SignatureKeyPair {
    let (private, public) = RustCrypto::default().signature_key_gen(SignatureScheme::ED25519).unwrap();
    needles.add("signature private key", &private);
    needles.add("signature public key", &public);
    SignatureKeyPair::from_raw(SignatureScheme::ED25519, private, public)
}

fn needles() -> Needles {
    let mut needles = Needles::new();
    for (name, secret) in [
        ("identity", IDENTITY),
        ("peer's identity", PEER),
        ("group name", NAME),
        ("message", TEXT),
        ("answer", ANSWER),
        ("record key", RECORD_KEY),
        ("record", RECORD),
    ] {
        needles.add(name, secret.as_bytes());
    }
    needles.add("master key", &MASTER_KEY);
    needles
}

/// A whole life of a client. Returns its group, and hands all that is made for people to `tell`.
async fn live(
    manager: &PersistenceManager,
    needles: &mut Needles,
    tell: &mut impl FnMut(&str, String),
) -> (Client, GroupId) {
    let persistence = Persistence { manager: manager.clone(), save: Default::default() };
    let builder = Client::builder(IDENTITY).signer(signer(needles)).persistence(persistence.clone());
    tell("ClientBuilder", format!("{builder:?}"));
    let mut alice = builder.create().await.unwrap();
    let mut bob = Client::builder(PEER).persistence(persistence.clone()).create().await.unwrap();
    let group = alice.create_group(NAME).await.unwrap();
    needles.add("group id", group.as_slice());
    let package = bob.key_package().await.unwrap().to_bytes().unwrap();
    let invitation = alice.commit_at_once(&group, Change::new().invite([package])).await.unwrap();
    let joined = bob.join(invitation.welcome.unwrap()).await.unwrap();
    tell("Joined", format!("{joined:?}"));
    let message = alice.send(&group, TEXT).await.unwrap().to_bytes().unwrap();
    for _ in 0..2 {
        tell("Received::Message", format!("{:?}", bob.receive(&message).await.unwrap()));
    }
    let answer = bob.send(&group, ANSWER).await.unwrap().to_bytes().unwrap();
    alice.receive(&answer).await.unwrap();
    let commit = bob.commit_at_once(&group, Change::new().update()).await.unwrap().commit;
    tell("Received::Commit", format!("{:?}", alice.receive(&commit).await.unwrap()));
    alice.set_outbox(true);
    let put = alice.transact(&group, |tx| {
        tx.records.put(RECORD_KEY, RECORD)?;
        tx.records.put("large", [RECORD.as_bytes(), &[7; 30_000]].concat())?;
        Ok(())
    });
    put.await.unwrap();
    alice.send(&group, TEXT).await.unwrap();
    tell("Outgoing", format!("{:?}", alice.outbox(&group).await.unwrap()));
    let leaving = bob.leave(&group).await.unwrap().to_bytes().unwrap();
    tell("Received::Proposal", format!("{:?}", alice.receive(&leaving).await.unwrap()));
    let scope = Scope::Group(group.clone());
    tell("Scope", format!("{scope:?}"));
    tell("GroupSummary", format!("{:?}", alice.group(&group).await.unwrap()));
    tell("Member", format!("{:?}", alice.members(&group).await.unwrap()));
    tell("Message", format!("{:?}", alice.history(&group, 10).await.unwrap()));
    tell("Value", format!("{:?}", alice.record(&scope, RECORD_KEY).await.unwrap()));
    tell("Client", format!("{alice:?}"));
    tell("ClientStore", format!("{:?}", alice.store().unwrap()));
    tell("Persistence", format!("{persistence:?}"));
    tell("PersistenceManager", format!("{manager:?}"));
    tell("Verification", format!("{:?}", alice.store().unwrap().verify(&mut |_| ()).await.unwrap()));
    (alice, group)
}

#[test]
fn the_files_hold_nothing_that_can_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let manager = open(SqliteBackend::open(directory.path().join("alice.keep"), Config::default()).unwrap()).unwrap();
    let mut needles = needles();
    let (mut alice, group) = block_on(live(&manager, &mut needles, &mut |_, _| ()));
    let secret = block_on(alice.export_secret(&group, "agreement", b"", 32)).unwrap();
    needles.add("exporter secret", &secret);
    let stored = contents(manager.keep(), IDENTITY).unwrap();
    let values = stored.values().map(BTreeMap::len).sum::<usize>();
    assert!(values >= 10, "{values} records are too few to look for");
    // With the log that SQLite keeps beside the file, and then without it.
    let open_files = files(directory.path());
    assert!(open_files.keys().any(|name| name.ends_with("-wal")), "{:?}", open_files.keys());
    drop(alice);
    block_on(manager.close()).unwrap();
    for (name, bytes) in open_files.iter().chain(&files(directory.path())) {
        assert_eq!(needles.in_bytes(bytes), [""; 0], "in {name}");
        let runs = runs(bytes);
        for (scope, records) in &stored {
            for (key, value) in records {
                assert!(!shares_a_run(value, &runs), "a part of record {key:02x?} of {scope:?} stands in {name}");
            }
        }
    }
}

#[test]
fn the_search_finds_what_is_there() {
    let needles = needles();
    let secret = TEXT.as_bytes();
    let base64 = |before: &[u8]| data_encoding::BASE64.encode(&[before, secret, b"more"].concat());
    let hex = data_encoding::HEXUPPER.encode(secret);
    let list = format!("{secret:?}");
    let forms = [TEXT.to_owned(), base64(b""), base64(b"a"), base64(b"ab"), base64(b"abc"), hex, list];
    for form in forms {
        let text = format!("before {form} behind");
        assert!(needles.in_bytes(text.as_bytes()).iter().any(|name| name.starts_with("message ")), "{text}");
    }
    assert!(shares_a_run(b"0123456789abcdefghij", &runs(b"xx456789abcdefghijxx")));
    assert!(!shares_a_run(&[0; 100], &runs(&[0; 100])));
}

#[test]
fn texts_for_people_hold_no_secret() {
    let mut needles = needles();
    let mut told = Vec::new();
    let store = MemoryBackend::new();
    let manager = open(store.clone()).unwrap();
    let mut tell = |what: &str, text: String| told.push((what.to_owned(), text));
    let (mut alice, group) = block_on(live(&manager, &mut needles, &mut tell));
    let scope = ScopeId::group(group.as_slice()).unwrap();
    tell("ScopeId", format!("{scope:?}"));
    let mut changes = Changes::new();
    let changed = changes.scope(scope, None);
    changed.put(RECORD_KEY.as_bytes(), Value::from(RECORD.as_bytes().to_vec()), None).unwrap();
    tell("Changes", format!("{changes:?}"));
    tell("MasterKey", format!("{:?}", MasterKey::new(MASTER_KEY)));
    tell("Encryption", format!("{:?} {:?}", encryption(), Encryption::passphrase(RECORD).salt(TEXT)));
    tell("PersistenceManagerBuilder", {
        format!("{:?}", PersistenceManager::builder(MemoryBackend::new()).encryption(encryption()))
    });
    for (what, error) in errors(&mut alice, &group, &store) {
        tell(what, error);
    }
    let leaks: Vec<_> = told
        .iter()
        .flat_map(|(what, text)| {
            needles.in_bytes(text.as_bytes()).into_iter().map(move |name| format!("{what}: {name}"))
        })
        .collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
    println!("{} texts", told.len());
    assert!(told.len() >= 30, "too few");
}

#[derive(Clone, Default)]
struct Recorded(Arc<Mutex<Vec<u8>>>);

impl io::Write for Recorded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Every event and span of every level, as the usual subscriber prints them.
fn record_events() -> Recorded {
    let recorded = Recorded::default();
    let writer = recorded.clone();
    let targets = tracing_subscriber::filter::Targets::new().with_target("mls_keep", tracing::Level::TRACE);
    let printed = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_span_events(FmtSpan::FULL)
        .with_writer(move || writer.clone());
    tracing_subscriber::registry().with(targets).with(printed).init();
    recorded
}

#[test]
fn events_say_what_happens_and_hold_no_secret() {
    let recorded = record_events();
    let mut needles = needles();
    needles.add("access key", b"TESTKEYID");
    needles.add("secret access key", b"TESTSECRET");
    let ignore = &mut |_: &str, _: String| ();

    // A store that is slow to serve.
    let server = Server::start();
    let config = mls_keep_s3::Config {
        endpoint: Some(server.endpoint()),
        region: Some("us-east-1".to_owned()),
        credentials: Some(Credentials {
            access_key_id: "TESTKEYID".to_owned(),
            secret_access_key: "TESTSECRET".to_owned(),
            session_token: None,
        }),
        ..Default::default()
    };
    let bucket = block_on(S3Backend::open(BUCKET, "", config)).unwrap();
    server.fail(5, Fault::Status(503), false);
    drop(block_on(live(&open(bucket).unwrap(), &mut needles, ignore)));
    assert!(server.heal(), "no request was repeated");

    // Two writers, a reply that is lost, and a store that goes back.
    let (store, faults) = (MemoryBackend::new(), Faults::new());
    let manager = open(FaultBackend::new(store.clone(), faults.clone())).unwrap();
    let (mut alice, _) = block_on(live(&manager, &mut needles, ignore));
    let (mut again, before) = (load(&manager, IDENTITY).unwrap(), image(&store));
    block_on(async {
        let first = alice.create_group(NAME).await.unwrap();
        again.create_group(NAME).await.unwrap();
        alice.send(&first, TEXT).await.unwrap();
        for at in 1.. {
            faults.arm(FaultPoint { at, fault: StoreFault::AfterApplying, lasting: Lasting::Once });
            drop(alice.send(&first, TEXT).await);
            if faults.disarm() == 0 {
                break;
            }
        }
        alice.receive(TEXT).await.unwrap_err();
        for (key, data) in before {
            store.save(&key, data).await.unwrap();
        }
        assert_eq!(alice.send(&first, TEXT).await.unwrap_err().kind(), ErrorKind::RolledBack);
    });

    let recorded = String::from_utf8(recorded.0.lock().unwrap().clone()).unwrap();
    for said in [
        "send{scope=",
        "receive{scope=",
        "join_with",
        "stage",
        "commit{client=",
        "write{nodes=",
        "time.idle=",
        "committed number=",
        "a request is repeated",
        "another writer was faster",
        "does not say whether it took a commit",
        "the commit in doubt was applied",
        "the store has gone back",
        "loaded nodes=",
    ] {
        assert!(recorded.contains(said), "no event says {said:?}");
    }
    println!("{} lines", recorded.lines().count());
    assert_eq!(needles.in_bytes(recorded.as_bytes()), [""; 0]);
}

/// The errors that a client meets, with all that they say.
fn errors(alice: &mut Client, group: &GroupId, store: &MemoryBackend) -> Vec<(&'static str, String)> {
    let mut errors = Vec::new();
    let mut add = |what, error: mls_keep::Error| {
        let mut text = all_of(&error);
        let mut source = error.source();
        while let Some(error) = source {
            text.push_str(&all_of(&error));
            source = error.source();
        }
        errors.push((what, text));
    };
    block_on(async {
        add("a proposal waits", alice.send(group, TEXT).await.unwrap_err());
        add("no message", alice.receive(TEXT).await.unwrap_err());
        add("no Welcome", alice.join(TEXT).await.unwrap_err());
        add("no key package", alice.commit_at_once(group, Change::new().invite([TEXT])).await.unwrap_err());
        add(
            "no member",
            alice.commit_at_once(group, Change::new().remove(PEER.replace("bob", "nobody"))).await.unwrap_err(),
        );
        let mut own = alice.commit_at_once(group, Change::new().update()).await.unwrap().commit;
        add("one's own", alice.receive(&own).await.unwrap_err());
        *own.last_mut().unwrap() ^= 1;
        add("damaged", alice.receive(&own).await.unwrap_err());
        add("unknown group", alice.group(&GroupId::from_slice(IDENTITY.as_bytes())).await.unwrap_err());
        let aborted = alice.transact(group, |_| Err::<(), _>("the closure's own words".into()));
        add("aborted", aborted.await.unwrap_err());
        let long = IDENTITY.repeat(100);
        add("identity", Client::builder(long.as_str()).create().await.unwrap_err());
        add("group name", alice.create_group(&long).await.unwrap_err());
        add("record key", alice.record(&Scope::Client, &long).await.unwrap_err());
    });
    let wrong = Encryption::hkdf_sha256(MasterKey::new([9; 32]));
    let opened = block_on(PersistenceManager::builder(store.clone()).encryption(wrong).open());
    add("wrong key", opened.unwrap_err());
    let manager = open(store.clone()).unwrap();
    add("no client", load(&manager, "nobody@secret-identity.example").unwrap_err());
    let persistence = Persistence { manager: manager.clone(), save: Default::default() };
    add("client exists", block_on(Client::builder(IDENTITY).persistence(persistence).create()).unwrap_err());
    let nodes = block_on(store.list("n/")).unwrap();
    for key in nodes {
        block_on(store.save(&key, vec![7; 500].into())).unwrap();
    }
    let error = load(&manager, IDENTITY).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    add("corrupt", error);
    block_on(store.delete(&Key::new("header").unwrap())).unwrap();
    add("no header", open(store.clone()).unwrap_err());
    errors
}

fn all_of(error: &(impl Debug + Display + ?Sized)) -> String {
    format!("{error} {error:?} {error:#?}\n")
}

fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())).collect()
}
