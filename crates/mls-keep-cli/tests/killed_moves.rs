//! The program, killed at every system call with which it writes, while it moves a client or restores one: never two that can
//! send, and never none while the archive is there.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Person, Ran, Town, names};

/// Adapters that keep on a local disk, as they stand in a URL; or the one that `MLS_KEEP_ADAPTER` names.
fn adapters() -> Vec<String> {
    let all = || ["sqlite", "file", "redb", "sled"].map(str::to_owned).to_vec();
    std::env::var("MLS_KEEP_ADAPTER").map_or_else(|_| all(), |name| vec![name])
}

/// What makes something durable, or gives it its name: in the short form, kills are at these calls only.
const DECISIVE: [&str; 4] = ["fsync", "fdatasync", "rename", "linkat,renameat2"];

/// What else writes, in the form that `MLS_KEEP_CRASH=long` asks for. strace counts the calls of each name by itself.
const OTHERS: [&str; 6] = ["write", "pwrite64", "ftruncate", "fallocate", "unlink", "mkdir"];

fn calls() -> impl Iterator<Item = &'static str> {
    let is_long = std::env::var_os("MLS_KEEP_CRASH").is_some_and(|form| form == "long");
    DECISIVE.into_iter().chain(OTHERS.into_iter().filter(move |_| is_long))
}

/// The archive's key, in the directory of each person.
const KEY: [&str; 2] = ["--backup-key", "a"];

/// What is run, in a directory of its own that is copied for each kill.
struct Scene<'t> {
    town: &'t Town,
    adapter: &'t str,
    /// What there is before: a client of alice, or an archive of her.
    before: Person,
    kills: usize,
}

/// Whether children can be traced. If not, says that `test` is not run; where `MLS_KEEP_CRASH_REQUIRED` is set it fails.
fn can_trace(test: &str) -> bool {
    let traced = Command::new("strace").args(["-qq", "-e", "trace=none", "true"]).stderr(Stdio::null()).status();
    let can = traced.is_ok_and(|status| status.success());
    if !can {
        assert!(std::env::var_os("MLS_KEEP_CRASH_REQUIRED").is_none(), "{test} needs strace and the right to trace");
        std::io::stderr().write_all(format!("NOT RUN: {test}: no strace, or no right to trace\n").as_bytes()).unwrap();
    }
    can
}

/// A person of this directory and store: bob and alice have stores of different kinds.
fn person(dir: &Path, name: &str) -> Person {
    Person { dir: dir.to_path_buf(), name: name.to_owned() }
}

fn on<'a>(store: &'a str, args: &[&'a str]) -> Vec<&'a str> {
    [&["--store", store], args].concat()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

impl Scene<'_> {
    /// Kills `args` at every call that writes, each time on a copy of the scene, and shows what is left to `check`. Ends with
    /// one that was not killed.
    fn kill_everywhere(&mut self, args: &[&str], check: &mut dyn FnMut(&str, &Person)) {
        for call in calls() {
            for at in 1.. {
                let dir = self.town.path().join("killed");
                copy(&self.before.dir, &dir);
                let alice = person(&dir, "alice");
                let (was_killed, was_hit) = self.kill_at(&alice, args, call, at);
                let case = format!("{}: {args:?} at {call} {at}", self.adapter);
                check(&case, &alice);
                fs::remove_dir_all(&dir).unwrap();
                self.kills += usize::from(was_killed);
                if !was_killed && !was_hit {
                    break;
                }
            }
        }
    }

    /// Whether it was killed, and whether there was such a call at all.
    fn kill_at(&self, alice: &Person, args: &[&str], call: &str, at: usize) -> (bool, bool) {
        let program = alice.command(args);
        let log = self.town.path().join("log");
        // Ends strace and the program together, if they hang: sled's threads may.
        let mut traced = Command::new("timeout");
        traced.args(["--signal=KILL", "60", "strace", "-f", "-qq", "-e", "signal=none", "-e"]);
        traced.arg(format!("trace={call}")).arg("-e").arg(format!("inject={call}:signal=SIGKILL:when={at}"));
        traced.arg("-o").arg(&log).arg(program.get_program()).args(program.get_args());
        traced.current_dir(&alice.dir).stdin(Stdio::null());
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => traced.env(name, value),
                None => traced.env_remove(name),
            };
        }
        let output = traced.output().unwrap();
        // strace ends as the program does, by the signal, and timeout says so by its code.
        let was_killed = output.status.code().is_none_or(|code| code == 128 + 9);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(was_killed || output.status.success(), "{args:?} at {call} {at}: {:?} {text}", output.status);
        let was_hit = fs::read_to_string(&log).unwrap_or_default().contains("(INJECTED)");
        (was_killed, was_hit)
    }

    fn url(&self, name: &str) -> String {
        format!("{}:{name}", self.adapter)
    }
}

