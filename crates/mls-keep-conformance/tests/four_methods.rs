//! The suite on a backend that has the four methods and nothing else: the provided bodies keep the contract.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use mls_keep_conformance::{Harness, async_trait, conformance_suite, run_all};
use mls_keep_core::{Key, Result, StorageBackend};

#[derive(Clone, Default)]
struct FourMethods(Arc<Mutex<HashMap<Key, Bytes>>>);

impl FourMethods {
    fn values(&self) -> MutexGuard<'_, HashMap<Key, Bytes>> {
        self.0.lock().expect("no test panics while it holds the lock")
    }
}

#[async_trait]
impl StorageBackend for FourMethods {
    async fn load(&self, key: &Key) -> Result<Option<Bytes>> {
        Ok(self.values().get(key).cloned())
    }

    async fn save(&self, key: &Key, data: Bytes) -> Result<()> {
        self.values().insert(key.clone(), data);
        Ok(())
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.values().remove(key);
        Ok(())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Key>> {
        let mut keys: Vec<Key> = self.values().keys().cloned().collect();
        keys.retain(|key| key.as_str().starts_with(prefix));
        keys.sort();
        Ok(keys)
    }
}

struct Store(FourMethods);

#[async_trait]
impl Harness for Store {
    async fn open(&self) -> Result<Arc<dyn StorageBackend>> {
        Ok(Arc::new(self.0.clone()))
    }
}

conformance_suite!(Store(FourMethods::default()));

#[test]
fn what_four_methods_do_not_promise() {
    let not_run = run_all(|| Store(FourMethods::default())).not_run;
    for case in ["commit::conflict_changes_nothing", "concurrency::one_winner_each_round"] {
        assert!(not_run.contains(&case), "the provided commit cannot keep {case}");
    }
}
