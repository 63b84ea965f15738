//! [`Place`]: notices that another file was put in the place of the open one.

use std::path::{Path, PathBuf};

/// Which file stood at the path when it was opened.
pub(crate) struct Place {
    path: PathBuf,
    #[cfg(unix)]
    file: Option<(u64, u64)>,
}

impl Place {
    pub(crate) fn of(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            #[cfg(unix)]
            file: Self::file_at(path),
        }
    }

    /// Whether it still does. What is written to a file that was replaced or removed is lost with it.
    pub(crate) fn is_kept(&self) -> bool {
        #[cfg(unix)]
        return self.file.is_some() && Self::file_at(&self.path) == self.file;
        #[cfg(not(unix))]
        return self.path.exists();
    }

    /// Asks for nothing but the identity: a file whose times were asked for is given finer ones, which at the next write cost a
    /// third of a commit (multigrain timestamps, Linux 6.13).
    #[cfg(target_os = "linux")]
    fn file_at(path: &Path) -> Option<(u64, u64)> {
        use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
        let found = statx(CWD, path, AtFlags::empty(), StatxFlags::INO).ok()?;
        Some((u64::from(found.stx_dev_major) << 32 | u64::from(found.stx_dev_minor), found.stx_ino))
    }

    #[cfg(all(unix, not(target_os = "linux")))]
    fn file_at(path: &Path) -> Option<(u64, u64)> {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
    }
}
