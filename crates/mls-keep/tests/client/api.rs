//! What holds of every public call and type.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use mls_keep::openmls::credentials::Credential;
use mls_keep::openmls::group::GroupId;
use mls_keep::{
    Archive, BackupOptions, Change, Client, ClientBuilder, ClientSigner, CryptoProvider, ExportOptions, GroupSettings,
    JoinOptions, KeyPackageOptions, NewGroup, PersistenceManager, PersistenceManagerBuilder, RestoreOptions, Retention,
    SavePolicy, Scope, Session,
};

/// Both by glob, as many begin: the names of what programs use mean one thing. (`Error` is in both: `tls_codec` has one.)
mod beside_the_prelude_of_openmls {
    use futures_executor::block_on;
    use mls_keep::openmls::prelude::*;
    use mls_keep::*;

    #[test]
    fn both_can_be_imported_whole() {
        let encryption = Encryption::hkdf_sha256(MasterKey::new([7; 32]));
        let opened = PersistenceManager::builder(MemoryBackend::new()).encryption(encryption).open();
        let manager: PersistenceManager = block_on(opened).unwrap();
        let builder: ClientBuilder = manager.client_builder("alice").settings(GroupSettings::new());
        let mut alice: Client = block_on(builder.create()).unwrap();
        let group: GroupId = block_on(alice.create_group_with("tea", NewGroup::new())).unwrap();
        let own: OwnCommit = block_on(alice.stage(&group, Change::new().update())).unwrap();
        let confirmed: CommitSummary = block_on(alice.confirm(&group)).unwrap();
        assert!(matches!(confirmed.sender, Committer::Own));
        let echo: Received = block_on(alice.receive(&own.commit)).unwrap();
        assert!(matches!(echo, Received::AlreadyReceived(None)), "{echo:?}");
        let members: Vec<GroupMember> = block_on(alice.members(&group)).unwrap();
        let message: MlsMessageOut = block_on(alice.send(&group, "hello")).unwrap();
        let history: Vec<Message> = block_on(alice.history(&group, 1)).unwrap();
        let outbox: Vec<Outgoing> = block_on(alice.outbox_of_all_groups()).unwrap();
        let summary: GroupSummary = block_on(alice.group(&group)).unwrap();
        assert_eq!((members.len(), history.len(), outbox.len(), summary.epoch), (1, 1, 0, 1));
        let sent = ProtocolMessage::try_from(MlsMessageIn::from(message)).unwrap();
        assert_eq!(sent.content_type(), ContentType::Application);
        let key_package: KeyPackageIn = match MlsMessageIn::from(block_on(alice.key_package()).unwrap()).extract() {
            MlsMessageBodyIn::KeyPackage(key_package) => key_package,
            other => panic!("{other:?}"),
        };
        drop(key_package);
        let joined: Result<Joined> = block_on(alice.join_with(b"no Welcome", JoinOptions::new()));
        assert_eq!(joined.unwrap_err().kind(), ErrorKind::Invalid);
        let scope: Scope = Scope::Group(group.clone());
        let session: Session<'_, _> = block_on(alice.begin(&[group])).unwrap();
        let mut writer: RecordWriter<'_> = session.records(scope);
        writer.put("key", "value").unwrap();
    }
}

fn is_send(_: impl Send) {}

/// A value of any type, for what is compiled and never run.
fn any<T>() -> T {
    unreachable!("this is compiled, and never run")
}

