//! One key at a time: load, save, delete.

use bytes::Bytes;

use crate::harness::Harness;
use crate::support::{key, load, names, noise, open, save, value};

/// A key that was never saved has no value, and that is no error.
pub async fn absent_is_none(harness: &dyn Harness) {
    let backend = open(harness).await;
    assert_eq!(load(&*backend, "nothing").await, None, "a key that was never saved");
    save(&*backend, "something", &value("x")).await;
    assert_eq!(load(&*backend, "somethin").await, None, "a key that is the start of a saved one");
    assert_eq!(load(&*backend, "something/more").await, None, "a key below a saved one");
}

/// What is saved is loaded.
pub async fn save_then_load(harness: &dyn Harness) {
    let backend = open(harness).await;
    save(&*backend, "a", &value("one")).await;
    save(&*backend, "b", &value("two")).await;
    assert_eq!(load(&*backend, "a").await, Some(value("one")));
    assert_eq!(load(&*backend, "b").await, Some(value("two")));
}

/// A save replaces the whole value, also by a shorter one.
pub async fn save_replaces(harness: &dyn Harness) {
    let backend = open(harness).await;
    for (seed, len) in [(1, 10), (2, 5000), (3, 3), (4, 100_000), (5, 4096), (6, 0), (7, 1)] {
        let data = noise(seed, len);
        save(&*backend, "k", &data).await;
        assert_eq!(load(&*backend, "k").await, Some(data), "after replacing it by {len} bytes");
    }
    assert_eq!(names(&*backend, "").await, ["k"], "replacing adds no key");
}

/// Saving the same value again changes nothing.
pub async fn save_twice(harness: &dyn Harness) {
    let backend = open(harness).await;
    save(&*backend, "k", &value("same")).await;
    save(&*backend, "k", &value("same")).await;
    assert_eq!(load(&*backend, "k").await, Some(value("same")));
    assert_eq!(names(&*backend, "").await, ["k"]);
}

/// A deleted key has no value, and only that one.
pub async fn delete_removes(harness: &dyn Harness) {
    let backend = open(harness).await;
    save(&*backend, "a", &value("one")).await;
    save(&*backend, "ab", &value("two")).await;
    backend.delete(&key("a")).await.expect("deleting succeeds");
    assert_eq!(load(&*backend, "a").await, None, "the deleted key");
    assert_eq!(load(&*backend, "ab").await, Some(value("two")), "another key");
    assert_eq!(names(&*backend, "").await, ["ab"]);
}

/// Deleting what is absent is `Ok`, on an empty store, a second time, and below or above a key that is there.
pub async fn delete_of_absent_is_ok(harness: &dyn Harness) {
    let backend = open(harness).await;
    backend.delete(&key("never")).await.expect("deleting from an empty store succeeds");
    save(&*backend, "a/b", &value("x")).await;
    for name in ["a", "a/b/c", "a/c"] {
        backend.delete(&key(name)).await.expect("deleting an absent key succeeds");
    }
    assert_eq!(load(&*backend, "a/b").await, Some(value("x")), "deleting its neighbours leaves it alone");
    for _ in 0..2 {
        backend.delete(&key("a/b")).await.expect("deleting twice succeeds");
    }
    assert_eq!(load(&*backend, "a/b").await, None);
}

/// A deleted key can be saved again, and nothing of the old value returns.
pub async fn save_after_delete(harness: &dyn Harness) {
    let backend = open(harness).await;
    save(&*backend, "k", &noise(1, 9000)).await;
    backend.delete(&key("k")).await.expect("deleting succeeds");
    save(&*backend, "k", &value("new")).await;
    assert_eq!(load(&*backend, "k").await, Some(value("new")));
}

/// The empty value is a value: not absence.
pub async fn empty_value(harness: &dyn Harness) {
    let backend = open(harness).await;
    save(&*backend, "k", &Bytes::new()).await;
    assert_eq!(load(&*backend, "k").await, Some(Bytes::new()), "an empty value is not an absent one");
    assert_eq!(names(&*backend, "").await, ["k"], "a key with an empty value is listed");
    backend.delete(&key("k")).await.expect("deleting succeeds");
    assert_eq!(load(&*backend, "k").await, None);
}

/// Every byte is kept as it is: zeros, line ends, what is not UTF-8.
pub async fn every_byte(harness: &dyn Harness) {
    let backend = open(harness).await;
    let all: Bytes = (0..=u8::MAX).chain((0..=u8::MAX).rev()).collect();
    let zeros = Bytes::from(vec![0; 5000]);
    let text = value("\u{feff}line\r\nline\n\0tail \n");
    for (name, data) in [("all", &all), ("zeros", &zeros), ("text", &text)] {
        save(&*backend, name, data).await;
        assert_eq!(load(&*backend, name).await.as_ref(), Some(data), "{name}");
    }
}

