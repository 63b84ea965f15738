//! Key packages.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use mls_keep::{ErrorKind, KeyPackageOptions, KeyPackageSummary};
use serde_json::{Value, json};

use crate::cli::NewKeyPackages;
use crate::failure::{Failure, Result};
use crate::files::NewFile;
use crate::output::{columns, utc};
use crate::printed::hex;
use crate::session::Session;

/// The files that are to be written.
pub(super) fn prepare(new: &NewKeyPackages) -> Result<Vec<NewFile>> {
    let first = new.out.as_deref().unwrap_or(Path::new(""));
    let name = |number: u16| match number {
        1 => first.to_path_buf(),
        number => PathBuf::from(format!("{}.{number}", first.display())),
    };
    (1..=new.count).map(|number| NewFile::prepare(&name(number), new.force)).collect()
}

/// `key-package`
pub(super) async fn make(session: &mut Session, new: &NewKeyPackages, files: Vec<NewFile>) -> Result<()> {
    let mut options = KeyPackageOptions::new();
    if let Some(days) = new.days {
        options = options.lifetime(Duration::from_secs(u64::from(days) * 24 * 3600));
    }
    if new.last_resort {
        options = options.last_resort();
    }
    let made = session.client.key_packages(files.len(), options).await?;
    let paths: Vec<_> = files.iter().map(|file| file.path().to_path_buf()).collect();
    // Nobody has seen it, so another one does as well.
    let advice = "The key package is lost, and harms nobody. Mend the cause and run `key-package` again.";
    for (file, key_package) in files.into_iter().zip(&made) {
        file.write(key_package).map_err(|failure| failure.advise_always(advice))?;
    }
    for path in &paths {
        session.output.line(format!("for one person who invites this client: {}", path.display()))?;
    }
    session.output.json(|| {
        let names: Vec<_> = paths.iter().map(|path| path.to_string_lossy()).collect();
        match names.as_slice() {
            [only] => json!({ "file": only }),
            several => json!({ "files": several }),
        }
    })
}

/// `key-package list`
pub(super) async fn list(session: &mut Session) -> Result<()> {
    let mut packages = session.client.unused_key_packages().await?;
    packages.sort_by_key(|package| package.not_after);
    if packages.is_empty() {
        session.output.line("no key packages: `mls-keep key-package --out FILE` makes one")?;
    } else {
        let row = |package: &KeyPackageSummary| {
            let use_of = if package.last_resort { "last resort" } else { "once" };
            vec![hex(&package.reference), time(package.not_after), use_of.to_owned()]
        };
        session.output.line(columns(&["REFERENCE", "UNTIL", "USE"], packages.iter().map(row).collect()))?;
    }
    session.output.json(|| {
        let value = |package: &KeyPackageSummary| {
            json!({
                "reference": hex(&package.reference),
                "not_before": time(package.not_before),
                "not_after": time(package.not_after),
                "last_resort": package.last_resort,
            })
        };
        packages.iter().map(value).collect::<Value>()
    })
}

fn time(time: SystemTime) -> String {
    utc(time)
}

/// `key-package prune`
#[expect(clippy::disallowed_methods, reason = "the program takes the time")]
pub(super) async fn prune(session: &mut Session) -> Result<()> {
    let now = SystemTime::now();
    let gone = session.client.prune_key_packages(now).await.map_err(|error| {
        Failure::from(error).advise(ErrorKind::Corrupt, "Nothing was changed. Run `mls-keep verify`.")
    })?;
    session.output.line(format!("key packages deleted: {gone}"))?;
    session.output.json(|| json!({ "deleted": gone }))
}