/// Bob as he was before, who hears everything that is sent after a kill: a key that is used twice he refuses.
struct Bob(Person);

impl Bob {
    fn new(town: &Town) -> Self {
        let dir = town.path().join("listening");
        drop(fs::remove_dir_all(&dir));
        copy(&town.path().join("bob"), &dir);
        Self(person(&dir, "bob"))
    }

    /// Whether alice can send from `store`. What she sends he must read.
    fn hears(&self, alice: &Person, store: &str) -> bool {
        let sent: Ran = alice.run(&on(store, &["send", "tea", "it is me", "--out", "sent.mls"]));
        if sent.code != Some(0) {
            let refused = ["(MovedOut)", "(NeedsRejoin)", "(NotFound)"].iter().any(|kind| sent.err.contains(kind));
            assert!(refused, "{store}: {sent:?}");
            return false;
        }
        fs::rename(alice.dir.join("sent.mls"), self.0.dir.join("sent.mls")).unwrap();
        let heard = self.0.run(&["receive", "sent.mls"]);
        let printed = (heard.code, heard.out.as_str(), heard.err.as_str());
        assert_eq!(printed, (Some(0), "tea\talice\tit is me\n", ""), "{store}");
        true
    }
}

/// Alice with a client on a store of this kind, in the group `tea` with bob; and the key of archives.
fn friends(town: &Town, adapter: &str) -> Person {
    let (alice, _) = town.friends();
    alice.ok(&["keygen", "a"]);
    alice.ok(&["copy", "sqlite:keep.db", &format!("{adapter}:phone")]);
    fs::remove_file(alice.dir.join("keep.db")).unwrap();
    alice
}

