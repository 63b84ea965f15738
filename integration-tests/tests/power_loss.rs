//! A power cut at every moment: what was acknowledged is there, on every disk that the cut may leave.

// A test fails by panicking.
#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use std::path::Path;
use std::time::Instant;

use integration_tests::adapter::Adapter;
use integration_tests::power_loss::disk::Metadata;
use integration_tests::power_loss::{Findings, replay};
use integration_tests::strace;
use mls_keep_core::Durability;

fn cut(subject: &str, metadata: Metadata) -> Findings {
    let begun = Instant::now();
    let found = replay(Path::new(env!("CARGO_BIN_EXE_power-child")), subject, metadata);
    let Findings { moments, disks, losses } = &found;
    println!(
        "{subject}, {metadata:?}: {moments} moments, {disks} disks, {} losses, {:?}",
        losses.len(),
        begun.elapsed()
    );
    assert!(*moments > 20 && *disks > 20, "{subject}: too little was tried");
    found
}

#[test]
fn the_model_finds_what_is_known_to_be_lost() {
    if !strace::is_there("the_model_finds_what_is_known_to_be_lost") {
        return;
    }
    // The journal is deleted without a flush of the directory, so after the cut it rolls the commit back.
    assert!(!cut("sqlite-full", Metadata::Journal).losses.is_empty());
    assert_eq!(cut("sqlite-extra", Metadata::Journal).losses, [""; 0]);
    assert!(!cut("file-unflushed", Metadata::Journal).losses.is_empty());
    assert!(!cut("directory-unflushed", Metadata::Strict).losses.is_empty());
}

#[test]
fn an_acknowledged_commit_survives_power_loss_where_that_is_claimed() {
    if !strace::is_there("an_acknowledged_commit_survives_power_loss_where_that_is_claimed") {
        return;
    }
    for adapter in Adapter::chosen() {
        let directory = tempfile::tempdir().unwrap();
        let claimed = adapter.open(&adapter.path(directory.path(), "keep")).unwrap().capabilities().durability;
        assert_eq!(claimed, Durability::PowerLoss, "{adapter} claims less: say here what is lost");
        for metadata in [Metadata::Journal, Metadata::Strict] {
            let losses = cut(adapter.name(), metadata).losses;
            assert!(losses.is_empty(), "{} losses, such as {:#?}", losses.len(), &losses[..losses.len().min(5)]);
        }
    }
}
