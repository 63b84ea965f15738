//! Runs fuzz targets: functions that take any bytes and must neither panic, nor hang, nor take much memory.
//!
//! A target is an ordinary test named `fuzz::...` in the crate whose parser it is about. How it runs is decided by the
//! build (docs/decisions/0008-fuzzing.md):
//! - `cargo test`: the corpus is replayed, and then changed at random for a second.
//! - `integration-tests/fuzz.sh`: libFuzzer, which follows the code's coverage, or random changes for longer.

mod files;
mod mutate;
mod store;
mod watch;

use std::fs;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bolero::TargetLocation;

pub use files::{Files, directory};
pub use store::use_store;
use watch::Watch;

/// How long the random changes go on, seconds, if it is not said.
const SECONDS: u64 = 1;

/// A fuzz target.
pub struct Target {
    package: &'static str,
    name: &'static str,
    seeds: Vec<Vec<u8>>,
    memory: u64,
}

impl Target {
    /// The target `name` of the crate `package`. The test that runs it is called `fuzz::` and the name.
    #[must_use]
    pub fn new(package: &'static str, name: &'static str) -> Self {
        Self { package, name, seeds: Vec::new(), memory: 64 << 20 }
    }

    /// Inputs to begin with, besides those of the corpus: made by the code as it is now, so that they are of the newest
    /// format. With `MLS_KEEP_WRITE_CORPUS=1` they become the corpus.
    #[must_use]
    pub fn seeds(mut self, seeds: impl IntoIterator<Item = Vec<u8>>) -> Self {
        self.seeds.extend(seeds);
        self
    }

    /// How much memory one input may take at once on the thread of the test, bytes. 64 MiB if it is not said.
    #[must_use]
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = bytes;
        self
    }

    /// Runs `test` on many inputs.
    ///
    /// # Panics
    /// If `test` does, or takes too much memory. The input is then in a file, which is named.
    pub fn run(self, test: impl Fn(&[u8])) {
        if std::env::var_os("MLS_KEEP_WRITE_CORPUS").is_some() {
            return self.write_corpus();
        }
        let memory = self.memory;
        let test = Unwind(|input: &[u8]| within(memory, input, &test));
        if std::env::var_os("BOLERO_LIBFUZZER_ARGS").is_some() {
            self.follow_coverage(test);
        } else {
            self.change_at_random(test);
        }
    }

    /// Does not return: libFuzzer ends the process. The script gives it the corpus and the time.
    fn follow_coverage<T: Fn(&[u8])>(&self, test: Unwind<T>) {
        if let Some(found) = std::env::var_os("MLS_KEEP_FUZZ_FOUND") {
            for (number, seed) in self.seeds.iter().enumerate() {
                write(&Path::new(&found).join(format!("seed-{number:02}")), seed);
            }
        }
        bolero::test(self.location()).for_each(move |input: &[u8]| test.call(input));
    }

    fn change_at_random<T: Fn(&[u8])>(&self, test: Unwind<T>) {
        let corpus = self.corpus();
        let seconds = std::env::var("MLS_KEEP_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
        let time = Duration::from_secs(seconds.unwrap_or(SECONDS));
        let watch = Watch::new(self.package, self.name);
        let start = Instant::now();
        let run = Unwind(|input: &[u8]| watch.over(input, || test.call(input)));
        let failed = catch_unwind(AssertUnwindSafe(|| {
            corpus.iter().for_each(|input| run.call(input));
            bolero::test(self.location())
                .with_generator(mutate::Changed { corpus: &corpus })
                .with_test_time(time)
                .for_each(|input: &mutate::Input| run.call(&input.0));
        }));
        if let Err(panic) = failed {
            eprintln!("the input that failed is in {}", watch.keep().display());
            eprintln!("to keep it: copy it to {}/", self.corpus_path().display());
            resume_unwind(panic);
        }
        let seconds = start.elapsed().as_secs_f64();
        println!("fuzzed {}/{}: {} inputs in {seconds:.1} s", self.package, self.name, watch.count());
    }

    fn corpus_path(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(self.package).join(self.name)
    }

    /// What is in the repository, in the order of the names, and the seeds.
    fn corpus(&self) -> Vec<Vec<u8>> {
        let mut paths: Vec<_> = fs::read_dir(self.corpus_path())
            .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
            .unwrap_or_default();
        paths.sort();
        let stored = paths.iter().map(|path| fs::read(path).unwrap_or_else(|error| fail(path, &error)));
        stored.chain(self.seeds.iter().cloned()).collect()
    }

    fn write_corpus(&self) {
        let path = self.corpus_path();
        fs::create_dir_all(&path).unwrap_or_else(|error| fail(&path, &error));
        for (number, seed) in self.seeds.iter().enumerate() {
            write(&path.join(format!("seed-{number:02}")), seed);
        }
    }

    fn location(&self) -> TargetLocation {
        TargetLocation {
            package_name: self.package,
            manifest_dir: env!("CARGO_MANIFEST_DIR"),
            module_path: module_path!(),
            file: file!(),
            line: line!(),
            item_path: "fuzz::__bolero_item_path__",
            test_name: Some(format!("{}/{}", self.package, self.name)),
        }
    }
}

/// What a target needs, such as an opened keep, is made once and looked at again after a panic only to shrink the input.
struct Unwind<T>(T);

impl<T: Fn(&[u8])> Unwind<T> {
    fn call(&self, input: &[u8]) {
        (self.0)(input);
    }
}

impl<T> RefUnwindSafe for Unwind<T> {}

/// Runs `test`, and fails if it takes more than `limit` bytes at once.
fn within(limit: u64, input: &[u8], test: impl Fn(&[u8])) {
    let mut result = Ok(());
    let taken = allocation_counter::measure(|| result = catch_unwind(AssertUnwindSafe(|| test(input))));
    if let Err(panic) = result {
        resume_unwind(panic);
    }
    assert!(
        taken.bytes_max <= limit,
        "an input of {} bytes took {} bytes of memory at once, more than {limit}",
        input.len(),
        taken.bytes_max
    );
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap_or_else(|error| fail(path, &error));
}

#[allow(clippy::panic)]
fn fail(path: &Path, error: &std::io::Error) -> ! {
    panic!("{}: {error}", path.display())
}
