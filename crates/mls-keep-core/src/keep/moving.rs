//! Moving a client to another device, and taking it back.
//!
//! **The rule.** The fence comes first: one commit makes the root's standing *moved out*, and from then on nothing goes on
//! here. The archive is written after it, of that very root, which does not change any more. So whatever is cut:
//! - before the fence, the client is here and there is no archive;
//! - between the fence and the last byte of the archive, the archive is refused everywhere (it has no end), and the client is
//!   here, fenced. A failure that is seen takes the fence back, since no archive was completed; after a crash the archive is
//!   written again, or the client is reclaimed;
//! - after that, the client that is imported from the archive goes on.
//!
//! Somebody else may take the client back at any moment. Then the archive is of the fenced root all the same, or of none: what
//! goes on here is in no archive of a move.
//!
//! The other order would leave, after a cut between the two, a whole archive beside a client that goes on.

use std::io::Write;

use super::back_up::BackupPlan;
use super::client::ClientStore;
use super::commit::Step;
use super::root::{Root, Standing};
use super::scope::Changes;
use crate::archive::{ArchiveKind, ArchiveSummary};
use crate::envelope::Encryption;
use crate::error::{Error, ErrorKind, Result};

/// A fence that was put up a moment ago.
struct Fence {
    id: [u8; 16],
    /// The standing before it.
    before: Standing,
}

impl ClientStore {
    /// Whether the client was moved to another device: then it is verified, deleted, reclaimed, and nothing else.
    #[must_use]
    pub fn is_moved_out(&self) -> bool {
        self.root.standing == Standing::MovedOut
    }

    /// Whether the client came from a backup, or was reclaimed.
    #[must_use]
    pub fn is_restored(&self) -> bool {
        self.root.standing == Standing::Restored
    }

    /// Moves the client out: fences it in one commit, and then writes it as an archive to `out`, from which it goes on where that
    /// is imported. Of a client that was moved out before, the archive is written again.
    ///
    /// `out` must be made durable by the caller, and the archive imported once. Two imports into different keeps cannot be
    /// distinguished from one, and are a fork.
    ///
    /// # Errors
    /// If the archive could not be written, the fence is taken back, and the client goes on here as if nothing had been. If
    /// that fails too, or it is the last bytes that `out` does not take, the client stays fenced, and this may be called
    /// again. `Conflict` if somebody takes the client back meanwhile, and then there is no archive. `Invalid` for an encryption
    /// out of its bounds; else as [`commit`](Self::commit), and those of `out`.
    pub async fn move_out(
        &mut self,
        out: &mut (dyn Write + Send),
        encryption: &Encryption,
        created: u64,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<ArchiveSummary> {
        // What is wrong with it shows before anything is done.
        encryption.check()?;
        self.settle().await?;
        let again = self.is_moved_out();
        let fence = self.fence_out().await?;
        let plan = BackupPlan::new(created);
        let begun = self.write_state(out, fence.id, ArchiveKind::Move, encryption, &plan, progress).await;
        match begun {
            Ok(written) => written.finish(),
            Err(error) => {
                if !again {
                    // If it stays, the client waits here, fenced, and the call may be repeated.
                    drop(self.take_back(&fence).await);
                }
                Err(error)
            }
        }
    }

    /// Makes a client that was moved out one that goes on here, as if it had been restored from a backup: every group must be
    /// entered anew. `changes` are applied in the same commit.
    ///
    /// # Errors
    /// `Invalid` if it was not moved out; else as [`commit`](Self::commit).
    pub async fn reclaim(&mut self, changes: &Changes) -> Result<()> {
        self.settle().await?;
        if !self.is_moved_out() {
            return Err(Error::new(ErrorKind::Invalid, "the client was not moved out: there is nothing to reclaim"));
        }
        let restored = |root: &mut Root| root.standing = Standing::Restored;
        let step = Step { mark_groups: true, change_root: &restored, ..Step::new(changes) };
        self.try_commit(&step).await.map(drop)
    }

    /// Puts up the fence. One that is there is put up again, so that a call that put it up before cannot take it back.
    async fn fence_out(&mut self) -> Result<Fence> {
        let before = self.root.standing;
        let id = match self.root.archives.first() {
            Some(id) if before == Standing::MovedOut => *id,
            _ => {
                let mut id = [0; 16];
                self.keep.entropy().fill(&mut id)?;
                id
            }
        };
        let moved = |root: &mut Root| {
            root.standing = Standing::MovedOut;
            root.remember(&[id]);
        };
        let changes = Changes::new();
        self.commit_step(&Step { change_root: &moved, ..Step::new(&changes) }).await?;
        Ok(Fence { id, before })
    }

    /// Takes the fence back, if nobody has put up another one since. For an archive that was not completed.
    async fn take_back(&mut self, fence: &Fence) -> Result<()> {
        let back = |root: &mut Root| {
            root.standing = fence.before;
            root.archives.retain(|id| *id != fence.id);
        };
        let changes = Changes::new();
        self.try_commit(&Step { change_root: &back, ..Step::new(&changes) }).await.map(drop)
    }
}

/// Refuses a root that is not fenced for the archive `id`: it goes on here, or by another archive.
///
/// # Errors
/// `Conflict`
pub(super) fn ensure_fenced(root: &Root, id: &[u8; 16]) -> Result<()> {
    if root.standing == Standing::MovedOut && root.archives.first() == Some(id) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Conflict, "the client was taken back while it was being moved out"))
}
