//! Signature keys that stand elsewhere than in the store: in an enclave, a TPM, an HSM.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_executor::block_on;
use mls_keep::openmls::credentials::BasicCredential;
use mls_keep::openmls::prelude::SignatureScheme;
use mls_keep::{
    Archive, BackupOptions, Change, Client, ClientSigner, Encryption, Error, ErrorKind, ExportOptions, JoinOptions,
    MasterKey, MemoryBackend, Persistence, PersistenceManager, RestoreOptions, Result, SavePolicy, Scope,
    SignatureKeyPair, Signer, SignerError, StorageBackend,
};
use mls_keep_core::{Capabilities, Commit, Key};

use super::{bytes, client, gather, hear, keep, keep_on, load, talk};

/// What an application has of an enclave: a handle that signs.
struct Enclave {
    key: SignatureKeyPair,
    signatures: AtomicUsize,
    is_locked: AtomicBool,
}

impl Enclave {
    fn new() -> Arc<Self> {
        let key = SignatureKeyPair::new(SignatureScheme::ED25519).unwrap();
        Arc::new(Self { key, signatures: AtomicUsize::new(0), is_locked: AtomicBool::new(false) })
    }

    fn public_key(&self) -> Vec<u8> {
        self.key.to_public_vec()
    }

    fn signer(self: &Arc<Self>) -> ClientSigner {
        ClientSigner::external(self.public_key(), Arc::<Self>::clone(self))
    }

    fn signatures(&self) -> usize {
        self.signatures.load(Ordering::Relaxed)
    }
}

impl Signer for Enclave {
    fn sign(&self, payload: &[u8]) -> std::result::Result<Vec<u8>, SignerError> {
        self.signatures.fetch_add(1, Ordering::Relaxed);
        match self.is_locked.load(Ordering::Relaxed) {
            true => Err(SignerError::SigningError),
            false => self.key.sign(payload),
        }
    }

    fn signature_scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

/// A store that is out of reach from the first commit on, whatever became of that.
struct Lost {
    inner: MemoryBackend,
    is_lost: AtomicBool,
}

impl Lost {
    fn reach(&self) -> Result<&MemoryBackend> {
        match self.is_lost.load(Ordering::Relaxed) {
            true => Err(Error::new(ErrorKind::Unavailable, "out of reach")),
            false => Ok(&self.inner),
        }
    }
}

#[async_trait::async_trait]
impl StorageBackend for Lost {
    async fn load(&self, key: &Key) -> Result<Option<bytes::Bytes>> {
        self.reach()?.load(key).await
    }

