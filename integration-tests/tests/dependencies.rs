//! The directions that dependencies may take, and what every published crate says of itself.

#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Crates that keep bytes in an engine.
const ADAPTERS: [&str; 5] = ["mls-keep-sqlite", "mls-keep-redb", "mls-keep-sled", "mls-keep-fs", "mls-keep-s3"];

/// What is never published, and may use everything.
const TESTS: [&str; 2] = ["integration-tests", "benchmarks"];

/// What the engines of the adapters are called.
const ENGINES: [&str; 6] = ["rusqlite", "redb", "sled", "aws", "object_store", "rustix"];

/// What does cryptography. Only the core does.
const CRYPTOGRAPHY: [&str; 13] = [
    "aes",
    "aes-gcm",
    "argon2",
    "chacha20poly1305",
    "ed25519-dalek",
    "hkdf",
    "hmac",
    "openssl",
    "ring",
    "rustls",
    "sha1",
    "sha2",
    "x25519-dalek",
];

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Use {
    Normal,
    Dev,
    Build,
}

struct Workspace {
    packages: Vec<Value>,
}

impl Workspace {
    fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version=1", "--no-deps", "--offline", "--locked"])
            .current_dir(root)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
        let packages = metadata["packages"].as_array().unwrap().clone();
        Self { packages }
    }

    fn names(&self) -> Vec<&str> {
        self.packages.iter().map(|package| package["name"].as_str().unwrap()).collect()
    }

    fn published(&self) -> impl Iterator<Item = &Value> {
        self.packages.iter().filter(|package| package["publish"].is_null())
    }

    /// What `name` names in its manifest, optional ones too.
    fn dependencies(&self, name: &str) -> Vec<(&str, Use)> {
        let package = self.packages.iter().find(|package| package["name"] == name).unwrap();
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        let used = |dependency: &Value| match dependency["kind"].as_str() {
            None => Use::Normal,
            Some("dev") => Use::Dev,
            Some(_) => Use::Build,
        };
        dependencies.map(|dependency| (dependency["name"].as_str().unwrap(), used(dependency))).collect()
    }

    /// Whether `name` cannot be built without `dependency`.
    fn requires(&self, name: &str, dependency: &str) -> bool {
        let package = self.packages.iter().find(|package| package["name"] == name).unwrap();
        let mut dependencies = package["dependencies"].as_array().unwrap().iter();
        dependencies.any(|other| other["name"] == dependency && other["kind"] != "dev" && other["optional"] == false)
    }

    fn refuse(&self, name: &str, uses: &[Use], refused: impl Fn(&str) -> bool) {
        for (dependency, used) in self.dependencies(name) {
            assert!(
                !(uses.contains(&used) && refused(dependency)),
                "{name} must not depend on {dependency} ({used:?})"
            );
        }
    }

    fn adapters(&self) -> Vec<&'static str> {
        ADAPTERS.into_iter().filter(|adapter| self.names().contains(adapter)).collect()
    }
}

const ALL: [Use; 3] = [Use::Normal, Use::Dev, Use::Build];
const SHIPPED: [Use; 2] = [Use::Normal, Use::Build];

fn is_openmls(name: &str) -> bool {
    name.starts_with("openmls")
}

fn is_engine(name: &str) -> bool {
    ENGINES.iter().any(|engine| name == *engine || name.starts_with(&format!("{engine}-")))
}

fn is_ours(name: &str) -> bool {
    name.starts_with("mls-keep") || TESTS.contains(&name)
}

#[test]
fn the_core_names_no_mls_no_engine_no_runtime_and_no_global_source() {
    let workspace = Workspace::read();
    workspace.refuse("mls-keep-core", &SHIPPED, |name| {
        let runtime = ["tokio", "async-std", "smol", "futures-executor"].contains(&name);
        let global = ["getrandom", "rand", "rand_core", "time", "chrono"].contains(&name);
        is_openmls(name) || is_engine(name) || is_ours(name) || runtime || global
    });
    workspace.refuse("mls-keep-core", &[Use::Dev], |name| is_openmls(name) || is_engine(name));
}

#[test]
fn an_adapter_names_its_engine_and_the_core() {
    let workspace = Workspace::read();
    let adapters = workspace.adapters();
    assert_eq!(adapters, ADAPTERS, "each of them is looked at");
    for adapter in adapters {
        let ours: Vec<_> = workspace
            .dependencies(adapter)
            .into_iter()
            .filter(|(name, used)| is_ours(name) && *used != Use::Dev)
            .collect();
        assert_eq!(ours, [("mls-keep-core", Use::Normal)], "{adapter}");
        workspace.refuse(adapter, &ALL, |name| is_openmls(name) || ADAPTERS.contains(&name) || name == "mls-keep");
        workspace.refuse(adapter, &SHIPPED, |name| CRYPTOGRAPHY.contains(&name));
        let suite: Vec<_> =
            workspace.dependencies(adapter).into_iter().filter(|(name, _)| *name == "mls-keep-conformance").collect();
        assert_eq!(suite, [("mls-keep-conformance", Use::Dev)], "{adapter}");
    }
}

