//! A client on a small disk, for `tests/full_disk.rs`, which runs it where it may mount one: `disk-child ADAPTER DIR BYTES`.
//!
//! It fills the disk with MLS operations, opens the store while there is no room, makes room and goes on; and then it takes
//! away the permission to write. It ends with a text if anything is other than it must be.

// The test shows its panic.
#![allow(clippy::panic, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

use integration_tests::adapter::Adapter;
use integration_tests::store::open_shared;
use integration_tests::wait::block_on;
use mls_keep::openmls::group::GroupId;
use mls_keep::{Client, ErrorKind, Persistence, PersistenceManager, Result, SavePolicy};

/// More than any of the small disks can take.
const MOST: usize = 20_000;

struct Disk {
    adapter: Adapter,
    mount: PathBuf,
}

/// A client in a group.
struct Alice {
    manager: PersistenceManager,
    client: Client,
    group: GroupId,
}

impl Disk {
    fn remount(&self, option: &str) {
        let status = Command::new("mount").args(["-o", &format!("remount,{option}")]).arg(&self.mount).status();
        assert!(status.unwrap().success(), "remounting with {option}");
    }

    fn store(&self) -> Result<PersistenceManager> {
        open_shared(self.adapter.open(&self.adapter.path(&self.mount, "keep"))?)
    }

    fn make(&self) -> Result<Alice> {
        let manager = self.store()?;
        let persistence = Persistence { manager: manager.clone(), save: SavePolicy::EveryOperation };
        let mut client = match block_on(manager.load_client_state("alice")) {
            Ok(client) => client,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                block_on(Client::builder("alice").persistence(persistence).create())?
            }
            Err(error) => return Err(error),
        };
        let group = match block_on(client.groups())?.into_iter().next() {
            Some((group, _)) => group,
            None => block_on(client.create_group("tea"))?,
        };
        Ok(Alice { manager, client, group })
    }
}

impl Alice {
    fn send(&mut self, number: usize) -> Result<()> {
        // Long enough to fill a disk, and no two alike.
        let text = format!("{number:06} {}", "what was acknowledged is there. ".repeat(40));
        block_on(self.client.send(&self.group, text)).map(drop)
    }

    /// The numbers of all messages that are kept.
    fn numbers(&mut self) -> Vec<usize> {
        let history = block_on(self.client.history(&self.group, usize::MAX)).unwrap();
        let text = |content: &[u8]| String::from_utf8(content.to_vec()).unwrap();
        history.iter().map(|message| text(&message.content).get(..6).unwrap().parse().unwrap()).collect()
    }

    fn is_sound(&self) -> bool {
        block_on(self.client.store().unwrap().verify(&mut |_| ())).unwrap().is_sound()
    }

    /// Whether the store could tidy up is not asked: the disk may be full.
    fn close(self) {
        let Self { manager, client, .. } = self;
        drop(client);
        let _ = block_on(manager.close());
    }
}

/// Errors that a full disk may be told by: nothing was applied, or it is not known, or an earlier failure ended the handle.
fn is_told(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NoSpace | ErrorKind::OutcomeUnknown | ErrorKind::Poisoned)
}

fn main() {
    let [_, adapter, mount, bytes] = std::env::args().collect::<Vec<_>>().try_into().unwrap();
    let disk = Disk { adapter: adapter.parse().unwrap(), mount: Path::new(&mount).to_owned() };
    let acknowledged = fill(&disk);
    disk.remount("size=64m");
    let mut alice = disk.make().expect("with room there is a store, or one can be made");
    let mut kept = alice.numbers();
    if let Some(last) = kept.pop_if(|last| *last == acknowledged) {
        println!("the message that failed, {last}, was applied");
    }
    assert!(kept.iter().copied().eq(0..acknowledged), "{acknowledged} were acknowledged, {} are kept", kept.len());
    alice.send(acknowledged + 1).expect("with room it goes on");
    assert!(alice.is_sound(), "the keep verifies");
    alice.close();
    read_only(&disk);
    println!("{adapter}, {bytes} bytes: {acknowledged} messages");
}

/// Sends until the disk is full. How many were acknowledged.
fn fill(disk: &Disk) -> usize {
    let mut alice = match disk.make() {
        Ok(alice) => alice,
        Err(error) => {
            assert!(is_told(error.kind()), "making a store on a full disk: {error:?}");
            return 0;
        }
    };
    for number in 0..MOST {
        if let Err(error) = alice.send(number) {
            assert!(is_told(error.kind()), "sending on a full disk: {error:?}");
            alice.close();
            opens_or_tells(disk, number);
            return number;
        }
    }
    panic!("the disk is not full after {MOST} messages");
}

/// While the disk is full, the store opens with everything, or says that there is no room.
fn opens_or_tells(disk: &Disk, acknowledged: usize) {
    match disk.make() {
        Ok(mut alice) => {
            let kept = alice.numbers().len();
            assert!(kept == acknowledged || kept == acknowledged + 1, "{kept} of {acknowledged} while it is full");
            alice.close();
        }
        Err(error) => assert!(is_told(error.kind()), "opening on a full disk: {error:?}"),
    }
}

/// A store that may not be written says so, and has everything afterwards.
fn read_only(disk: &Disk) {
    let before = {
        let mut alice = disk.make().unwrap();
        let numbers = alice.numbers();
        alice.close();
        numbers
    };
    disk.remount("ro");
    match disk.make() {
        Ok(mut alice) => {
            assert_eq!(alice.numbers(), before, "what can be read on a read-only disk");
            let error = alice.send(MOST).expect_err("a read-only disk takes nothing");
            assert_eq!(error.kind(), ErrorKind::ReadOnly, "sending on a read-only disk: {error:?}");
            alice.close();
        }
        Err(error) => assert_eq!(error.kind(), ErrorKind::ReadOnly, "opening on a read-only disk: {error:?}"),
    }
    disk.remount("rw");
    let mut alice = disk.make().expect("it opens again");
    assert_eq!(alice.numbers(), before);
    alice.send(MOST).expect("it can be written again");
    alice.close();
}
