//! `demo`: the whole life of three clients on three keeps.
//!
//! `story` is what they live through, `person` is one of them, `meter` counts what is written, `ledger` has the figures
//! and the checks, `scan` looks for plaintext.

mod ground;
mod ledger;
mod meter;
mod person;
mod scan;
mod story;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use mls_keep::ErrorKind;
use tempfile::TempDir;

use crate::failure::{Failure, Result};
use crate::output::{Output, extended};
use story::Story;

pub(crate) use ground::Ground;

/// Runs the demo in `dir`, which stays, or in a temporary directory, which goes.
pub(crate) async fn run(output: Output, ground: Ground, dir: Option<&Path>) -> Result<()> {
    let place = Place::make(dir)?;
    let start = Instant::now();
    let scheme = ground.scheme();
    if scheme == "s3" && dir.is_some() {
        return Err(Failure::usage(
            "the keeps of this demo are in a bucket",
            "Leave out --dir: they are removed at the end.",
        ));
    }
    let ledger = Story::tell(ground, place.path()).await?;

    output.line(ledger.table())?;
    output.line(match scheme {
        "s3" => "commits: conditional writes of a root, each one round trip or two".to_owned(),
        scheme => format!("commits: transactions of {scheme}, one flush each"),
    })?;
    output.line("bytes written: sealed bytes in the commits")?;
    output.line("")?;
    ledger.check_lines().try_for_each(|line| output.line(line))?;
    output.line(format!("\n{:.1} seconds", start.elapsed().as_secs_f64()))?;
    if let Place::Kept(path) = &place {
        let path = path.display();
        output.line(format!(
            "Look around: mls-keep --store {scheme}:{path}/bob.{scheme} --key {path}/bob.key history tea"
        ))?;
    }
    output.json(|| extended(ledger.to_json(), [("seconds".to_owned(), start.elapsed().as_secs_f64().into())]))?;
    match ledger.failed() {
        0 => Ok(()),
        failed => {
            let what = format!("{failed} of the checks failed");
            Err(Failure::new(ErrorKind::Internal, what, "This is a defect of mls-keep: please report it."))
        }
    }
}

/// Where the keeps are.
enum Place {
    Kept(PathBuf),
    Temporary(TempDir),
}

impl Place {
    fn make(dir: Option<&Path>) -> Result<Self> {
        let Some(dir) = dir else {
            let temporary = TempDir::with_prefix("mls-keep-demo-");
            return Ok(Self::Temporary(temporary.map_err(|error| Failure::unwritable(&std::env::temp_dir(), &error))?));
        };
        fs::create_dir_all(dir).map_err(|error| Failure::unwritable(dir, &error))?;
        let mut entries = fs::read_dir(dir).map_err(|error| Failure::unwritable(dir, &error))?;
        if entries.next().is_some() {
            let what = format!("{} is not empty", dir.display());
            return Err(Failure::new(ErrorKind::Invalid, what, "Name a directory that is empty or not there yet."));
        }
        Ok(Self::Kept(dir.to_path_buf()))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(temporary) => temporary.path(),
        }
    }
}
