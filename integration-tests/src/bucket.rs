//! Stores in a bucket: of a server of the test's own, with what can go wrong with a single request to it, and of a real one.

use std::time::Duration;

use mls_keep::{Entropy, SystemEntropy};
use mls_keep_conformance::fault::{Fault, FaultPoint, Lasting};
use mls_keep_s3::{Config, Credentials, Location, S3Backend};
use s3_test_server::{BUCKET, Server};

use crate::wait::block_on;

/// Opens the store in the bucket of `server`. It gives up soon.
///
/// # Panics
/// If the configuration is wrong.
#[must_use]
pub fn open(server: &Server) -> S3Backend {
    let credentials =
        Credentials { access_key_id: "id".to_owned(), secret_access_key: "secret".to_owned(), session_token: None };
    let config = Config {
        endpoint: Some(server.endpoint()),
        region: Some("us-east-1".to_owned()),
        credentials: Some(credentials),
        attempt_timeout: Duration::from_secs(1),
        deadline: Duration::from_secs(2),
        ..Config::default()
    };
    block_on(S3Backend::open(BUCKET, "", config)).unwrap()
}

/// A place of its own at the service that `with-s3.sh` has started, with credentials from the environment.
///
/// # Panics
/// If none is named.
#[must_use]
pub fn of_the_service() -> Location {
    let url = std::env::var("MLS_KEEP_TEST_S3").expect("with-s3.sh sets MLS_KEEP_TEST_S3");
    let mut location: Location = url.parse().unwrap();
    let mut mark = [0; 8];
    SystemEntropy.fill(&mut mark).unwrap();
    location.prefix = format!("{}/{:016x}", location.prefix, u64::from_be_bytes(mark));
    location
}

/// Lets the request that `point` names meet a cut connection, and all later ones a refusal if that lasts: for the bucket that
/// is the end of the process.
///
/// # Panics
/// If it is a fault that no request can meet.
pub fn arm(server: &Server, point: FaultPoint) {
    let fault = match point.fault {
        Fault::BeforeApplying => s3_test_server::Fault::Reset,
        Fault::AfterApplying => s3_test_server::Fault::AppliedThenReset,
        other => panic!("a request cannot meet {other:?}"),
    };
    let then = (point.lasting == Lasting::Sticky).then_some(s3_test_server::Fault::Status(403));
    server.fail_then(usize::try_from(point.at).unwrap_or(usize::MAX), fault, then);
}
