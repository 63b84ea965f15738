//! A disk that is full, in the middle of a backup, a restoration and a move: an error that says so, and nothing half made.

#![cfg(target_os = "linux")]
// A test fails by panicking.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::Write as _;
use std::process::{Command, Stdio};

use common::{Person, Ran, Town, ran};

/// The archive of this history takes some 1.6 MB, and a store of it more.
const MESSAGES: usize = 5;
const MESSAGE_LEN: usize = 320 << 10;

/// Sizes of disks, KiB, from those that take nothing to those that take nearly all.
const SIZES: [usize; 7] = [8, 60, 400, 900, 1500, 1900, 2600];

fn in_a_namespace(dir: &std::path::Path, script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-uc", script]).current_dir(dir).stdin(Stdio::null());
    command
}

/// Whether a disk can be mounted. If not, says that `test` is not run; where `MLS_KEEP_CRASH_REQUIRED` is set it fails.
fn can_mount(town: &Town, test: &str) -> bool {
    let mounted = in_a_namespace(town.path(), "mount -t tmpfs -o size=64k disk .").status();
    let can = mounted.is_ok_and(|status| status.success());
    if !can {
        let required = std::env::var_os("MLS_KEEP_CRASH_REQUIRED").is_some();
        assert!(!required, "{test} needs `unshare` and the right to mount a disk in a namespace");
        let text = format!("NOT RUN: {test}: no namespace in which a disk can be mounted\n");
        std::io::stderr().write_all(text.as_bytes()).unwrap();
    }
    can
}

/// Runs lines of a script in alice's directory, in which `small` is a disk of this size and `$keep` the program.
fn on_a_small_disk(alice: &Person, kib: usize, lines: &str) -> Ran {
    let program = alice.command(&[]);
    let mount = format!("mount -t tmpfs -o size={kib}k disk small || exit 99");
    let script = format!("keep='{}'\n{mount}\n{lines}", program.get_program().to_string_lossy());
    let mut command = in_a_namespace(&alice.dir, &script);
    command.env("MLS_KEEP_STORE", "sqlite:keep.db").env("MLS_KEEP_KEY", "k").env_remove("MLS_KEEP_IDENTITY");
    ran(command.output().unwrap())
}

/// Alice with a history, in the group `tea` with bob.
fn friends(town: &Town) -> (Person, Person) {
    let (alice, bob) = town.friends();
    alice.ok(&["keygen", "a"]);
    let mut state = 1_u64;
    for at in 0..MESSAGES {
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        });
        let text: Vec<u8> = noise.take(MESSAGE_LEN).collect();
        let sent = alice.run_with(&["send", "tea", "-", "--out", &format!("{at}.mls")], &text);
        assert_eq!(sent.code, Some(0), "{}", sent.err);
    }
    std::fs::create_dir(alice.dir.join("small")).unwrap();
    (alice, bob)
}

/// An error of one line that says that there is no room, or none. redb and sled cannot say whether a commit that found none was
/// applied: then it says so, and what to do.
#[track_caller]
fn says_no_room(ran: &Ran) -> bool {
    let errors: Vec<_> = ran.err.lines().filter(|line| line.starts_with("error: ")).collect();
    let is_said = |line: &&str| {
        line.ends_with("(NoSpace)")
            || (line.ends_with("(OutcomeUnknown)") && ran.err.contains("`mls-keep group waiting` shows whether"))
    };
    assert!(errors.iter().all(is_said), "{ran:?}");
    assert!(ran.code == Some(0) || !errors.is_empty(), "{ran:?}");
    !errors.is_empty()
}

#[test]
fn a_backup_and_a_move_onto_a_full_disk_leave_nothing_there() {
    let town = Town::new();
    if !can_mount(&town, "a_backup_and_a_move_onto_a_full_disk_leave_nothing_there") {
        return;
    }
    let (alice, _) = friends(&town);
    let (mut full, mut enough) = (0, 0);
    for kib in SIZES {
        let made = on_a_small_disk(&alice, kib, "$keep backup create --out small/b --backup-key a >&2; ls -A small");
        match says_no_room(&made) {
            true => full += usize::from(made.out.is_empty()),
            false => enough += usize::from(made.out == "b\n"),
        }
        assert!(made.out.is_empty() || made.out == "b\n", "{kib} KiB: {made:?}");
        if made.out.is_empty() {
            // The client goes on here, as if nothing had been: but for the one whose last bytes found no room.
            let moved = on_a_small_disk(
                &alice,
                kib,
                "$keep move out --out small/m --backup-key a >&2; ls -A small; $keep send tea x --out x.mls >/dev/null && rm x.mls",
            );
            assert_eq!(
                (moved.code, moved.out.as_str(), says_no_room(&moved)),
                (Some(0), "", true),
                "{kib} KiB: {moved:?}"
            );
        }
    }
    assert!(full >= 4 && enough >= 1, "{full} disks were full, {enough} were not");
}

#[test]
fn a_restoration_and_a_move_onto_a_full_disk_are_done_again_when_there_is_room() {
    let town = Town::new();
    if !can_mount(&town, "a_restoration_and_a_move_onto_a_full_disk_are_done_again_when_there_is_room") {
        return;
    }
    let (alice, _) = friends(&town);
    alice.ok(&["backup", "create", "--out", "1.backup", "--backup-key", "a"]);
    alice.ok(&["move", "out", "--out", "1.move", "--backup-key", "a"]);
    let adapters = std::env::var("MLS_KEEP_ADAPTER")
        .map_or_else(|_| ["sqlite", "file", "redb", "sled"].map(str::to_owned).to_vec(), |name| vec![name]);
    for adapter in adapters {
        let (mut full, mut enough) = (0, 0);
        for (at, kib) in SIZES.into_iter().enumerate() {
            let into = if at % 2 == 0 { "backup restore 1.backup" } else { "move in 1.move" };
            // What is there when it has failed is no client. With room it is made, whole.
            let script = format!(
                "export MLS_KEEP_STORE={adapter}:small/keep
                if $keep {into} --backup-key a >/dev/null; then echo enough; else
                    $keep clients 2>/dev/null
                    ls -A small | grep '^.mls-keep-'
                    mount -o remount,size=64m small
                    $keep {into} --backup-key a >/dev/null || echo failed again
                fi
                $keep verify | grep -c sound
                $keep history tea | wc -l"
            );
            let made = on_a_small_disk(&alice, kib, &script);
            let has_failed = says_no_room(&made);
            let expected = if has_failed { "" } else { "enough\n" };
            let lines = made.out.strip_prefix(expected).unwrap_or_else(|| panic!("{adapter}, {kib} KiB: {made:?}"));
            assert_eq!(lines, format!("1\n{MESSAGES}\n"), "{adapter}, {kib} KiB, {into}: {made:?}");
            *(if has_failed { &mut full } else { &mut enough }) += 1;
        }
        println!("{adapter}: {full} disks were full, {enough} were not");
        assert!(full >= 4, "{adapter}: {full} disks were full, {enough} were not");
    }
}