/// Runs `test` on a scene of [`friends`] for each adapter. `name` is what is said if it cannot run.
fn on_each_adapter(name: &str, test: impl Fn(&mut Scene<'_>)) {
    if !can_trace(name) {
        return;
    }
    for adapter in adapters() {
        let town = Town::new();
        let before = friends(&town, &adapter);
        test(&mut Scene { town: &town, adapter: &adapter, before, kills: 0 });
    }
}

fn archives_of(alice: &Person) -> Vec<String> {
    names(&alice.dir).into_iter().filter(|name| name.ends_with(".move")).collect()
}

fn is_whole(alice: &Person, archive: &str) -> bool {
    alice.run(&[&["backup", "verify", archive][..], &KEY].concat()).code == Some(0)
}

#[test]
fn a_move_out_that_is_killed_anywhere_leaves_one_client_that_can_send() {
    on_each_adapter("a_move_out_that_is_killed_anywhere_leaves_one_client_that_can_send", |scene| {
        let (town, adapter) = (scene.town, scene.adapter);
        let (phone, tablet) = (scene.url("phone"), scene.url("tablet"));
        let mut outcomes = std::collections::BTreeSet::new();
        let out = [&on(&phone, &["move", "out", "--out", "1.move"])[..], &KEY].concat();
        scene.kill_everywhere(&out, &mut |case, alice| {
            let mut archives = archives_of(alice);
            assert!(archives.iter().all(|archive| is_whole(alice, archive)), "{case}: half an archive under its name");
            let bob = Bob::new(town);
            let here = bob.hears(alice, &phone);
            assert!(!here || archives.is_empty(), "{case}: both can send");
            outcomes.insert((here, archives.is_empty()));
            if here {
                return;
            }
            if archives.is_empty() {
                alice.ok(&[&on(&phone, &["move", "out", "--again", "--out", "2.move"])[..], &KEY].concat());
                archives.push("2.move".to_owned());
            }
            alice.ok(&[&on(&tablet, &["move", "in", &archives[0]])[..], &KEY].concat());
            assert!(bob.hears(alice, &tablet), "{case}: none can send");
            assert!(!bob.hears(alice, &phone), "{case}: both can send");
        });
        println!("{adapter}: moved out, {} kills", scene.kills);
        assert!(scene.kills >= 4, "{adapter}: {} kills are too few", scene.kills);
        assert!(outcomes.contains(&(true, true)) && outcomes.contains(&(false, false)), "{adapter}: {outcomes:?}");
    });
}

#[test]
fn a_move_in_that_is_killed_anywhere_is_done_or_can_be_done_again() {
    on_each_adapter("a_move_in_that_is_killed_anywhere_is_done_or_can_be_done_again", |scene| {
        let (town, adapter) = (scene.town, scene.adapter);
        let (phone, tablet) = (scene.url("phone"), scene.url("tablet"));
        scene.before.ok(&[&on(&phone, &["move", "out", "--out", "1.move"])[..], &KEY].concat());
        let into = [&on(&tablet, &["move", "in", "1.move"])[..], &KEY].concat();
        scene.kill_everywhere(&into, &mut |case, alice| {
            let bob = Bob::new(town);
            let is_there = bob.hears(alice, &tablet);
            let again = alice.run(&into);
            assert_eq!(again.code, Some(i32::from(is_there)), "{case}: {again:?}");
            assert!(!is_there || again.err.contains("(Conflict)"), "{case}: {again:?}");
            assert!(bob.hears(alice, &tablet) && !bob.hears(alice, &phone), "{case}");
        });
        println!("{adapter}: moved in, {} kills", scene.kills);
        assert!(scene.kills >= 4, "{adapter}: {} kills are too few", scene.kills);
    });
}

#[test]
fn a_restoration_that_is_killed_anywhere_is_done_or_can_be_done_again_and_sends_nothing() {
    on_each_adapter("a_restoration_that_is_killed_anywhere_is_done_or_can_be_done_again_and_sends_nothing", |scene| {
        let (town, adapter) = (scene.town, scene.adapter);
        let (phone, tablet) = (scene.url("phone"), scene.url("tablet"));
        scene.before.ok(&on(&phone, &["send", "tea", "before", "--out", "1.mls"]));
        scene.before.ok(&[&on(&phone, &["backup", "create", "--out", "1.backup"])[..], &KEY].concat());
        let restored = |alice: &Person, store: &str| {
            assert!(!Bob::new(town).hears(alice, store), "{store}: a restored client sends");
            alice.ok(&on(store, &["history", "tea"])) == "alice\tbefore\n"
                && alice.ok(&on(store, &["group", "waiting"])).starts_with("tea\t")
        };
        let sound = |alice: &Person, store: &str| alice.ok(&on(store, &["verify"])).contains("sound");

        let restore = [&on(&tablet, &["backup", "restore", "1.backup"])[..], &KEY].concat();
        scene.kill_everywhere(&restore, &mut |case, alice| {
            let again = alice.run(&restore);
            assert!(again.code == Some(0) || again.err.contains("(Conflict)"), "{case}: {again:?}");
            assert!(restored(alice, &tablet) && sound(alice, &tablet), "{case}");
        });

        // Over the live client: that one, or the restored one.
        let mut outcomes = std::collections::BTreeSet::new();
        let replace = [&on(&phone, &["backup", "restore", "1.backup", "--replace"])[..], &KEY].concat();
        scene.kill_everywhere(&replace, &mut |case, alice| {
            let is_old = Bob::new(town).hears(alice, &phone);
            assert!(is_old || restored(alice, &phone), "{case}");
            assert!(sound(alice, &phone), "{case}");
            outcomes.insert(is_old);
        });
        println!("{adapter}: restored, {} kills", scene.kills);
        assert!(scene.kills >= 8 && outcomes.len() == 2, "{adapter}: {} kills, {outcomes:?}", scene.kills);
    });
}