    async fn save(&self, key: &Key, data: bytes::Bytes) -> Result<()> {
        self.reach()?.save(key, data).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.reach()?.delete(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Key>> {
        self.reach()?.list(prefix).await
    }

    async fn commit(&self, _: Commit) -> Result<()> {
        self.is_lost.store(true, Ordering::Relaxed);
        Err(Error::new(ErrorKind::OutcomeUnknown, "no reply"))
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}

fn client_of(manager: &PersistenceManager, name: &str, enclave: &Arc<Enclave>, save: SavePolicy) -> Client {
    let persistence = Persistence { manager: manager.clone(), save };
    block_on(Client::builder(name).signer(enclave.signer()).persistence(persistence).create()).unwrap()
}

/// Everything signs with the enclave, and nothing else can.
#[test]
fn a_client_signs_with_a_key_that_is_not_in_the_store() {
    let (manager, enclave) = (keep(), Enclave::new());
    let mut alice = client_of(&manager, "alice", &enclave, SavePolicy::EveryOperation);
    let mut bob = client(&manager, "bob", SavePolicy::EveryOperation);
    assert_eq!(alice.credential().signature_key.as_slice(), enclave.public_key());
    let group = block_on(alice.create_group("tea")).unwrap();
    gather(&mut alice, &group, &mut [&mut bob]);
    talk(&group, &mut [&mut alice, &mut bob]);
    let before = enclave.signatures();
    let commit = block_on(alice.commit_at_once(&group, Change::new().update())).unwrap().commit;
    assert!(enclave.signatures() > before);
    block_on(bob.receive(commit)).unwrap();
    let of_bob = block_on(bob.create_group("cake")).unwrap();
    gather(&mut bob, &of_bob, &mut [&mut alice]);
    talk(&of_bob, &mut [&mut alice, &mut bob]);
}

#[test]
fn a_loaded_client_signs_once_the_signer_is_given_again() {
    let (manager, enclave) = (keep(), Enclave::new());
    let mut alice = client_of(&manager, "alice", &enclave, SavePolicy::EveryOperation);
    let mut bob = client(&manager, "bob", SavePolicy::EveryOperation);
    let group = block_on(alice.create_group("tea")).unwrap();
    gather(&mut alice, &group, &mut [&mut bob]);
    let invitation = bytes(&block_on(alice.key_package()).unwrap());
    drop(alice);

    let mut alice = load(&manager, "alice");
    assert_eq!(alice.missing_signers().unwrap(), [enclave.public_key()]);
    let mut carol = client(&manager, "carol", SavePolicy::EveryOperation);
    let key_package = bytes(&block_on(carol.key_package()).unwrap());
    let refused = [
        block_on(alice.send(&group, "x")).map(drop),
        block_on(alice.stage(&group, Change::new().update())).map(drop),
        block_on(alice.commit_at_once(&group, Change::new().invite([&key_package]))).map(drop),
        block_on(alice.leave(&group)).map(drop),
        block_on(alice.key_package()).map(drop),
        block_on(alice.create_group("cake")).map(drop),
        block_on(alice.group_info(&group, true)).map(drop),
    ];
    for (call, refused) in refused.into_iter().enumerate() {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSigner, "call {call}: {error:?}");
    }
    let entry = block_on(bob.create_group("scones")).unwrap();
    let info = block_on(bob.group_info(&entry, true)).unwrap();
    let refused = block_on(alice.stage_entry(info, JoinOptions::new()));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::NoSigner);

    // What needs no signature works: reading, receiving, joining, the application's records.
    let message = block_on(bob.send(&group, "hello")).unwrap();
    assert_eq!(hear(&mut alice, &message), "hello");
    let commit = block_on(bob.commit_at_once(&group, Change::new().update())).unwrap().commit;
    block_on(alice.receive(commit)).unwrap();
    assert_eq!(block_on(alice.members(&group)).unwrap().len(), 2);
    let of_bob = block_on(bob.create_group("biscuits")).unwrap();
    let welcome = block_on(bob.commit_at_once(&of_bob, Change::new().invite([invitation]))).unwrap().welcome;
    block_on(alice.join(welcome.unwrap())).unwrap();
    block_on(alice.transact(&group, |tx| Ok(tx.records.put("read", "yes")?))).unwrap();
    assert!(block_on(alice.record(&Scope::Group(group.clone()), "read")).unwrap().is_some());

    alice.use_signer(enclave.signer()).unwrap();
    assert!(alice.missing_signers().unwrap().is_empty());
    for group in [&group, &of_bob] {
        talk(group, &mut [&mut alice, &mut bob]);
    }
}

/// Neither a wrong public key nor another enclave than the client's is found out by others first.
#[test]
fn a_signer_that_does_not_have_the_key_is_refused() {
    let (manager, enclave, other) = (keep(), Enclave::new(), Enclave::new());
    let swapped = || ClientSigner::external(other.public_key(), Arc::clone(&enclave) as _);
    let persistence = || Persistence { manager: manager.clone(), save: SavePolicy::EveryOperation };
    let refused = block_on(Client::builder("alice").signer(swapped()).persistence(persistence()).create());
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
    let mut alice = client_of(&manager, "alice", &enclave, SavePolicy::EveryOperation);
    let credential = || BasicCredential::new(b"alice".to_vec()).into();
    let refused = block_on(alice.set_credential(credential(), swapped()));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
    other.is_locked.store(true, Ordering::Relaxed);
    let refused = block_on(alice.set_credential(credential(), other.signer()));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Aborted);

