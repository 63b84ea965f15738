//! What is refused before anything is written, and what is said.

// A test fails by panicking.
#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::error::Error as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{config, impatient};
use futures_executor::block_on;
use mls_keep_conformance::{Harness, async_trait, run_case};
use mls_keep_core::{ErrorKind, Key, Result, StorageBackend};
use mls_keep_s3::{Config, Credentials, OfTheService, S3Backend};
use s3_test_server::{BUCKET, Fault, Quirks, RacingServer, Server};

/// What the first write is told.
fn refusal(server: &Server, bucket: &str) -> (ErrorKind, String) {
    refusal_with(bucket, impatient(server.endpoint()))
}

fn refusal_with(bucket: &str, config: Config) -> (ErrorKind, String) {
    let backend = block_on(S3Backend::open(bucket, "", config)).expect("nobody is asked yet");
    let error = block_on(backend.save(&key("r/x"), Bytes::from_static(b"v"))).expect_err("it is refused");
    assert!(error.source().is_some_and(|source| source.is::<OfTheService>()), "{error:?}");
    let text = format!("{error} {error:?}");
    for secret in ["TESTKEYID", "TESTSECRET", "127.0.0.1", "Signature=", "Authorization"] {
        assert!(!text.contains(secret), "{secret} stands in {text}");
    }
    (error.kind(), text)
}

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

#[test]
fn a_service_that_looks_at_no_conditions() {
    for (quirks, word) in [
        (Quirks { ignores_if_match: true, ..Quirks::default() }, "If-Match"),
        (Quirks { ignores_if_none_match: true, ..Quirks::default() }, "If-None-Match"),
    ] {
        let server = Server::with(quirks);
        let (kind, text) = refusal(&server, BUCKET);
        assert_eq!(kind, ErrorKind::Invalid);
        assert!(text.contains(word), "{text}");
        assert!(server.keys().is_empty(), "the probe leaves nothing");
    }
}

/// A service that fails the probe, for whatever reason, can be read from: a keep that is there can be checked and copied.
#[test]
fn a_refused_service_can_be_read() {
    let server = Server::start();
    let backend = block_on(S3Backend::open(BUCKET, "", config(server.endpoint()))).unwrap();
    block_on(backend.save(&key("k"), Bytes::from_static(b"v"))).unwrap();
    server.refuse_conditions(true);
    let backend = block_on(S3Backend::open(BUCKET, "", config(server.endpoint()))).unwrap();
    assert_eq!(block_on(backend.load(&key("k"))).unwrap().as_deref(), Some(&b"v"[..]));
    assert_eq!(block_on(backend.list("")).unwrap(), [key("k")]);
    for refused in [block_on(backend.save(&key("k"), Bytes::new())), block_on(backend.delete(&key("k")))] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
    }
    assert_eq!(server.keys(), ["v/k"]);
}

/// Refusals of which a repetition changes nothing are said at once, with what to do; those that pass are repeated.
#[test]
fn what_a_service_says_is_passed_on() {
    const REGION: &[(&str, &str)] = &[("x-amz-bucket-region", "eu-north-1")];
    for (status, code, headers, kind, words) in [
        (301, "PermanentRedirect", REGION, ErrorKind::Invalid, "region eu-north-1"),
        (301, "PermanentRedirect", &[], ErrorKind::Invalid, "region or its endpoint"),
        (400, "AuthorizationHeaderMalformed", REGION, ErrorKind::Invalid, "region eu-north-1"),
        (403, "SignatureDoesNotMatch", &[], ErrorKind::Invalid, "does not accept the credentials"),
        (403, "InvalidAccessKeyId", &[], ErrorKind::Invalid, "does not accept the credentials"),
        (400, "ExpiredToken", &[], ErrorKind::Invalid, "does not accept the credentials"),
        (403, "RequestTimeTooSkewed", &[], ErrorKind::Invalid, "clocks"),
        (403, "AccessDenied", &[], ErrorKind::ReadOnly, "do not permit"),
        (403, "QuotaExceeded", &[], ErrorKind::NoSpace, "QuotaExceeded"),
        (400, "InvalidRequest", &[], ErrorKind::Invalid, "400 InvalidRequest"),
    ] {
        let server = Server::start();
        server.fail(1, Fault::Answer(status, code, headers), true);
        let start = Instant::now();
        let backend = block_on(S3Backend::open(BUCKET, "", config(server.endpoint()))).unwrap();
        let error = block_on(backend.load(&key("k"))).unwrap_err();
        assert_eq!(error.kind(), kind, "{code}: {error:?}");
        assert!(error.to_string().contains(words), "{code}: {error}");
        assert!(start.elapsed() < Duration::from_secs(5), "{code}: {:?}", start.elapsed());
        assert_eq!(server.take_requests().len(), 1, "{code} is not repeated");
    }
    for (status, code) in [(400, "RequestTimeout"), (503, "SlowDown"), (500, "UnknownError")] {
        let server = Server::start();
        server.fail(1, Fault::Answer(status, code, &[]), false);
        let backend = block_on(S3Backend::open(BUCKET, "", config(server.endpoint()))).unwrap();
        assert_eq!(block_on(backend.load(&key("k"))).unwrap(), None, "{code} passes");
    }
}

