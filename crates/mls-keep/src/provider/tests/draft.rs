//! The virtual clients draft: material that keeps an emulation epoch alive.

use openmls::components::vc_derivation_info::{
    VC_COMPONENT_ID, assemble_vc_key_package_upload, process_vc_key_package_upload,
};
use openmls::prelude::tls_codec::Serialize as _;
use openmls_traits::storage::StorageProvider;

use super::lists::{Thing, reload, thing};
use super::*;

/// What the leaf of a virtual client has to declare.
pub(super) fn capabilities() -> Capabilities {
    Capabilities::builder().extensions(vec![ExtensionType::AppDataDictionary]).build()
}

pub(super) fn leaf_extensions() -> Extensions<LeafNode> {
    const APP_COMPONENTS: u16 = 1;
    let mut dictionary = AppDataDictionary::new();
    dictionary.insert(APP_COMPONENTS, vec![VC_COMPONENT_ID].tls_serialize_detached().unwrap());
    Extensions::single(Extension::AppDataDictionary(AppDataDictionaryExtension::new(dictionary))).unwrap()
}

#[test]
fn a_sibling_joins_as_the_virtual_client() {
    const EMULATION: &[u8] = b"emulation group";
    const HIGHER: &[u8] = b"higher-level group";
    let [mut one, mut two, mut bob] = ["emulator 1", "emulator 2", "bob"].map(Device::new);
    let client = Device::new("the virtual client");

    one.create_group(EMULATION);
    let package = two.key_package();
    let (_, welcome) = one.stage(EMULATION, |commit| commit.propose_adds([package]));
    one.merge(EMULATION);
    two.join(welcome.unwrap());
    let register = |device: &mut Device| {
        device.on_group(EMULATION, |_, group, provider| {
            group.register_vc_emulation_epoch(provider.crypto(), provider.storage()).unwrap()
        })
    };
    let epoch = register(&mut one);
    assert_eq!(epoch, register(&mut two));
    assert_eq!(epoch, register(&mut two), "the registration is remembered");

    let (package, upload) = one.step(&[], |_, provider| {
        let mut batch = KeyPackage::builder()
            .leaf_node_capabilities(capabilities())
            .leaf_node_extensions(leaf_extensions())
            .build_vc_batch(CIPHERSUITE, provider, &client.signer, client.credential.clone(), epoch.clone(), 1)
            .unwrap();
        let (bundle, info) = batch.key_packages.remove(0);
        let upload = assemble_vc_key_package_upload(provider.storage(), epoch.clone(), batch.generation, vec![info]);
        (bundle.key_package().clone(), upload.unwrap())
    });
    two.step(&[], |_, provider| process_vc_key_package_upload(provider, &upload).unwrap());
    let retained = |device: &mut Device| {
        device.step(&[], |_, provider| provider.storage().has_retained_key_package_material_for_epoch(&epoch).unwrap())
    };
    assert!(retained(&mut two) && !retained(&mut one));

    bob.create_group(HIGHER);
    let (_, welcome) = bob.stage(HIGHER, |commit| commit.propose_adds([package]));
    bob.merge(HIGHER);
    two.join(welcome.unwrap());
    assert!(!retained(&mut two), "the material is used up");

    two.signer = client.signer;
    let hello = bob.send(HIGHER, b"hello");
    assert_eq!(two.receive(HIGHER, &hello).unwrap(), b"hello");
    let back = two.send(HIGHER, b"back");
    assert_eq!(bob.receive(HIGHER, &back).unwrap(), b"back");

    for group in [EMULATION, HIGHER] {
        two.on_group(group, |_, group, provider| group.delete(provider.storage()).unwrap());
    }
    assert!(two.groups.is_empty());
    two.step(&[], |_, provider| provider.storage().delete_vc_emulation_state_if_unreferenced(&epoch).unwrap());
    assert!(two.client.is_empty());
}

#[test]
fn an_epoch_lives_as_long_as_material_of_it_is_retained() {
    let (mut client, mut groups) = Default::default();
    let storage = empty_storage(&[]);
    let (epoch, other) = (thing("epoch"), thing("epoch 2"));
    for epoch in [&epoch, &other] {
        storage.write_vc_emulation_epoch_state(epoch, &thing("state")).unwrap();
    }
    let materials = [(thing("ref 1"), thing("material 1")), (thing("ref 2"), thing("material 2"))];
    storage.write_retained_key_package_material_batch(&epoch, &thing("tree"), &materials).unwrap();
    storage.write_key_package(&thing("ref 2"), &thing("package")).unwrap();

    let storage = reload(storage, &mut client, &mut groups);
    assert_eq!(storage.vc_operation_tree::<_, Thing>(&epoch).unwrap(), Some(thing("tree")));
    assert_eq!(storage.retained_key_package_material::<_, Thing>(&thing("ref 2")).unwrap(), Some(thing("material 2")));
    assert!(storage.has_retained_key_package_material_for_epoch(&epoch).unwrap());
    assert!(!storage.has_retained_key_package_material_for_epoch(&other).unwrap());
    assert!(storage.delete_vc_emulation_state_if_unreferenced(&other).unwrap());
    assert_eq!(storage.vc_emulation_epoch_state::<_, Thing>(&other).unwrap(), None);

    storage.delete_retained_key_package_material(&thing("ref 1")).unwrap();
    assert!(!storage.delete_vc_emulation_state_if_unreferenced(&epoch).unwrap());
    storage.delete_key_package(&thing("ref 2")).unwrap();
    let storage = reload(storage, &mut client, &mut groups);
    assert_eq!(storage.retained_key_package_material::<_, Thing>(&thing("ref 2")).unwrap(), None);
    assert!(storage.delete_vc_emulation_state_if_unreferenced(&epoch).unwrap());
    assert!(storage.delete_vc_emulation_state_if_unreferenced(&epoch).unwrap());
    reload(storage, &mut client, &mut groups);
    assert!(client.is_empty());
}

#[test]
fn the_drafts_records_of_a_group_go_with_it() {
    let (mut client, mut groups) = Default::default();
    let (storage, id) = (empty_storage(&[]), GroupId::from_slice(b"g"));
    storage.write_group_state(&id, &thing("state")).unwrap();
    storage.write_application_export_tree(&id, &thing("tree")).unwrap();
    storage.write_vc_emulation_bindings(&id, &thing("bindings")).unwrap();
    storage.write_registered_vc_emulation_epoch(&id, &thing("epoch")).unwrap();
    let storage = reload(storage, &mut client, &mut groups);
    assert_eq!(kinds(&groups[b"g".as_slice()]), [0x11, 0x1e, 0x1f, 0x20]);
    assert_eq!(storage.vc_emulation_bindings::<_, Thing>(&id).unwrap(), Some(thing("bindings")));
    assert_eq!(storage.registered_vc_emulation_epoch::<_, Thing>(&id).unwrap(), Some(thing("epoch")));
    assert_eq!(storage.application_export_tree::<_, Thing>(&id).unwrap(), Some(thing("tree")));
    storage.delete_group_state(&id).unwrap();
    reload(storage, &mut client, &mut groups);
    assert!(groups[b"g".as_slice()].is_empty());
}
