//! Outcomes that are in doubt, answer by answer, and older states that are put back meanwhile.

use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use async_trait::async_trait;
use bytes::Bytes;
use futures_executor::block_on;
use mls_keep_core::{
    Capabilities, Changes, ClientStore, Commit, ErrorKind, Key, MemoryBackend, Result, StorageBackend,
};

use crate::common::{dump, keep_in};
use crate::rough::{scope, unavailable, unknown};

/// Answers as it is told: each commit takes one of `answers`.
#[derive(Clone)]
struct Answers {
    inner: MemoryBackend,
    answers: Arc<Mutex<Vec<Answer>>>,
    late: Arc<Mutex<Vec<Commit>>>,
}

#[derive(Clone, Copy)]
enum Answer {
    Late,
    Refused,
}

impl Answers {
    fn new() -> Self {
        Self { inner: MemoryBackend::new(), answers: Arc::default(), late: Arc::default() }
    }

    /// The first of them is for the next commit, the last one for all after it.
    fn set(&self, answers: &[Answer]) {
        *self.answers.lock().unwrap() = answers.iter().rev().copied().collect();
    }

    async fn land_all(&self) {
        let late = std::mem::take(&mut *self.late.lock().unwrap());
        for commit in late {
            drop(self.inner.commit(commit).await);
        }
    }
}

#[async_trait]
impl StorageBackend for Answers {
    async fn load(&self, key: &Key) -> Result<Option<Bytes>> {
        self.inner.load(key).await
    }

    async fn save(&self, key: &Key, data: Bytes) -> Result<()> {
        self.inner.save(key, data).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.inner.delete(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Key>> {
        self.inner.list(prefix).await
    }

    async fn commit(&self, commit: Commit) -> Result<()> {
        let answer = {
            let mut answers = self.answers.lock().unwrap();
            if answers.len() > 1 { answers.pop() } else { answers.last().copied() }
        };
        match answer {
            None => self.inner.commit(commit).await,
            Some(Answer::Refused) => Err(unavailable()),
            Some(Answer::Late) => {
                self.late.lock().unwrap().push(commit);
                Err(unknown())
            }
        }
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}

async fn put(client: &mut ClientStore, key: &str) -> Result<()> {
    let base = client.scope_version(&scope(1)).await?;
    let mut changes = Changes::new();
    changes.scope(scope(1), base).put(key.as_bytes(), b"v".to_vec().into(), None)?;
    client.commit(&changes).await.map(drop)
}

#[test]
fn a_deletion_that_may_come_late_is_not_called_refused() {
    block_on(async {
        let backend = Answers::new();
        let keep = keep_in(backend.clone(), 1).await;
        keep.create_client(b"alice").await.unwrap();
        backend.set(&[Answer::Late, Answer::Refused]);
        let refused = keep.delete_client(b"alice").await.unwrap_err();
        backend.set(&[]);
        backend.land_all().await;
        let gone = keep.open_client(b"alice").await.is_err();
        assert_eq!(refused.kind(), ErrorKind::OutcomeUnknown, "deleted after all: {gone}");
    });
}

#[test]
fn a_first_commit_that_was_called_refused_does_not_come_after_a_deletion() {
    block_on(async {
        let backend = Answers::new();
        let keep = keep_in(backend.clone(), 1).await;
        let mut client = keep.new_client(b"alice").await.unwrap();
        backend.set(&[Answer::Late]);
        let mut commit = Box::pin(put(&mut client, "first"));
        assert!(commit.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
        drop(commit);
        backend.set(&[]);
        // The one in doubt is fenced off, and then it is made again.
        put(&mut client, "second").await.unwrap();
        client.delete().await.unwrap();
        backend.land_all().await;
        assert_eq!(keep.open_client(b"alice").await.map(drop).unwrap_err().kind(), ErrorKind::NotFound);
    });
}

/// Replaces all that there is.
async fn put_back(backend: &MemoryBackend, image: &[(Key, Bytes)]) {
    for key in backend.list("").await.unwrap() {
        backend.delete(&key).await.unwrap();
    }
    for (key, value) in image {
        backend.save(key, value.clone()).await.unwrap();
    }
}

/// A root remembers 17 others. Somebody puts an older state back and goes on from it, while a commit is in doubt.
#[test]
fn an_older_state_is_recognised_while_a_commit_is_in_doubt() {
    for (older, others) in (1..6).flat_map(|older| (0..40).map(move |others| (older, others))) {
        for lands in [true, false] {
            block_on(async {
                let backend = Answers::new();
                let keep = keep_in(backend.clone(), 1).await;
                let mut client = keep.create_client(b"alice").await.unwrap();
                let mut images = vec![dump(&backend.inner).await];
                for number in 0..6 {
                    put(&mut client, &number.to_string()).await.unwrap();
                    images.push(dump(&backend.inner).await);
                }
                let seen = client.number();
                backend.set(&[Answer::Late]);
                let doubt = put(&mut client, "doubt").await.unwrap_err();
                assert_eq!(doubt.kind(), ErrorKind::OutcomeUnknown);
                backend.set(&[]);
                if lands {
                    backend.land_all().await;
                }
                put_back(&backend.inner, &images[images.len() - 1 - older]).await;
                let other = keep_in(backend.inner.clone(), 2).await;
                let mut other = other.open_client(b"alice").await.unwrap();
                for number in 0..others {
                    put(&mut other, &format!("other {number}")).await.unwrap();
                }
                let before = dump(&backend.inner).await;
                let distance = other.number().saturating_sub(seen);
                let case = format!("{older} older, {others} others, landed {lands}");
                let refused = put(&mut client, "again").await;
                if distance <= 17 {
                    assert_eq!(refused.unwrap_err().kind(), ErrorKind::RolledBack, "{case}");
                    backend.land_all().await;
                    assert_eq!(dump(&backend.inner).await, before, "{case}: nothing is written");
                } else {
                    // The scope is another one than the change was made from, whatever a root remembers.
                    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Conflict, "{case}");
                }
            });
        }
    }
}

#[test]
fn verify_looks_at_the_newest_root() {
    block_on(async {
        let backend = MemoryBackend::new();
        let keep = keep_in(backend.clone(), 1).await;
        let mut client = keep.create_client(b"alice").await.unwrap();
        put(&mut client, "k").await.unwrap();
        let [root]: [Key; 1] = backend.list("r/").await.unwrap().try_into().unwrap();
        let whole = backend.load(&root).await.unwrap().unwrap();
        let mut damaged = whole.to_vec();
        *damaged.last_mut().unwrap() ^= 1;
        backend.save(&root, damaged.into()).await.unwrap();
        assert_eq!(client.verify(&mut |_| ()).await.map(drop).unwrap_err().kind(), ErrorKind::Corrupt);
        backend.delete(&root).await.unwrap();
        assert_eq!(client.verify(&mut |_| ()).await.map(drop).unwrap_err().kind(), ErrorKind::NotFound);
        backend.save(&root, whole).await.unwrap();
        assert!(client.verify(&mut |_| ()).await.unwrap().is_sound());
    });
}