/// A multi-threaded runtime can drive every call, whatever the cryptographic library is. It holds if it compiles.
#[allow(dead_code, reason = "it holds if it compiles")]
fn every_future_is_send<C: CryptoProvider>(client: &mut Client<C>, manager: &PersistenceManager, crypto: &Arc<C>) {
    let (group, scope) = (&GroupId::from_slice(b"tea"), &Scope::Client);
    let mut out = Vec::new();
    is_send(any::<PersistenceManagerBuilder>().open());
    is_send(any::<PersistenceManagerBuilder>().open_existing());
    is_send(manager.save_client_state(client));
    is_send(manager.load_client_state("alice"));
    is_send(manager.load_client_state_saving("alice", SavePolicy::Manual));
    is_send(manager.load_only_client());
    is_send(manager.load_client_state_with("alice", Arc::clone(crypto)));
    is_send(manager.save_group_state(client, group));
    is_send(manager.load_group_state(client, group));
    is_send(manager.clients());
    is_send(manager.delete_client("alice"));
    is_send(manager.close());
    is_send(manager.resume(any()));
    is_send(manager.create_backup(client, &mut out, any::<BackupOptions<'_>>()));
    is_send(manager.create_backup_of("alice", &mut out, any::<BackupOptions<'_>>()));
    is_send(manager.restore_from_backup(&mut [any::<Archive>()], RestoreOptions::new()));
    is_send(manager.restore_from_backup_with(&mut [any::<Archive>()], RestoreOptions::new(), Arc::clone(crypto)));
    is_send(manager.export_again("alice", &mut out, any::<ExportOptions<'_>>()));
    is_send(manager.reclaim("alice"));
    is_send(Client::import_state(manager, any::<Archive>()));
    is_send(Client::import_state_with(manager, any::<Archive>(), Arc::clone(crypto)));
    is_send(client.export_state(&mut out, any::<ExportOptions<'_>>()));
    is_send(any::<ClientBuilder<C>>().create());
    is_send(client.send(group, "hello"));
    is_send(client.send_with(group, "hello", b"", |_, _| Ok(())));
    is_send(client.group_info(group, true));
    is_send(client.ratchet_tree(group));
    is_send(client.stage_entry(b"", JoinOptions::new()));
    is_send(client.history(group, 1));
    is_send(client.history_before(group, 1, 1));
    is_send(client.history_after(group, 1, 1));
    is_send(client.delete_message(group, 1));
    is_send(client.set_retention(group, Retention::all()));
    is_send(client.retention(group));
    is_send(client.prune_history(group));
    is_send(client.save_if_due());
    is_send(client.close());
    is_send(client.suspend());
    is_send(client.resume(any()));
    is_send(client.stage(group, Change::new()));
    is_send(client.commit_at_once(group, Change::new()));
    is_send(client.confirm(group));
    is_send(client.reject(group));
    is_send(client.pending(group));
    is_send(client.join(b""));
    is_send(client.join_with(b"", JoinOptions::new()));
    is_send(client.leave(group));
    is_send(client.receive(b""));
    is_send(client.receive_with(b"", |_, _| Ok(())));
    is_send(client.receive_many(&[b""]));
    is_send(client.receive_held(group));
    is_send(client.receive_held_with(group, |_, _| Ok(())));
    is_send(client.outbox_of_all_groups());
    is_send(client.outbox(group));
    is_send(client.delivered(group, 1));
    is_send(client.set_credential(any::<Credential>(), any::<ClientSigner>()));
    is_send(client.prune_signers());
    is_send(client.key_package());
    is_send(client.key_packages(1, KeyPackageOptions::new()));
    is_send(client.unused_key_packages());
    is_send(client.prune_key_packages(std::time::SystemTime::UNIX_EPOCH));
    is_send(client.delete_key_package(b""));
    is_send(client.record(scope, "key"));
    is_send(client.records(scope, "key", 1));
    is_send(client.save());
    is_send(client.gc());
    is_send(client.create_group("tea"));
    is_send(client.create_group_with("tea", NewGroup::new()));
    is_send(client.set_group_settings(group, &GroupSettings::new()));
    is_send(client.set_settings(GroupSettings::new()));
    is_send(client.forget_group(group));
    is_send(client.groups());
    is_send(client.groups_to_rejoin());
    is_send(client.rejoin_plan());
    is_send(client.group(group));
    is_send(client.with_group(group, |_| ()));
    is_send(client.members(group));
    is_send(client.export_secret(group, "label", b"", 32));
    is_send(client.refresh());
    is_send(client.changed_elsewhere());
    is_send(client.transact(group, |_| Ok(())));
    is_send(client.transact_groups(&[], |_| Ok(())));
    is_send(client.begin(&[]));
    let reader = manager.reader("alice");
    is_send(reader.groups());
    is_send(reader.history(group, 1));
    is_send(reader.history_before(group, 1, 1));
    is_send(reader.history_after(group, 1, 1));
    is_send(reader.record(scope, "key"));
    is_send(reader.records(scope, "key", 1));
    is_send(any::<Session<'_, C>>().record(scope, "key"));
    is_send(any::<Session<'_, C>>().commit());
    #[cfg(feature = "import")]
    is_send(client.import(&Default::default()));
    #[cfg(feature = "import")]
    is_send(client.import_skipping(&Default::default(), 1));
}

/// Of all files of the crate.
fn sources(at: &Path) -> Vec<String> {
    let mut sources = Vec::new();
    for entry in std::fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => sources.extend(sources_without_tests(&path)),
            false => sources.push(std::fs::read_to_string(&path).unwrap()),
        }
    }
    sources
}

fn sources_without_tests(at: &Path) -> Vec<String> {
    if at.ends_with("tests") { Vec::new() } else { sources(at) }
}

fn all_sources() -> Vec<String> {
    sources(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")))
}

/// So that a new call comes into the list above.
#[test]
fn the_list_of_futures_is_complete() {
    let listed = include_str!("api.rs");
    let mut missing = BTreeSet::new();
    let mut found = 0;
    for source in all_sources() {
        for call in source.split("pub async fn ").skip(1) {
            let name: String = call.chars().take_while(|char| char.is_alphanumeric() || *char == '_').collect();
            found += 1;
            if !listed.contains(&format!(".{name}(")) && !listed.contains(&format!("::{name}(")) {
                missing.insert(name);
            }
        }
    }
    assert!(found > 70, "{found} calls");
    assert_eq!(missing, BTreeSet::new());
}

/// Structs that get fields later break nobody, except for those that a program writes down as a whole.
#[test]
fn public_structs_with_public_fields_can_grow() {
    const WRITTEN_DOWN: &[&str] = &["Persistence", "StoredState", "StoredGroup"];
    let mut exhaustive = BTreeSet::new();
    for source in all_sources() {
        for (before, after) in
            source.match_indices("\npub struct ").map(|(at, found)| source.split_at(at + found.len()))
        {
            let name: String = after.chars().take_while(|char| char.is_alphanumeric()).collect();
            let body = after.split("\n}").next().unwrap_or_default();
            let attributes = before.rsplit("\n\n").next().unwrap_or_default();
            if body.contains("\n    pub ") && !attributes.contains("#[non_exhaustive]") {
                exhaustive.insert(name);
            }
        }
    }
    assert_eq!(exhaustive, WRITTEN_DOWN.iter().map(ToString::to_string).collect());
}
