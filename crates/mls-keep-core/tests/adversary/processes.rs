//! Several processes on one client: nothing that was said changes afterwards, and no root names what is not there.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use futures_executor::block_on;
use mls_keep_core::{Changes, ClientStore, ErrorKind, Keep, Result};

use crate::common::{SeededEntropy, encryption, keep_in};
use crate::rough::{Dice, Rough, look, noise, scope};

/// What was said to anybody.
#[derive(Default)]
struct Said {
    /// Generations that were used.
    used: BTreeSet<u64>,
    applied: BTreeSet<u64>,
    refused: BTreeSet<u64>,
    tokens: u64,
    deletions: usize,
    wrong: Vec<String>,
    kinds: std::collections::BTreeMap<String, usize>,
}

const RATCHET: &[u8] = b"ratchet";

fn token_key(token: u64) -> Vec<u8> {
    format!("token/{token:08}").into_bytes()
}

/// Uses the next generation, as a client that sends does.
async fn send(client: &mut ClientStore, said: &Mutex<Said>, dice: &Dice, may_delete: bool) -> Result<()> {
    let number = dice.below(2) as u8;
    let scope = scope(number);
    let base = client.scope_version(&scope).await?;
    let old = client.record(&scope, RATCHET).await?;
    let generation = old.as_ref().map_or(0, |value| u64::from_be_bytes(value.as_slice().try_into().unwrap())) + 1;
    let token = {
        let mut said = said.lock().unwrap();
        said.tokens += 1;
        said.tokens
    };
    let mut changes = Changes::new();
    let scope = changes.scope(scope, base);
    scope.put(RATCHET, generation.to_be_bytes().to_vec().into(), None)?;
    scope.put(token_key(token), noise(token, dice.below(600) as usize + 1).into(), None)?;
    if dice.one_in(4) {
        scope.put(b"long", noise(token, dice.below(30_000) as usize).into(), None)?;
    }
    let result = client.commit(&changes).await;
    let mut said = said.lock().unwrap();
    match result {
        Ok(_) => {
            said.applied.insert(token);
            if !may_delete && !said.used.insert(u64::from(number) << 32 | generation) {
                said.wrong.push(format!("generation {generation} of scope {number} was used twice"));
            }
            Ok(())
        }
        Err(error) => {
            *said.kinds.entry(error.kind().to_string()).or_default() += 1;
            if error.kind() != ErrorKind::OutcomeUnknown {
                said.refused.insert(token);
            }
            Err(error)
        }
    }
}

async fn process(backend: Rough, seed: u64, said: Arc<Mutex<Said>>, may_sweep: bool, may_delete: bool) {
    let dice = backend.dice.clone();
    let entropy = Arc::new(SeededEntropy::new(seed));
    let Ok(keep) = Keep::open(Arc::new(backend), &encryption(), entropy).await else { return };
    let Ok(mut client) = open_or_make(&keep, may_delete).await else { return };
    loop {
        let result = match dice.below(12) {
            _ if may_delete && dice.one_in(8) => match keep.delete_client(b"alice").await {
                Ok(()) => {
                    said.lock().unwrap().deletions += 1;
                    Ok(())
                }
                other => other,
            },
            0 => client.refresh().await.map(drop),
            1 => client.gc().await.map(drop),
            2 if may_sweep => keep.sweep(&mut |_| ()).await.map(drop),
            3 => client.verify(&mut |_| ()).await.map(|found| {
                if !found.is_sound() {
                    said.lock().unwrap().wrong.push(format!("verify: {:?}", found.problems));
                }
            }),
            _ => send(&mut client, &said, &dice, may_delete).await,
        };
        if let Err(error) = result {
            use ErrorKind::{Conflict, OutcomeUnknown, Unavailable};
            if error.kind() == ErrorKind::NotFound && may_delete {
                match open_or_make(&keep, true).await {
                    Ok(another) => client = another,
                    Err(_) => return,
                }
            } else if !matches!(error.kind(), Conflict | OutcomeUnknown | Unavailable) {
                said.lock().unwrap().wrong.push(format!("{error:?}"));
            }
        }
    }
}