#[test]
fn the_suite_names_the_core_and_no_adapter() {
    let workspace = Workspace::read();
    let suite = "mls-keep-conformance";
    assert!(workspace.dependencies(suite).contains(&("mls-keep-core", Use::Normal)));
    // Its tests name itself, to have its features.
    workspace.refuse(suite, &ALL, |name| {
        (is_ours(name) && !["mls-keep-core", suite].contains(&name)) || is_openmls(name) || is_engine(name)
    });
}

#[test]
fn the_clients_name_the_core_and_no_adapter() {
    let workspace = Workspace::read();
    workspace.refuse("mls-keep", &SHIPPED, |name| (is_ours(name) && name != "mls-keep-core") || is_engine(name));
    // A runtime is for those who ask for it by a feature.
    for runtime in ["tokio", "futures-executor"] {
        assert!(!workspace.requires("mls-keep", runtime), "mls-keep must not need {runtime}");
    }
    assert!(workspace.dependencies("mls-keep").contains(&("mls-keep-core", Use::Normal)));
}

#[test]
fn the_importer_names_the_clients_and_no_adapter() {
    let workspace = Workspace::read();
    workspace.refuse("mls-keep-import", &ALL, |name| is_ours(name) && name != "mls-keep");
    workspace.refuse("mls-keep-import", &SHIPPED, |name| CRYPTOGRAPHY.contains(&name));
}

#[test]
fn only_mls_keep_and_the_tests_name_openmls() {
    let workspace = Workspace::read();
    for name in workspace.names().into_iter().filter(|name| *name != "mls-keep" && !TESTS.contains(name)) {
        workspace.refuse(name, &ALL, is_openmls);
    }
}

#[test]
fn nothing_depends_on_the_program_or_the_tests() {
    let workspace = Workspace::read();
    for name in workspace.names() {
        let measures = name == "benchmarks";
        workspace.refuse(name, &ALL, |other| {
            other == "mls-keep-cli" || other == "benchmarks" || other == "integration-tests" && !measures
        });
    }
}

#[test]
fn features_of_libraries_are_off_until_they_are_asked_for() {
    let workspace = Workspace::read();
    // The program is what its users get without having asked for a feature.
    for package in workspace.published().filter(|package| package["name"] != "mls-keep-cli") {
        let default = &package["features"]["default"];
        assert!(default.as_array().is_none_or(Vec::is_empty), "{} has default features: {default}", package["name"]);
    }
}

#[test]
fn every_published_crate_says_what_it_is() {
    let workspace = Workspace::read();
    let mut published = 0;
    for package in workspace.published() {
        published += 1;
        let name = package["name"].as_str().unwrap();
        for field in ["license", "description", "rust_version", "repository"] {
            assert!(package[field].as_str().is_some_and(|text| !text.is_empty()), "{name} has no {field}");
        }
        assert!(!package["keywords"].as_array().unwrap().is_empty(), "{name} has no keywords");
        // What is published is the crate's folder and nothing above it.
        let folder = Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap();
        for file in ["README.md", "LICENSE-APACHE", "LICENSE-MIT"] {
            assert!(std::fs::metadata(folder.join(file)).is_ok_and(|file| file.is_file()), "{name} has no {file}");
        }
    }
    assert!(published >= 5, "{:?}", workspace.names());
}

/// The one crate with unsafe code: an allocator, for tests. It has lints of its own, because the workspace's forbid that.
const UNSAFE: &str = "freed-memory";

#[test]
fn unsafe_code_stands_in_one_crate_that_only_tests_use() {
    let workspace = Workspace::read();
    let package = workspace.packages.iter().find(|package| package["name"] == UNSAFE).unwrap();
    assert_eq!(package["publish"], serde_json::json!([]), "{UNSAFE} would be published");
    for name in workspace.names() {
        workspace.refuse(name, &SHIPPED, |other| other == UNSAFE);
    }
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    for package in Workspace::read().packages.into_iter().filter(|package| package["name"] != UNSAFE) {
        let manifest = std::fs::read_to_string(package["manifest_path"].as_str().unwrap()).unwrap();
        let mut section = manifest.lines().skip_while(|line| line.trim() != "[lints]").skip(1);
        let has =
            section.by_ref().take_while(|line| !line.starts_with('[')).any(|line| line.trim() == "workspace = true");
        assert!(has, "{} does not take the workspace's lints", package["name"]);
    }
}