/// Https where http is spoken: no time is lost on it.
#[test]
fn a_service_that_speaks_no_tls() {
    let server = Server::start();
    let start = Instant::now();
    let (kind, text) = refusal_with(BUCKET, config(server.endpoint().replace("http:", "https:")));
    assert_eq!(kind, ErrorKind::Invalid, "{text}");
    assert!(text.contains("TLS"), "{text}");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn a_service_that_wants_no_quotes_is_served() {
    let server = Server::with(Quirks { bare_if_match: true, ..Quirks::default() });
    let backend = block_on(S3Backend::open(BUCKET, "", config(server.endpoint()))).unwrap();
    let root = Key::new("r/x").unwrap();
    block_on(backend.save(&root, Bytes::from_static(b"a"))).unwrap();
    block_on(backend.save(&root, Bytes::from_static(b"b"))).unwrap();
    assert_eq!(block_on(backend.load(&root)).unwrap().as_deref(), Some(&b"b"[..]));
}

#[test]
fn a_bucket_that_is_not_there() {
    assert_eq!(refusal(&Server::start(), "other").0, ErrorKind::NotFound);
}

#[test]
fn credentials_that_may_not_write() {
    let server = Server::start();
    server.fail(1, Fault::Status(403), true);
    assert_eq!(refusal(&server, BUCKET).0, ErrorKind::ReadOnly);
}

/// Also a probe waits no longer than one call may.
#[test]
fn a_service_that_is_not_there_is_unavailable_in_bounded_time() {
    let refused = Server::start().endpoint();
    let silent = Server::start();
    silent.fail(1, Fault::Silence, true);
    for (endpoint, bound) in [(refused, Duration::from_millis(1500)), (silent.endpoint(), Duration::from_millis(2500))]
    {
        let start = Instant::now();
        assert_eq!(refusal_with(BUCKET, impatient(endpoint)).0, ErrorKind::Unavailable);
        // The deadline, and where something may have been written one attempt each to finish and to delete it.
        assert!(start.elapsed() < bound, "{:?}", start.elapsed());
    }
}

#[test]
fn names_that_are_none() {
    let server = Server::start();
    for (bucket, prefix) in [("", ""), ("a b", ""), (BUCKET, "../x"), (BUCKET, "a//b")] {
        let error = block_on(S3Backend::open(bucket, prefix, config(server.endpoint()))).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{bucket} {prefix}");
    }
    assert!(server.take_requests().is_empty(), "nobody was asked");
}

#[test]
fn an_object_of_something_else_is_corrupt() {
    let server = Server::start();
    let backend = block_on(S3Backend::open(BUCKET, "p", config(server.endpoint()))).unwrap();
    server.tamper("p/v/k", b"something else");
    server.tamper("p/v/r/x", b"");
    for key in ["k", "r/x"] {
        let error = block_on(backend.load(&Key::new(key).unwrap())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{key}");
    }
    server.tamper("p/v/k", b"mlsk\x02 of a later version");
    assert_eq!(block_on(backend.load(&Key::new("k").unwrap())).unwrap_err().kind(), ErrorKind::UnsupportedVersion);
}

#[test]
fn stores_below_different_prefixes_do_not_meet() {
    let server = Server::start();
    let open = |prefix: &str| block_on(S3Backend::open(BUCKET, prefix, config(server.endpoint()))).unwrap();
    let (a, ab) = (open("a"), open("a/v"));
    block_on(a.save(&Key::new("k").unwrap(), Bytes::from_static(b"a"))).unwrap();
    assert!(block_on(ab.list("")).unwrap().is_empty());
    block_on(ab.save(&Key::new("v/k").unwrap(), Bytes::from_static(b"b"))).unwrap();
    assert_eq!(block_on(ab.list("")).unwrap().len(), 1);
}

/// s3s-fs, which compares first and writes later.
struct Racing(RacingServer);

#[async_trait]
impl Harness for Racing {
    async fn open(&self) -> Result<std::sync::Arc<dyn StorageBackend>> {
        let credentials = Credentials {
            access_key_id: "TESTKEYID".to_owned(),
            secret_access_key: "TESTSECRET".to_owned(),
            session_token: None,
        };
        let config = Config { credentials: Some(credentials), ..config(self.0.endpoint()) };
        Ok(std::sync::Arc::new(S3Backend::open(BUCKET, "", config).await?))
    }
}

/// The control: the look asks one question after the other and cannot see that this server is wrong; the suite can, with a
/// probability, which is printed (`-- --nocapture`).
#[test]
fn a_service_whose_conditional_writes_race_is_found() {
    const RUNS: usize = 5;
    let racing = || Racing(RacingServer::start("TESTKEYID", "TESTSECRET"));
    let server = racing();
    block_on(block_on(server.open()).unwrap().save(&key("k"), Bytes::new())).expect("the look sees nothing wrong");
    for case in [
        "concurrency::one_winner_among_backends",
        "concurrency::increments_among_backends_add_up",
        "keep::racing_writers_on_two_backends",
    ] {
        let fails = || std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run_case(case, &racing()))).is_err();
        let found = (0..RUNS).filter(|_| fails()).count();
        println!("{case}: found in {found} of {RUNS} runs");
        assert!(found > 0, "{case}");
    }
}

/// A backend, and a call that is given up, inside of somebody else's runtime.
#[test]
fn it_can_be_dropped_inside_of_a_runtime() {
    let server = Server::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let backend = S3Backend::open(BUCKET, "", config(server.endpoint())).await.unwrap();
        backend.save(&Key::new("k").unwrap(), Bytes::from_static(b"v")).await.unwrap();
        drop(backend);
        let backend = S3Backend::open(BUCKET, "", config(server.endpoint())).await.unwrap();
        server.fail(1, Fault::Silence, true);
        let key = Key::new("k").unwrap();
        let given_up = tokio::time::timeout(Duration::from_millis(50), backend.load(&key)).await;
        assert!(given_up.is_err(), "nobody answers");
    });
}
