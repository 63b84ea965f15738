//! Backing up and restoring, against one pass of zstd and one of AES-256-GCM over the same bytes in the same run.
//!
//! `cargo run --release -p benchmarks --bin bench-archive [GROUPS] [MIB OF HISTORY]`. The keeps are SQLite databases in a temporary
//! directory, or what `MLS_KEEP_ADAPTER` names, the archives files beside them.

// A benchmark ends by panicking.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::indexing_slicing)]

use std::fs::{self, File};
use std::sync::Arc;
use std::time::Instant;

use integration_tests::adapter::Adapter;
use integration_tests::wait::block_on;
use mls_keep::{Encryption, MasterKey, SystemEntropy};
use mls_keep_core::{Archive, BackupPlan, Changes, ClientStore, Keep, RestorePlan, ScopeId, Value};

/// Most bytes over which zstd and AES-256-GCM alone are measured.
const REFERENCE: usize = 128 << 20;

/// Bytes of one message of the history: what people write, and what does not compress.
const MESSAGE: usize = 400;

fn key() -> Encryption {
    Encryption::hkdf_sha256(MasterKey::new([9; 32]))
}

fn message(at: u64) -> Vec<u8> {
    let mut state = at.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let noise = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    });
    let text = b"at five, as always? bring the others, and say so in the other group as well. ".iter().copied().cycle();
    noise.take(MESSAGE / 2).chain(text.take(MESSAGE / 2)).collect()
}

fn open(adapter: Adapter, path: &std::path::Path) -> Keep {
    block_on(Keep::open_or_create(adapter.open(path).unwrap(), &key(), Arc::new(SystemEntropy))).unwrap()
}

async fn put(client: &mut ClientStore, scope: ScopeId, records: Vec<(Vec<u8>, Vec<u8>)>) {
    let mut changes = Changes::new();
    let base = client.scope_version(&scope).await.unwrap();
    let changed = changes.scope(scope, base);
    for (key, value) in records {
        changed.put(key, Value::from(value), None).unwrap();
    }
    client.commit(&changes).await.unwrap();
}

fn history_record(at: u64) -> (Vec<u8>, Vec<u8>) {
    ([&[0x30][..], &at.to_be_bytes()].concat(), message(at))
}

fn group_record(group: u64, kind: u8, round: u64) -> (Vec<u8>, Vec<u8>) {
    (vec![kind], message(group * 100 + u64::from(kind) + round))
}

async fn history(client: &mut ClientStore, from: u64, count: u64) {
    let scope = ScopeId::group(b"history").unwrap();
    for from in (from..from + count).step_by(8192) {
        let to = (from + 8192).min(from + count);
        put(client, scope.clone(), (from..to).map(history_record).collect()).await;
    }
}

async fn groups(client: &mut ClientStore, from: u64, count: u64, round: u64) {
    for chunk in (from..from + count).collect::<Vec<_>>().chunks(500) {
        let mut changes = Changes::new();
        for at in chunk {
            let id = ScopeId::group(&message(*at)[..16]).unwrap();
            let base = client.scope_version(&id).await.unwrap();
            let group = changes.scope(id, base);
            for (key, value) in (0x10..0x17).map(|kind| group_record(*at, kind, round)) {
                group.put(key, Value::from(value), None).unwrap();
            }
        }
        client.commit(&changes).await.unwrap();
    }
}

/// What an archive compresses and encrypts, in pages: the frames of the same records (docs/format.md), of long ones the beginning.
fn pages(group_count: u64, message_count: u64) -> Vec<Vec<u8>> {
    let groups = (0..group_count).flat_map(|at| (0x10..0x17_u8).map(move |kind| group_record(at, kind, 0)));
    let mut frames = Vec::new();
    for (key, value) in groups.chain((0..message_count).map(history_record)).take(REFERENCE / MESSAGE) {
        frames.push(3);
        frames.extend(((2 + key.len() + value.len()) as u32).to_be_bytes());
        frames.extend((key.len() as u16).to_be_bytes());
        frames.extend(key);
        frames.extend(value);
    }
    frames.chunks(16_384).map(<[u8]>::to_vec).collect()
}

