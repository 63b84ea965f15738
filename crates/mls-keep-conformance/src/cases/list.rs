//! Listing, whole and in pages.

use mls_keep_core::{Key, StorageBackend};

use crate::harness::Harness;
use crate::support::{key, keys, names, open, reopen, save, swap, value};

async fn fill(backend: &dyn StorageBackend, all: &[&str]) {
    for name in all {
        save(backend, name, &value(name)).await;
    }
}

async fn page(backend: &dyn StorageBackend, prefix: &str, after: Option<&str>, limit: usize) -> Vec<String> {
    let after = after.map(key);
    let page = backend.list_page(prefix, after.as_ref(), limit).await.expect("listing a page succeeds");
    page.iter().map(Key::to_string).collect()
}

/// An empty store lists nothing, whatever the prefix.
pub async fn empty_store(harness: &dyn Harness) {
    let backend = open(harness).await;
    for prefix in ["", "a", "n/"] {
        assert_eq!(names(&*backend, prefix).await, [""; 0], "{prefix:?}");
        assert_eq!(page(&*backend, prefix, None, 10).await, [""; 0], "{prefix:?}");
    }
}

/// Keys are listed in the order of their bytes, not of a language, a number or a directory tree.
pub async fn byte_order(harness: &dyn Harness) {
    let backend = open(harness).await;
    let sorted = ["-", "0", "10", "9", "_", "a", "a-b", "a.b", "a/b", "a/b-c", "a/b/c", "a/c", "a0", "a_", "aa", "b"];
    let mut shuffled = sorted;
    shuffled.reverse();
    shuffled.swap(2, 9);
    fill(&*backend, &shuffled).await;
    assert_eq!(names(&*backend, "").await, sorted);
    assert_eq!(names(&*backend, "a").await, sorted[5..15], "with a prefix");
}

/// A prefix matches bytes, not segments, and a key that is the prefix itself is listed.
pub async fn prefix_is_exact(harness: &dyn Harness) {
    let backend = open(harness).await;
    fill(&*backend, &["n", "n-", "n/a", "n/a/b", "n/ab", "n/b", "n0", "na", "m", "o", "x/n/a"]).await;
    for (prefix, wanted) in [
        ("n", &["n", "n-", "n/a", "n/a/b", "n/ab", "n/b", "n0", "na"][..]),
        ("n/", &["n/a", "n/a/b", "n/ab", "n/b"]),
        ("n/a", &["n/a", "n/a/b", "n/ab"]),
        ("n/a/", &["n/a/b"]),
        ("n/a/b", &["n/a/b"]),
        ("x", &["x/n/a"]),
    ] {
        assert_eq!(names(&*backend, prefix).await, wanted, "prefix {prefix:?}");
    }
}

/// The empty prefix lists everything.
pub async fn empty_prefix(harness: &dyn Harness) {
    let backend = open(harness).await;
    let all = ["0", "a/b/c/d/e", "root/1", "z"];
    fill(&*backend, &all).await;
    assert_eq!(names(&*backend, "").await, all);
}

/// A prefix that nothing matches lists nothing, also when it could not begin a key.
pub async fn no_match(harness: &dyn Harness) {
    let backend = open(harness).await;
    fill(&*backend, &["n/a", "n/b"]).await;
    let long = "n".repeat(500);
    for prefix in ["n/c", "n/aa", "m", "o", "n//", "/", "N", "n/A", "..", "%", "n/*", "n_a", "ö", "\u{10ffff}", &long]
    {
        assert_eq!(names(&*backend, prefix).await, [""; 0], "prefix {prefix:?}");
        assert_eq!(page(&*backend, prefix, None, 5).await, [""; 0], "prefix {prefix:?}");
    }
}

/// Prefixes that end in the smallest and the largest character of a key.
pub async fn prefix_at_the_edges(harness: &dyn Harness) {
    let backend = open(harness).await;
    fill(&*backend, &["-", "--", "-z", "z", "z-", "zz", "zzz"]).await;
    assert_eq!(names(&*backend, "-").await, ["-", "--", "-z"]);
    assert_eq!(names(&*backend, "z").await, ["z", "z-", "zz", "zzz"]);
    assert_eq!(names(&*backend, "zz").await, ["zz", "zzz"]);
}

/// Each key is listed once, however often it was saved; deleted keys are not.
pub async fn follows_changes(harness: &dyn Harness) {
    let backend = open(harness).await;
    fill(&*backend, &["a", "b", "a", "c", "a"]).await;
    assert_eq!(names(&*backend, "").await, ["a", "b", "c"]);
    backend.delete(&key("b")).await.expect("deleting succeeds");
    assert_eq!(names(&*backend, "").await, ["a", "c"]);
    let mut commit = swap(&key("root"), None, Some(&value("r")));
    commit.puts = vec![(key("d"), value("d"))];
    commit.deletes = keys(&["a"]);
    backend.commit(commit).await.expect("the commit succeeds");
    assert_eq!(names(&*backend, "").await, ["c", "d", "root"]);
}

/// Pages of every size cover everything exactly once and in order, and only the last is short.
pub async fn pages_cover_everything(harness: &dyn Harness) {
    let backend = open(harness).await;
    let all = ["n", "n/a", "n/a/b", "n/ab", "n/b", "n/b0", "n/c", "n/c/a", "n/d"];
    fill(&*backend, &all).await;
    fill(&*backend, &["m", "o", "n0"]).await;
    let inside = all.get(1..).unwrap_or_default();
    for limit in 1..=inside.len() + 1 {
        let mut seen: Vec<String> = Vec::new();
        loop {
            let page = page(&*backend, "n/", seen.last().map(String::as_str), limit).await;
            assert!(page.len() <= limit, "limit {limit}: a page has {} keys", page.len());
            let last = page.len() < limit;
            seen.extend(page);
            if last {
                break;
            }
            assert!(seen.len() <= inside.len(), "limit {limit}: too many keys: {seen:?}");
        }
        assert_eq!(seen, inside, "limit {limit}");
    }
}

