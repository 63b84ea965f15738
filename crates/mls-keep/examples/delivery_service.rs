//! Two members commit in the same epoch, and the delivery service takes one of the two commits. The loser takes the other
//! one in and stages its change again; a restart in between changes nothing.
//!
//! ```sh
//! cargo run -p mls-keep --example delivery_service
//! ```

use std::error::Error;

use mls_keep::openmls::group::GroupId;
use mls_keep::{
    Change, Client, CommitSummary, Encryption, ErrorKind, MasterKey, MemoryBackend, PersistenceManager, Received,
    SystemEntropy,
};

type Done<T = ()> = Result<T, Box<dyn Error>>;

/// A delivery service for one group: it takes one commit per epoch, and gives every member what it took, in order.
#[derive(Default)]
struct Service {
    commits: Vec<Vec<u8>>,
    welcomes: Vec<Vec<u8>>,
}

impl Service {
    /// Whether `commit` is the one of its epoch. Asked twice about the same commit it gives the same answer.
    fn take(&mut self, epoch: u64, commit: &[u8]) -> bool {
        if self.commits.len() as u64 == epoch {
            self.commits.push(commit.to_vec());
        }
        self.commits.get(epoch as usize).is_some_and(|taken| taken == commit)
    }
}

/// A member, and how many commits of the service it has taken in.
struct Member {
    client: Client,
    group: GroupId,
    seen: usize,
}

impl Member {
    /// Takes in what the service has.
    async fn catch_up(&mut self, service: &Service) -> Done {
        for commit in service.commits.iter().skip(self.seen) {
            match self.client.receive(commit).await {
                Ok(Received::Commit(CommitSummary { drops_staged: true, .. })) => {
                    println!("{}: somebody else was faster, my commit is dropped", self.name());
                }
                // Of an epoch that this member was not in, or is not in any more: taken in, or never to be read.
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::PastEpoch | ErrorKind::Invalid) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.seen = service.commits.len();
        Ok(())
    }

    /// Makes `change` in the group: staged, given to the service, and merged if that has taken it. Else again.
    async fn commit(&mut self, service: &mut Service, change: impl Fn() -> Change) -> Done {
        loop {
            self.catch_up(service).await?;
            let epoch = self.client.group(&self.group).await?.epoch;
            let staged = self.client.stage(&self.group, change()).await?; // durable, and not merged
            if service.take(epoch, &staged.commit) {
                self.settle(service).await?;
                return Ok(());
            }
        }
    }

    /// What a device does when it starts, and after each answer of the service: a staged commit is given to the service
    /// (again, if the answer was lost), and merged if it was taken. Then its Welcome leaves.
    async fn settle(&mut self, service: &mut Service) -> Done {
        for outgoing in self.client.outbox_of_all_groups().await? {
            if let (true, Some(commit)) = (outgoing.is_staged, &outgoing.message) {
                let epoch = self.client.group(&outgoing.group).await?.epoch;
                match service.take(epoch, commit) {
                    true => drop(self.client.confirm(&outgoing.group).await?),
                    false => continue, // it is dropped when the other one is received
                }
            }
            if let Some(welcome) = outgoing.welcome {
                service.welcomes.push(welcome);
            }
            self.client.delivered(&outgoing.group, outgoing.number).await?;
        }
        self.catch_up(service).await
    }

    fn name(&self) -> String {
        String::from_utf8_lossy(self.client.identity()).into_owned()
    }
}

async fn run() -> Done {
    let encryption = Encryption::hkdf_sha256(MasterKey::generate(&SystemEntropy)?);
    let manager = PersistenceManager::builder(MemoryBackend::new()).encryption(encryption).open().await?;
    let client = async |name: &str| manager.client_builder(name).create().await;
    let mut service = Service::default();

    // Alice makes a group and invites Bob.
    let mut alice = client("alice").await?;
    let group = alice.create_group("tea").await?;
    let mut alice = Member { client: alice, group: group.clone(), seen: 0 };
    let mut bob = client("bob").await?;
    let key_package = bob.key_package().await?.to_bytes()?;
    alice.commit(&mut service, || Change::new().invite([key_package.clone()])).await?;
    bob.join(service.welcomes.pop().ok_or("bob's Welcome")?).await?;
    let mut bob = Member { client: bob, group: group.clone(), seen: service.commits.len() };

    // Both commit in the same epoch. Bob's arrives first, and his device restarts before it hears so.
    let mut carol = client("carol").await?;
    let key_package = carol.key_package().await?.to_bytes()?;
    let by_alice = alice.client.stage(&group, Change::new().invite([key_package.clone()])).await?;
    let by_bob = bob.client.stage(&group, Change::new().update()).await?;
    assert!(service.take(1, &by_bob.commit));
    assert!(!service.take(1, &by_alice.commit));
    bob.client = manager.load_client_state("bob").await?;
    bob.settle(&mut service).await?;

    // Alice takes his in, and invites Carol again.
    alice.commit(&mut service, || Change::new().invite([key_package.clone()])).await?;
    bob.catch_up(&service).await?;
    carol.join(service.welcomes.pop().ok_or("carol's Welcome")?).await?;

    let message = alice.client.send(&group, "all here?").await?.to_bytes()?;
    for member in [&mut bob.client, &mut carol] {
        let Received::Message(message) = member.receive(&message).await? else { return Err("no message".into()) };
        let name = String::from_utf8_lossy(member.identity()).into_owned();
        println!(
            "{name} reads {:?} in epoch {}",
            String::from_utf8_lossy(&message.content),
            member.group(&group).await?.epoch
        );
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Done {
    run().await
}