fn peak() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap_or("")
        .split_whitespace()
        .skip(1)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Seconds of processor time that the process has taken, on all of its threads.
fn processor_time() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or("").split_whitespace().skip(11).take(2);
    // Linux counts them in hundredths.
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn timed<T>(bytes: u64, what: &str, work: impl FnOnce() -> T) -> T {
    // So that the peak is of this alone.
    drop(fs::write("/proc/self/clear_refs", "5"));
    let (begun, before) = (Instant::now(), processor_time());
    let done = work();
    let (seconds, taken) = (begun.elapsed().as_secs_f64(), processor_time() - before);
    let rate = bytes as f64 / 1e6 / seconds;
    println!("  {what:<28} {rate:>8.0} MB/s   {seconds:>7.2} s, {taken:>6.2} s of processor time   peak {}", peak());
    done
}

fn main() {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<u64>().unwrap());
    let (many, mib) = (args.next().unwrap_or(10_000), args.next().unwrap_or(1024));
    let messages = (mib << 20) / MESSAGE as u64;
    let adapter = match std::env::var_os("MLS_KEEP_ADAPTER") {
        Some(_) => Adapter::chosen().remove(0),
        None => Adapter::Sqlite,
    };
    for (name, group_count, message_count) in
        [("1 group", 1, 0), ("many groups", many, 0), ("a long history", 1, messages)]
    {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let keep = open(adapter, &path("keep"));
        let mut client = block_on(keep.create_client(b"alice")).unwrap();
        block_on(async {
            put(&mut client, ScopeId::client(), vec![(vec![1], vec![1; 100])]).await;
            groups(&mut client, 0, group_count, 0).await;
            history(&mut client, 0, message_count).await;
        });
        let back_up = |client: &ClientStore, name: &str, plan: &BackupPlan<'_>| {
            let mut file = File::create(path(name)).unwrap();
            let summary = block_on(client.back_up(&mut file, &key(), plan, &mut |_| ())).unwrap();
            file.sync_all().unwrap();
            summary
        };
        let first = back_up(&client, "first", &BackupPlan::new(0));
        let bytes = first.value_bytes;
        println!("{name}: {} groups, {} records, {bytes} bytes of values", first.scopes - 1, first.records);
        let full = timed(bytes, "backup", || back_up(&client, "full", &BackupPlan::new(0)));
        let mut archives = timed(bytes, "verify", || {
            vec![block_on(Archive::open(File::open(path("full")).unwrap(), &key(), &mut |_| ())).unwrap()]
        });
        let target = open(adapter, &path("restored"));
        timed(bytes, "restore (verified before)", || {
            drop(
                block_on(target.restore_client(&mut archives, &RestorePlan::new(&|_, _, _| true), &mut |_| ()))
                    .unwrap(),
            );
        });

        let pages = pages(group_count, message_count);
        let bytes = pages.iter().map(Vec::len).sum::<usize>() as u64;
        timed(bytes, "zstd -1, pages of 16 KiB", || {
            let mut zstd = zstd::bulk::Compressor::new(1).unwrap();
            pages.iter().map(|page| zstd.compress(page).unwrap().len()).sum::<usize>()
        });
        timed(bytes, "AES-256-GCM", || {
            use aes_gcm::aead::AeadInOut as _;
            let cipher: aes_gcm::Aes256Gcm = aes_gcm::KeyInit::new(&[7; 32].into());
            for mut page in pages {
                cipher.encrypt_inout_detached(&[1; 12].into(), b"", page.as_mut_slice().into()).unwrap();
            }
        });

        block_on(async {
            groups(&mut client, 0, group_count / 100, 50).await;
            history(&mut client, message_count, message_count / 100).await;
        });
        let parent = archives.remove(0);
        let delta = back_up(&client, "delta", &BackupPlan::new(0).since(&parent));
        let stored = block_on(client.verify(&mut |_| ())).unwrap().statistics.stored_bytes;
        println!(
            "  archive {} bytes, keep {stored} bytes; a delta after 1 %: {} bytes, {:.2} % of it\n",
            full.len,
            delta.len,
            100.0 * delta.len as f64 / full.len as f64
        );
    }
}
