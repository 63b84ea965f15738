use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;

use futures_channel::oneshot;
use futures_executor::block_on;

use super::queue::{Request, run};
use super::*;
use crate::capabilities::Durability;
use crate::error::ErrorKind;

#[derive(Default)]
struct Map(BTreeMap<Key, Bytes>);

/// A map that has a setting, as a server has.
fn with_flushes(setting: &'static str) -> Map {
    Map(BTreeMap::from([(Key::new("setting/flush").unwrap(), setting.into())]))
}

impl Engine for Map {
    fn load_many(&mut self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        Ok(keys.iter().map(|key| self.0.get(key).cloned()).collect())
    }

    fn list(&mut self, _: &str, _: Option<&Key>, _: usize) -> Result<Vec<Key>> {
        Ok(self.0.keys().cloned().collect())
    }

    fn apply(&mut self, batches: &[WriteBatch]) -> Vec<Result<()>> {
        for batch in batches {
            self.0.extend(batch.stored().map(|(key, data)| (key.clone(), data.clone())));
        }
        batches.iter().map(|_| Ok(())).collect()
    }

    fn capabilities(&self) -> Capabilities {
        let flushes = self.0.values().any(|value| value.as_ref() == b"on");
        let durability = if flushes { Durability::PowerLoss } else { Durability::None };
        Capabilities::weakest().with_durability(durability)
    }

    fn close(self) -> Result<()> {
        Ok(())
    }
}

#[test]
fn what_is_promised_is_what_the_engine_found_when_it_was_opened() {
    for (setting, durability) in [("on", Durability::PowerLoss), ("off", Durability::None)] {
        let thread = EngineThread::start("map", move || Ok(with_flushes(setting))).unwrap();
        let forget = WriteBatch::put(Key::new("setting/flush").unwrap(), Bytes::new());
        block_on(thread.apply_one(forget)).unwrap();
        assert_eq!(thread.capabilities().durability, durability, "and it stays so");
    }
}

#[test]
fn a_read_behind_a_write_sees_it_and_a_read_before_it_does_not() {
    let key = Key::new("k").unwrap();
    let (queue, requests) = mpsc::channel();
    let load = || {
        let (reply, answer) = oneshot::channel();
        queue.send(Request::Load { keys: vec![key.clone()], reply }).unwrap();
        answer
    };
    let before = load();
    let (reply, write) = oneshot::channel();
    queue
        .send(Request::Write { batches: vec![WriteBatch::put(key.clone(), Bytes::from_static(b"v"))], reply })
        .unwrap();
    drop(write);
    let after = load();
    let (reply, close) = oneshot::channel();
    queue.send(Request::Close { reply }).unwrap();

    run(Map::default(), &requests, &AtomicBool::new(false));
    assert_eq!(block_on(before).unwrap().unwrap(), [None]);
    assert_eq!(block_on(after).unwrap().unwrap(), [Some(Bytes::from_static(b"v"))]);
    block_on(close).unwrap().unwrap();
}

/// Panics at each call, after it has done its work.
struct Panics;

impl Engine for Panics {
    fn load_many(&mut self, _: &[Key]) -> Result<Vec<Option<Bytes>>> {
        std::panic::resume_unwind(Box::new("planned"))
    }

    fn list(&mut self, _: &str, _: Option<&Key>, _: usize) -> Result<Vec<Key>> {
        std::panic::resume_unwind(Box::new("planned"))
    }

    fn apply(&mut self, _: &[WriteBatch]) -> Vec<Result<()>> {
        std::panic::resume_unwind(Box::new("planned"))
    }

    fn close(self) -> Result<()> {
        Ok(())
    }
}

#[test]
fn a_panic_in_a_write_is_an_unknown_outcome_for_each_change_and_in_a_read_it_is_poisoned() {
    let key = || Key::new("k").unwrap();
    let start = || EngineThread::start("panics", || Ok(Panics)).unwrap();
    let results = block_on(start().apply(vec![WriteBatch::delete(key()), WriteBatch::put(key(), Bytes::new())]));
    let kinds: Vec<_> = results.into_iter().map(|result| result.unwrap_err().kind()).collect();
    assert_eq!(kinds, [ErrorKind::OutcomeUnknown; 2]);
    assert_eq!(block_on(start().load_many(&[key()])).unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(block_on(start().list("", None, 1)).unwrap_err().kind(), ErrorKind::Poisoned);
}

#[test]
fn a_thread_that_panics_is_an_unknown_outcome_and_then_poisoned() {
    let thread = EngineThread::start("map", || Ok(Map::default())).unwrap();
    let killed = block_on(thread.call(|_| std::panic::resume_unwind(Box::new("planned"))));
    assert_eq!(killed.unwrap_err().kind(), ErrorKind::Poisoned);
    let delete = || WriteBatch::delete(Key::new("k").unwrap());
    // What reaches the thread while it ends is not known to have been lost.
    let meanwhile = block_on(thread.apply_one(delete())).unwrap_err().kind();
    assert!(matches!(meanwhile, ErrorKind::OutcomeUnknown | ErrorKind::Poisoned), "{meanwhile}");
    assert_eq!(block_on(thread.close()).unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    assert_eq!(block_on(thread.apply_one(delete())).unwrap_err().kind(), ErrorKind::Poisoned);
}

/// Forgets the result of the last batch.
struct Miscounts(Map);

impl Engine for Miscounts {
    fn load_many(&mut self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        self.0.load_many(keys)
    }

    fn list(&mut self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
        self.0.list(prefix, after, limit)
    }

    fn apply(&mut self, batches: &[WriteBatch]) -> Vec<Result<()>> {
        let mut results = self.0.apply(batches);
        results.pop();
        results
    }

    fn close(self) -> Result<()> {
        Ok(())
    }
}

#[test]
fn results_that_belong_to_no_change_are_unknown_outcomes() {
    let thread = EngineThread::start("miscounts", || Ok(Miscounts(Map::default()))).unwrap();
    let batch = |name: &str| WriteBatch::put(Key::new(name).unwrap(), Bytes::new());
    let results = block_on(thread.apply(vec![batch("a"), batch("b")]));
    let kinds: Vec<_> = results.into_iter().map(|result| result.unwrap_err().kind()).collect();
    assert_eq!(kinds, [ErrorKind::OutcomeUnknown; 2]);
    block_on(thread.close()).unwrap();
}
