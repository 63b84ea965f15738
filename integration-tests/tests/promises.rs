//! A promise in a document names its test, and the test is there.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All `file.rs::test` between backquotes.
fn promised(document: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join(document)).unwrap();
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter_map(|name| name.split_once(".rs::")).map(|(file, test)| (format!("{file}.rs"), test.into())).collect()
}

/// All source files of the workspace that have this name.
fn sources(directory: &Path, name: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("target") {
                sources(&path, name, found);
            }
        } else if path.ends_with(name) {
            found.push(fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_test_that_a_document_names_is_there() {
    for document in ["README.md", "docs/guarantees.md"] {
        let promised = promised(document);
        assert!(promised.len() >= 8, "{document} names {} tests", promised.len());
        for (file, test) in promised {
            let mut found = Vec::new();
            sources(&root().join("crates"), &file, &mut found);
            sources(&root().join("integration-tests"), &file, &mut found);
            let stands = found.iter().any(|text| {
                text.split_once(&format!("fn {test}(")).is_some_and(|(before, _)| {
                    // The attribute stands right before, or the test is made by proptest's macro.
                    before.trim_end().rsplit("\n").take(3).any(|line| {
                        ["#[test]", "#[tokio::test"].iter().any(|attribute| line.trim().starts_with(attribute))
                    })
                })
            });
            assert!(stands, "{document} names {file}::{test}, which is not there");
        }
    }
}

#[test]
fn the_page_of_guarantees_is_up_to_date() {
    let stored = fs::read_to_string(root().join("docs/guarantees.md")).unwrap();
    let made = integration_tests::guarantees::page();
    assert!(stored == made, "cargo run -p integration-tests --bin guarantees > docs/guarantees.md");
}
