//! The page `docs/guarantees.md`, made of what the backends promise and of the tests that show it.

mod promises;

use std::fmt::Write as _;

use mls_keep_core::{Capabilities, Durability, MemoryBackend, StorageBackend, SwapScope};

use mls_keep_s3::{Config, Credentials, S3Backend};
use s3_test_server::{BUCKET, Server};

pub use promises::{Promise, SECTIONS, Section};

use crate::adapter::Adapter;
use crate::wait::block_on;

const HEAD: &str = "\
# Guarantees

What holds, and the test that shows it: the file, and the test in it. This page is made of what the backends say in `capabilities` and of a
list of tests, by `cargo run -p integration-tests --bin guarantees`; `promises.rs::the_page_of_guarantees_is_up_to_date` checks that it is, and
`promises.rs::every_test_that_a_document_names_is_there` that the tests are there.

## What a backend promises

The conformance suite tests each promise; `mls-keep stat` prints it.

| backend | who may race for a root | an acknowledged commit survives | a commit is one step | deleted bytes are gone after closing | largest value |
|---|---|---|---|---|---|
";

/// The page.
///
/// # Panics
/// If a backend cannot be opened.
#[must_use]
pub fn page() -> String {
    let mut page = HEAD.to_owned();
    for adapter in Adapter::ALL {
        let directory = tempfile::tempdir().unwrap();
        let backend = adapter.open(&adapter.path(directory.path(), "keep")).unwrap();
        row(&mut page, adapter.title(), &backend.capabilities());
    }
    let server = Server::start();
    let credentials =
        Credentials { access_key_id: "id".to_owned(), secret_access_key: "secret".to_owned(), session_token: None };
    let config = Config { endpoint: Some(server.endpoint()), credentials: Some(credentials), ..Config::default() };
    let backend = block_on(S3Backend::open(BUCKET, "", config)).unwrap();
    row(&mut page, "S3", &backend.capabilities());
    row(&mut page, "memory", &MemoryBackend::new().capabilities());
    row(&mut page, "four methods, nothing promised", &Capabilities::weakest());
    for section in SECTIONS {
        write!(page, "\n## {}\n\n| promise | test |\n|---|---|\n", section.title).unwrap();
        for Promise { text, tests } in section.promises {
            let tests: Vec<_> = tests.iter().map(|test| format!("`{test}`")).collect();
            writeln!(page, "| {text} | {} |", tests.join(", ")).unwrap();
        }
        if !section.note.is_empty() {
            writeln!(page, "\n{}", section.note).unwrap();
        }
    }
    page
}

fn row(page: &mut String, name: &str, promised: &Capabilities) {
    let swap = match promised.swap {
        SwapScope::OneWriter => "nobody: one writer",
        SwapScope::Handle => "the users of one backend",
        SwapScope::ExclusiveProcess => "the users of one backend; a second process gets `Busy`",
        SwapScope::Everyone => "everyone",
    };
    let durability = match promised.durability {
        Durability::None => "nothing",
        Durability::ProcessCrash => "the end of the process",
        Durability::PowerLoss => "power loss",
    };
    let atomic = if promised.atomic_commit { "yes" } else { "no: before or after all the same" };
    let erases = if promised.erases_deleted { "yes" } else { "no" };
    let largest = promised.max_value_len.map_or("any".to_owned(), |len| format!("{} MiB", len >> 20));
    writeln!(page, "| {name} | {swap} | {durability} | {atomic} | {erases} | {largest} |").unwrap();
}