/// Values of many lengths around the sizes of pages and blocks.
pub async fn many_lengths(harness: &dyn Harness) {
    let backend = open(harness).await;
    let lengths = [1, 2, 511, 512, 513, 1023, 4095, 4096, 4097, 8191, 8192, 16_384, 16_385, 65_535, 65_536, 65_537];
    for (seed, len) in (1..).zip(lengths) {
        save(&*backend, &format!("len/{len}"), &noise(seed, len)).await;
    }
    for (seed, len) in (1..).zip(lengths) {
        let found = load(&*backend, &format!("len/{len}")).await;
        assert!(found == Some(noise(seed, len)), "a value of {len} bytes comes back as it was saved");
    }
}

/// Each allowed character, at the start, in the middle and at the end of a key.
pub async fn every_allowed_character(harness: &dyn Harness) {
    let backend = open(harness).await;
    let mut saved = Vec::new();
    for c in ('a'..='z').chain('0'..='9').chain(['.', '_', '-']) {
        for name in [format!("{c}x"), format!("x{c}x"), format!("x{c}"), format!("s/{c}x")] {
            save(&*backend, &name, &value(&name)).await;
            saved.push(name);
        }
    }
    saved.sort();
    saved.dedup();
    for name in &saved {
        assert_eq!(load(&*backend, name).await, Some(value(name)), "{name:?}");
    }
    assert_eq!(names(&*backend, "").await, saved);
}

/// Keys of 1 and of 128 bytes, the latter in one segment and in as many as fit.
pub async fn shortest_and_longest_keys(harness: &dyn Harness) {
    let backend = open(harness).await;
    let segments = format!("{}xx", "x/".repeat(63));
    let longest = ["k".repeat(128), "k".repeat(127), format!("{}l", "k".repeat(127)), segments];
    for name in ["a", "0", "_", "-"].into_iter().chain(longest.iter().map(String::as_str)) {
        save(&*backend, name, &value(name)).await;
    }
    for name in ["a", "0", "_", "-"].into_iter().chain(longest.iter().map(String::as_str)) {
        assert_eq!(load(&*backend, name).await, Some(value(name)), "a key of {} bytes", name.len());
    }
}

/// A key may be the start of another one, with and without `/` between.
pub async fn keys_that_begin_alike(harness: &dyn Harness) {
    let backend = open(harness).await;
    let all = ["a", "a-b", "a.b", "a/b", "a/b/c", "a/b0", "a0", "aa", "ab"];
    for name in all.iter().rev() {
        save(&*backend, name, &value(name)).await;
    }
    for name in all {
        assert_eq!(load(&*backend, name).await, Some(value(name)), "{name:?}");
    }
    backend.delete(&key("a/b")).await.expect("deleting succeeds");
    assert_eq!(load(&*backend, "a").await, Some(value("a")), "the key above");
    assert_eq!(load(&*backend, "a/b/c").await, Some(value("a/b/c")), "the key below");
}

/// Keys that differ in one character only are different keys.
pub async fn keys_that_differ_in_one_character(harness: &dyn Harness) {
    let backend = open(harness).await;
    let base = "n/0123456789abcdef";
    let mut all = vec![base.to_owned()];
    for position in 2..base.len() {
        let mut name = base.to_owned();
        name.replace_range(position..=position, "z");
        all.push(name);
    }
    for name in &all {
        save(&*backend, name, &value(name)).await;
    }
    for name in &all {
        assert_eq!(load(&*backend, name).await, Some(value(name)), "{name:?}");
    }
}

/// Names that mean something to a file system or a shell are ordinary keys.
pub async fn names_with_a_meaning_elsewhere(harness: &dyn Harness) {
    let backend = open(harness).await;
    let mut all = [
        "con", "nul", "aux", "com1", "lock", ".lock", ".tmp", "a.tmp", "a.lock", "keep-wal", ".hidden", "...", "..a",
        "a..", "-rf", "--", "_", "index", "keep", "0", "00", "a/.tmp/b", "tmp/lock",
    ];
    for name in all {
        save(&*backend, name, &value(name)).await;
    }
    for name in all {
        assert_eq!(load(&*backend, name).await, Some(value(name)), "{name:?}");
    }
    all.sort_unstable();
    assert_eq!(names(&*backend, "").await, all);
}