    let mut alice = load(&manager, "alice");
    assert_eq!(alice.use_signer(other.signer()).unwrap_err().kind(), ErrorKind::NotFound);
    let wrong = ClientSigner::external(
        enclave.public_key(),
        Arc::new(SignatureKeyPair::new(SignatureScheme::ED25519).unwrap()),
    );
    assert_eq!(alice.use_signer(wrong).unwrap_err().kind(), ErrorKind::Invalid);
    alice.use_signer(enclave.signer()).unwrap();
    block_on(alice.create_group("tea")).unwrap();
}

/// An enclave that is locked, or whose user declines.
#[test]
fn a_signer_that_fails_leaves_no_trace() {
    let (manager, enclave) = (keep(), Enclave::new());
    let mut alice = client_of(&manager, "alice", &enclave, SavePolicy::EveryOperation);
    let mut bob = client(&manager, "bob", SavePolicy::EveryOperation);
    let group = block_on(alice.create_group("tea")).unwrap();
    gather(&mut alice, &group, &mut [&mut bob]);
    enclave.is_locked.store(true, Ordering::Relaxed);
    assert_eq!(block_on(alice.send(&group, "x")).unwrap_err().kind(), ErrorKind::Aborted);
    assert_eq!(block_on(alice.stage(&group, Change::new().update())).unwrap_err().kind(), ErrorKind::Aborted);
    enclave.is_locked.store(false, Ordering::Relaxed);
    talk(&group, &mut [&mut alice, &mut bob]);
}

/// From a key in the store to an enclave, from there to another enclave, and back; in one group after the other.
#[test]
fn keys_are_rotated_into_an_enclave_and_out_of_it() {
    let manager = keep();
    let [mut alice, mut bob] = ["alice", "bob"].map(|name| client(&manager, name, SavePolicy::EveryOperation));
    let groups = ["tea", "coffee"].map(|name| {
        let group = block_on(alice.create_group(name)).unwrap();
        gather(&mut alice, &group, &mut [&mut bob]);
        group
    });
    let [first, second] = [Enclave::new(), Enclave::new()];
    let pair = SignatureKeyPair::new(SignatureScheme::ED25519).unwrap();
    let steps =
        [(first.signer(), vec![&first]), (second.signer(), vec![&first, &second]), (pair.into(), vec![&second])];
    for (signer, given) in steps {
        let key = signer.public_key().to_vec();
        let credential = BasicCredential::new(b"alice".to_vec()).into();
        block_on(alice.set_credential(credential, signer)).unwrap();
        for rotated in &groups {
            let commit = block_on(alice.commit_at_once(rotated, Change::new().credential())).unwrap().commit;
            block_on(bob.receive(commit)).unwrap();
            assert_eq!(block_on(bob.members(rotated)).unwrap()[0].signature_key, key);
            // Between the two, this key signs in one group, and the one before in the other.
            for group in &groups {
                talk(group, &mut [&mut alice, &mut bob]);
            }
            alice = load(&manager, "alice");
            for enclave in &given {
                alice.use_signer(enclave.signer()).unwrap();
            }
        }
    }
    // The last one is stored, and needs nobody.
    let mut alice = load(&manager, "alice");
    for group in &groups {
        talk(group, &mut [&mut alice, &mut bob]);
    }
}

/// In another process, which has another handle of the same enclave.
#[test]
fn another_process_needs_the_signer_that_this_one_rotated_to() {
    let (manager, enclave) = (keep(), Enclave::new());
    let mut alice = client(&manager, "alice", SavePolicy::EveryOperation);
    let group = block_on(alice.create_group("tea")).unwrap();
    let mut elsewhere = load(&manager, "alice");
    block_on(alice.set_credential(BasicCredential::new(b"alice".to_vec()).into(), enclave.signer())).unwrap();
    block_on(alice.commit_at_once(&group, Change::new().credential())).unwrap();
    assert_eq!(block_on(elsewhere.create_group("cake")).unwrap_err().kind(), ErrorKind::NoSigner);
    assert_eq!(block_on(elsewhere.send(&group, "x")).unwrap_err().kind(), ErrorKind::NoSigner);
    elsewhere.use_signer(enclave.signer()).unwrap();
    block_on(elsewhere.create_group("cake")).unwrap();
    block_on(elsewhere.send(&group, "x")).unwrap();
}

/// Neither a backup nor an archive of a move has it, and a restored client signs nothing before its groups are entered anew, with the
/// signer or without.
#[test]
fn archives_carry_no_signature_key_and_the_signer_is_given_again() {
    let (manager, enclave) = (keep(), Enclave::new());
    let mut alice = client_of(&manager, "alice", &enclave, SavePolicy::EveryOperation);
    let mut bob = client(&manager, "bob", SavePolicy::EveryOperation);
    let group = block_on(alice.create_group("tea")).unwrap();
    gather(&mut alice, &group, &mut [&mut bob]);
    let key = || Encryption::hkdf_sha256(MasterKey::new([9; 32]));
    let open = |file: Vec<u8>| block_on(Archive::open(std::io::Cursor::new(file), &key(), &mut |_| ())).unwrap();

    for options in [BackupOptions::new(key()), BackupOptions::new(key()).without_group_secrets()] {
        let mut backup = Vec::new();
        block_on(manager.create_backup(&alice, &mut backup, options)).unwrap();
        let elsewhere = keep_on(MemoryBackend::new());
        let mut restored = block_on(elsewhere.restore_from_backup(&mut [open(backup)], RestoreOptions::new())).unwrap();
        assert_eq!(block_on(restored.send(&group, "x")).unwrap_err().kind(), ErrorKind::NeedsRejoin);
        assert_eq!(block_on(restored.create_group("cake")).unwrap_err().kind(), ErrorKind::NoSigner);
        restored.use_signer(enclave.signer()).unwrap();
        assert_eq!(block_on(restored.send(&group, "x")).unwrap_err().kind(), ErrorKind::NeedsRejoin);
        block_on(restored.create_group("cake")).unwrap();
    }

    let mut own = Vec::new();
    let options = ExportOptions::new(key()).without_groups();
    block_on(alice.export_state(&mut own, options)).unwrap();
    let mut another = block_on(Client::import_state(&keep_on(MemoryBackend::new()), open(own))).unwrap();
    another.use_signer(enclave.signer()).unwrap();
    block_on(another.key_package()).unwrap();

    let mut moved = Vec::new();
    block_on(alice.export_state(&mut moved, ExportOptions::new(key()))).unwrap();
    let there = keep_on(MemoryBackend::new());
    let mut alice = block_on(Client::import_state(&there, open(moved))).unwrap();
    assert_eq!(block_on(alice.send(&group, "x")).unwrap_err().kind(), ErrorKind::NoSigner);
    alice.use_signer(enclave.signer()).unwrap();
    talk(&group, &mut [&mut alice, &mut bob]);
}

/// Messages that a restart skips go to nobody, and the enclave is not asked to sign them.
#[test]
fn what_is_skipped_is_not_signed() {
    let (manager, enclave) = (keep(), Enclave::new());
    let save = SavePolicy::Interval { every: std::time::Duration::from_secs(3600), reserve: 100 };
    let mut alice = client_of(&manager, "alice", &enclave, save);
    let mut bob = client(&manager, "bob", SavePolicy::EveryOperation);
    let group = block_on(alice.create_group("tea")).unwrap();
    gather(&mut alice, &group, &mut [&mut bob]);
    block_on(alice.send(&group, "reserves")).unwrap();
    block_on(alice.send(&group, "is lost with the process")).unwrap();
    drop(alice);
    let mut alice = load(&manager, "alice");
    let refused = block_on(alice.send(&group, "without the signer"));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::NoSigner);
    alice.use_signer(enclave.signer()).unwrap();
    let before = enclave.signatures();
    let message = block_on(alice.send(&group, "again")).unwrap();
    assert_eq!(enclave.signatures(), before + 1);
    assert_eq!(hear(&mut bob, &message), "again");
}