/// A page may begin after a key that was never there, or that was deleted meanwhile.
pub async fn page_after_an_absent_key(harness: &dyn Harness) {
    let backend = open(harness).await;
    fill(&*backend, &["n/a", "n/c", "n/e", "n/g"]).await;
    assert_eq!(page(&*backend, "n/", None, 2).await, ["n/a", "n/c"]);
    backend.delete(&key("n/c")).await.expect("deleting succeeds");
    assert_eq!(page(&*backend, "n/", Some("n/c"), 2).await, ["n/e", "n/g"], "after a deleted key");
    assert_eq!(page(&*backend, "n/", Some("n/d"), 1).await, ["n/e"], "after a key that was never there");
    assert_eq!(page(&*backend, "n/", Some("n/e/z"), 5).await, ["n/g"], "after a key below another one");
    assert_eq!(page(&*backend, "n/", Some("n/g"), 5).await, [""; 0], "after the last key");
}

/// A page that begins outside of the prefix: before it everything is listed, behind it nothing.
pub async fn page_after_a_key_outside(harness: &dyn Harness) {
    let backend = open(harness).await;
    fill(&*backend, &["a", "n/a", "n/b", "z"]).await;
    assert_eq!(page(&*backend, "n/", Some("a"), 9).await, ["n/a", "n/b"]);
    assert_eq!(page(&*backend, "n/", Some("n"), 9).await, ["n/a", "n/b"]);
    assert_eq!(page(&*backend, "n/", Some("n0"), 9).await, [""; 0]);
    assert_eq!(page(&*backend, "n/", Some("z"), 9).await, [""; 0]);
}

/// The smallest and the largest limit.
pub async fn extreme_limits(harness: &dyn Harness) {
    let backend = open(harness).await;
    fill(&*backend, &["a", "b", "c"]).await;
    assert_eq!(page(&*backend, "", None, 0).await, [""; 0], "limit 0");
    assert_eq!(page(&*backend, "", None, usize::MAX).await, ["a", "b", "c"], "the largest limit");
    assert_eq!(page(&*backend, "", Some("a"), usize::MAX).await, ["b", "c"], "the largest limit after a key");
}

/// More keys than a server gives in one answer (S3: 1000) are all listed.
pub async fn many_keys(harness: &dyn Harness) {
    let backend = open(harness).await;
    let all: Vec<Key> = (0..1100).map(|index| key(&format!("n/{index:04}"))).collect();
    let mut commit = swap(&key("root"), None, Some(&value("r")));
    commit.puts = all.iter().map(|key| (key.clone(), value("x"))).collect();
    backend.commit(commit).await.expect("the commit succeeds");
    assert!(backend.list("n/").await.expect("listing succeeds") == all, "all keys are listed, once and in order");
    let page = backend.list_page("n/", all.get(5), 1050).await.expect("listing a page succeeds");
    assert!(Some(page.as_slice()) == all.get(6..1056), "a page may be larger than a server's answer");
}

/// A caller that deletes each page before asking for the next one, as a collector does, sees every key once.
pub async fn pages_while_deleting(harness: &dyn Harness) {
    let backend = open(harness).await;
    let all: Vec<String> = (0..40).map(|index| format!("n/{index:02}")).collect();
    fill(&*backend, &all.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut seen: Vec<String> = Vec::new();
    loop {
        let page = page(&*backend, "n/", seen.last().map(String::as_str), 7).await;
        for name in &page {
            backend.delete(&key(name)).await.expect("deleting succeeds");
        }
        let last = page.len() < 7;
        seen.extend(page);
        if last || seen.len() > all.len() {
            break;
        }
    }
    assert_eq!(seen, all, "every key once, though those before it are gone");
    assert_eq!(names(&*backend, "").await, [""; 0]);
}

/// A loose listing shows all that its own backend has written and loaded, and nothing that it has deleted.
pub async fn loosely(harness: &dyn Harness) {
    let mut backend = open(harness).await;
    let (root, first, second) = (key("r/x"), value("first"), value("second"));
    let loose = async |backend: &dyn StorageBackend, wanted: &[&str]| {
        let listed = backend.list_loosely("n/x/").await.expect("listing loosely succeeds");
        assert_eq!(listed, keys(wanted));
        assert_eq!(names(backend, "n/x/").await, wanted);
    };
    let mut commit = swap(&root, None, Some(&first));
    commit.puts = ["n/x/a", "n/x/b"].map(|name| (key(name), value(name))).into();
    backend.commit(commit).await.expect("the commit succeeds");
    loose(&*backend, &["n/x/a", "n/x/b"]).await;
    let mut commit = swap(&root, Some(&first), Some(&second));
    commit.puts = vec![(key("n/x/c"), value("c"))];
    commit.deletes = keys(&["n/x/a"]);
    backend.commit(commit).await.expect("the commit succeeds");
    save(&*backend, "n/x/d", &value("d")).await;
    backend = reopen(harness, backend).await;
    loose(&*backend, &["n/x/b", "n/x/c", "n/x/d"]).await;
    backend.delete(&key("n/x/b")).await.expect("deleting succeeds");
    loose(&*backend, &["n/x/c", "n/x/d"]).await;
}
