//! A power cut at every moment: what was acknowledged is there, on every disk that the cut may leave. Also if a program was
//! killed before it, or one of its flushes failed: then what the next opening has shown is there.

// A test fails by panicking.
#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use std::path::Path;
use std::time::Instant;

use integration_tests::adapter::Adapter;
use integration_tests::power_loss::again::{self, End, replay_after, replay_failed_flushes};
use integration_tests::power_loss::disk::Metadata;
use integration_tests::power_loss::{Findings, replay};
use integration_tests::strace;
use mls_keep_core::Durability;

const CHILD: &str = env!("CARGO_BIN_EXE_power-child");

/// What comes before the power cut.
#[derive(Clone, Copy, Debug)]
enum Before {
    Nothing,
    Kill,
    FailedFlushAndKill,
    FailedFlush,
}

/// The losses.
fn cut(before: Before, subject: &str, metadata: Metadata) -> Vec<String> {
    let begun = Instant::now();
    let child = Path::new(CHILD);
    let found = match before {
        Before::Nothing => replay(child, subject, metadata),
        Before::Kill => replay_after(End::Killed, child, subject, metadata),
        Before::FailedFlushAndKill => replay_after(End::KilledAfterFailedFlush, child, subject, metadata),
        Before::FailedFlush => replay_failed_flushes(child, subject, metadata),
    };
    let Findings { moments, disks, openings, losses } = found;
    println!(
        "{subject}, {metadata:?}, before it {before:?}: {openings} openings, {moments} moments, {disks} disks, {} losses, {:?}",
        losses.len(),
        begun.elapsed()
    );
    // After a failed flush of the controls' logs there is little to cut: each has one file.
    let (least, least_openings) = if matches!(before, Before::Nothing) { (20, 0) } else { (10, 2) };
    assert!(moments > least && disks > least, "{subject}: too little was tried");
    assert!(openings >= least_openings, "{subject}: {openings} openings are too few");
    losses
}

#[test]
fn the_model_finds_what_is_known_to_be_lost() {
    if !strace::is_there("the_model_finds_what_is_known_to_be_lost") {
        return;
    }
    // The journal is deleted without a flush of the directory, so after the cut it rolls the commit back.
    assert!(!cut(Before::Nothing, "sqlite-full", Metadata::Journal).is_empty());
    assert_eq!(cut(Before::Nothing, "sqlite-extra", Metadata::Journal), [""; 0]);
    assert!(!cut(Before::Nothing, "file-unflushed", Metadata::Journal).is_empty());
    assert!(!cut(Before::Nothing, "directory-unflushed", Metadata::Strict).is_empty());
}

#[test]
fn the_model_finds_what_is_known_to_be_lost_after_a_kill_or_a_failed_flush() {
    if !strace::is_there("the_model_finds_what_is_known_to_be_lost_after_a_kill_or_a_failed_flush") {
        return;
    }
    use Before::{FailedFlush, FailedFlushAndKill, Kill, Nothing};
    let cases = [
        ("log-unflushed-open", [(Nothing, false), (Kill, true), (FailedFlushAndKill, true), (FailedFlush, true)]),
        ("log-flushed-open", [(Nothing, false), (Kill, false), (FailedFlushAndKill, true), (FailedFlush, true)]),
        ("log-rewritten-open", [(Nothing, false), (Kill, false), (FailedFlushAndKill, false), (FailedFlush, false)]),
    ];
    for (subject, expected) in cases {
        for (before, loses) in expected {
            let losses = cut(before, subject, Metadata::Strict);
            assert_eq!(!losses.is_empty(), loses, "{subject}, {before:?}: {:#?}", losses.first());
        }
    }
}

#[test]
fn an_acknowledged_commit_survives_power_loss_where_that_is_promised() {
    let test = "an_acknowledged_commit_survives_power_loss_where_that_is_promised";
    nothing_is_lost_after(Before::Nothing, test);
}

#[test]
fn what_an_opening_after_a_kill_has_shown_survives_power_loss() {
    nothing_is_lost_after(Before::Kill, "what_an_opening_after_a_kill_has_shown_survives_power_loss");
}

#[test]
fn what_an_opening_after_a_failed_flush_has_shown_survives_power_loss() {
    let test = "what_an_opening_after_a_failed_flush_has_shown_survives_power_loss";
    nothing_is_lost_after(Before::FailedFlush, test);
}

#[test]
fn what_an_opening_after_a_failed_flush_and_a_kill_has_shown_survives_power_loss() {
    let test = "what_an_opening_after_a_failed_flush_and_a_kill_has_shown_survives_power_loss";
    nothing_is_lost_after(Before::FailedFlushAndKill, test);
}

/// For every adapter; all of them are tried before the test fails.
fn nothing_is_lost_after(before: Before, test: &str) {
    if !strace::is_there(test) {
        return;
    }
    let mut lost = Vec::new();
    for adapter in Adapter::chosen() {
        let directory = tempfile::tempdir().unwrap();
        let promised = adapter.open(&adapter.path(directory.path(), "keep")).unwrap().capabilities().durability;
        assert_eq!(promised, Durability::PowerLoss, "{adapter} promises less: say here what is lost");
        // After a kill or a failed flush most names are old, and the stricter order is the one that finds more.
        let both = matches!(before, Before::Nothing) || again::is_long();
        let metadata = [Metadata::Strict, Metadata::Journal].into_iter().take(if both { 2 } else { 1 });
        for metadata in metadata {
            let losses = cut(before, adapter.name(), metadata);
            if !losses.is_empty() {
                lost.push(format!(
                    "{adapter}, {metadata:?}: {} losses: {:#?}",
                    losses.len(),
                    &losses[..losses.len().min(3)]
                ));
            }
        }
    }
    assert!(lost.is_empty(), "{}", lost.join("\n"));
}