/// Two devices of one identity share a key, and are two clients: the second one is refused, and takes over nothing of the
/// first.
#[test]
fn a_client_of_the_same_key_is_not_taken_for_this_one() {
    let (store, enclave) = (MemoryBackend::new(), Enclave::new());
    let manager = keep_on(store.clone());
    let lost = Lost { inner: store, is_lost: AtomicBool::new(false) };
    let encryption = Encryption::hkdf_sha256(MasterKey::new([7; 32]));
    let out_of_reach = block_on(PersistenceManager::builder(lost).encryption(encryption).open()).unwrap();
    let mut late = block_on(Client::builder("alice").signer(enclave.signer()).create()).unwrap();
    assert_eq!(block_on(out_of_reach.save_client_state(&mut late)).unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    drop(client_of(&manager, "alice", &enclave, SavePolicy::EveryOperation));
    assert_eq!(block_on(manager.save_client_state(&mut late)).unwrap_err().kind(), ErrorKind::Conflict);
}

/// An enclave whose key was replaced after the client has tried it, a broken one, and one whose driver panics.
#[test]
fn what_a_signer_does_wrong_reaches_nobody_and_changes_nothing() {
    struct Broken {
        key: SignatureKeyPair,
        other: SignatureKeyPair,
        what: AtomicUsize,
    }
    impl Signer for Broken {
        fn sign(&self, payload: &[u8]) -> std::result::Result<Vec<u8>, SignerError> {
            match self.what.load(Ordering::Relaxed) {
                0 => self.key.sign(payload),
                1 => self.other.sign(payload),
                2 => Ok(Vec::new()),
                3 => Ok(vec![0; 1 << 20]),
                4 => self.key.sign(b"something else"),
                _ => panic!("the driver of the enclave"),
            }
        }

        fn signature_scheme(&self) -> SignatureScheme {
            SignatureScheme::ED25519
        }
    }
    let new = || SignatureKeyPair::new(SignatureScheme::ED25519).unwrap();
    for save in
        [SavePolicy::EveryOperation, SavePolicy::Interval { every: std::time::Duration::from_secs(3600), reserve: 50 }]
    {
        let broken = Arc::new(Broken { key: new(), other: new(), what: AtomicUsize::new(0) });
        let manager = keep();
        let signer = ClientSigner::external(broken.key.to_public_vec(), Arc::clone(&broken) as _);
        let persistence = Persistence { manager: manager.clone(), save };
        let mut alice = block_on(Client::builder("alice").signer(signer).persistence(persistence).create()).unwrap();
        let mut bob = client(&manager, "bob", SavePolicy::EveryOperation);
        let group = block_on(alice.create_group("tea")).unwrap();
        gather(&mut alice, &group, &mut [&mut bob]);
        talk(&group, &mut [&mut alice, &mut bob]);
        for what in 1..=5 {
            broken.what.store(what, Ordering::Relaxed);
            for call in 0..4 {
                let f = std::panic::AssertUnwindSafe(|| match call {
                    0 => block_on(alice.send(&group, "x")).map(drop),
                    1 => block_on(alice.stage(&group, Change::new().update())).map(drop),
                    2 => block_on(alice.key_package()).map(drop),
                    _ => block_on(alice.create_group("cake")).map(drop),
                });
                match std::panic::catch_unwind(f) {
                    Ok(done) => assert_eq!(done.unwrap_err().kind(), ErrorKind::Aborted, "{what} {call}"),
                    Err(_) => assert_eq!(what, 5),
                }
            }
            assert_eq!(block_on(alice.pending(&group)).unwrap(), None);
            broken.what.store(0, Ordering::Relaxed);
            talk(&group, &mut [&mut alice, &mut bob]);
        }
        assert_eq!(block_on(alice.groups()).unwrap().len(), 1);
        assert_eq!(block_on(alice.unused_key_packages()).unwrap(), []);
        let staged = block_on(alice.stage(&group, Change::new().update())).unwrap();
        block_on(bob.receive(&staged.commit)).unwrap();
        block_on(alice.confirm(&group)).unwrap();
        talk(&group, &mut [&mut alice, &mut bob]);
    }
}

#[test]
fn what_nothing_signs_with_any_more_is_forgotten() {
    let (manager, old, new, newest) = (keep(), Enclave::new(), Enclave::new(), Enclave::new());
    let mut alice = client_of(&manager, "alice", &old, SavePolicy::EveryOperation);
    let mut bob = client(&manager, "bob", SavePolicy::EveryOperation);
    let groups = ["tea", "cake"].map(|name| block_on(alice.create_group(name)).unwrap());
    for group in &groups {
        gather(&mut alice, group, &mut [&mut bob]);
    }
    let package = bytes(&block_on(alice.key_package()).unwrap());
    let none: [Vec<u8>; 0] = [];
    assert_eq!(block_on(alice.prune_signers()).unwrap(), none, "the client's own stays");
    let credential = || BasicCredential::new(b"alice".to_vec()).into();
    block_on(alice.set_credential(credential(), new.signer())).unwrap();
    for group in &groups {
        assert_eq!(block_on(alice.prune_signers()).unwrap(), none, "a group still signs with it");
        let staged = block_on(alice.stage(group, Change::new().credential())).unwrap();
        block_on(bob.receive(staged.commit)).unwrap();
        if group == &groups[1] {
            assert_eq!(block_on(alice.prune_signers()).unwrap(), none, "something is staged");
        }
        block_on(alice.confirm(group)).unwrap();
    }
    assert_eq!(block_on(alice.prune_signers()).unwrap(), none, "somebody may invite with the key package");
    let of_bob = block_on(bob.create_group("scones")).unwrap();
    let welcome = block_on(bob.commit_at_once(&of_bob, Change::new().invite([package]))).unwrap().welcome;
    block_on(alice.join(welcome.unwrap())).unwrap();
    let mut alice = load(&manager, "alice");
    for enclave in [&old, &new] {
        alice.use_signer(enclave.signer()).unwrap();
    }
    assert_eq!(block_on(alice.prune_signers()).unwrap(), none, "the group that was joined with it signs with it");
    talk(&of_bob, &mut [&mut alice, &mut bob]);

    // What is staged with a key outlives the next rotation.
    let staged = block_on(alice.stage(&of_bob, Change::new().credential())).unwrap();
    block_on(alice.set_credential(credential(), newest.signer())).unwrap();
    assert_eq!(block_on(alice.prune_signers()).unwrap(), none);
    block_on(bob.receive(staged.commit)).unwrap();
    block_on(alice.confirm(&of_bob)).unwrap();
    assert_eq!(block_on(alice.prune_signers()).unwrap(), [old.public_key()]);
    assert_eq!(block_on(alice.prune_signers()).unwrap(), none);
    let mut alice = load(&manager, "alice");
    assert_eq!(alice.missing_signers().unwrap().len(), 2);
    assert_eq!(alice.use_signer(old.signer()).unwrap_err().kind(), ErrorKind::NotFound);
    for enclave in [&new, &newest] {
        alice.use_signer(enclave.signer()).unwrap();
    }
    for group in groups.iter().chain([&of_bob]) {
        talk(group, &mut [&mut alice, &mut bob]);
    }

    // An entry that waits stands in no list of groups.
    let scones = block_on(bob.create_group("biscuits")).unwrap();
    let info = block_on(bob.group_info(&scones, true)).unwrap();
    block_on(alice.stage_entry(info, JoinOptions::new())).unwrap();
    for group in groups.iter().chain([&of_bob]) {
        block_on(alice.forget_group(group)).unwrap();
    }
    assert_eq!(block_on(alice.prune_signers()).unwrap(), none);
    block_on(alice.reject(&scones)).unwrap();
    assert_eq!(block_on(alice.prune_signers()).unwrap(), [new.public_key()]);
}