async fn open_or_make(keep: &Keep, may_make: bool) -> Result<ClientStore> {
    match keep.open_client(b"alice").await {
        Err(error) if error.kind() == ErrorKind::NotFound && may_make => keep.new_client(b"alice").await,
        other => other,
    }
}

type Running = Pin<Box<dyn Future<Output = ()>>>;

fn run(seed: u64, atomic: bool, may_delete: bool, steps: usize) -> usize {
    let case = format!("seed {seed}, atomic {atomic}, deletions {may_delete}");
    let dice = Dice::new(seed);
    let backend = Rough::new(atomic, dice.clone(), 0);
    let said = Arc::new(Mutex::new(Said::default()));
    block_on(async {
        let keep = keep_in(backend.inner.clone(), seed * 1000).await;
        keep.create_client(b"alice").await.unwrap();
    });
    backend.odds.store(5 + seed % 30, Ordering::Relaxed);
    let mut processes: Vec<Option<Running>> = (0..3).map(|_| None).collect();
    let mut begun = 0;
    let mut context = Context::from_waker(Waker::noop());
    for step in 0..steps {
        let at = dice.below(3) as usize;
        if processes[at].is_none() {
            begun += 1;
            processes[at] = Some(Box::pin(process(
                backend.clone(),
                seed * 1000 + begun,
                Arc::clone(&said),
                seed.is_multiple_of(2),
                may_delete,
            )));
        }
        let running = processes[at].as_mut().unwrap();
        if running.as_mut().poll(&mut context).is_ready() || dice.one_in(400) {
            processes[at] = None;
        }
        if dice.one_in(40) {
            backend.land_one();
        }
        if step.is_multiple_of(50)
            && let Err(wrong) = block_on(look(&backend.inner))
        {
            panic!("{case}, step {step}: {wrong}");
        }
        let said = said.lock().unwrap();
        assert!(said.wrong.is_empty(), "{case}, step {step}: {:?}", said.wrong);
    }
    processes.clear();
    while backend.land_one() {}
    block_on(look(&backend.inner)).unwrap_or_else(|wrong| panic!("{case}, at the end: {wrong}"));
    block_on(async {
        let keep = keep_in(backend.inner.clone(), 1).await;
        let said = std::mem::take(&mut *said.lock().unwrap());
        let client = match keep.open_client(b"alice").await {
            Err(error) if error.kind() == ErrorKind::NotFound && may_delete => return said.deletions,
            client => client.unwrap(),
        };
        assert!(may_delete || said.applied.len() > 3, "{case}: nothing was done: {:?}", said.kinds);
        for token in 1..=said.tokens {
            let mut there = false;
            for number in 0..2 {
                there |= client.record(&scope(number), &token_key(token)).await.unwrap().is_some();
            }
            assert!(!said.applied.contains(&token) || there || may_delete, "{case}: {token} was applied and is gone");
            assert!(!said.refused.contains(&token) || !there, "{case}: {token} was refused and is there");
        }
        said.deletions
    })
}

#[test]
fn what_was_said_stays_true_among_several_processes() {
    let seeds = std::env::var("ADVERSARY_SEEDS").map_or(12, |count| count.parse().unwrap());
    let first = std::env::var("ADVERSARY_FIRST").map_or(1, |first| first.parse().unwrap());
    for seed in first..first + seeds {
        for atomic in [true, false] {
            run(seed, atomic, false, 4000);
        }
    }
}

#[test]
fn what_was_refused_is_never_there_among_deletions() {
    let seeds = std::env::var("ADVERSARY_SEEDS").map_or(15, |count| count.parse().unwrap());
    let deletions: usize = (1..=seeds).map(|seed| run(seed, false, true, 4000)).sum();
    println!("{deletions} deletions");
    assert!(deletions > 10, "too little was deleted");
}
