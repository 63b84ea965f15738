//! [`RacingServer`]: s3s-fs, whose conditional writes are not atomic.

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tempfile::TempDir;

use crate::{BUCKET, Running};

/// A server that compares, and writes later: two writers with the same condition can both be told that they won. The suite
/// has to find that.
pub struct RacingServer {
    running: Running,
    _directory: TempDir,
}

impl RacingServer {
    /// Starts it, for requests that are signed with these credentials.
    #[must_use]
    pub fn start(access_key: &str, secret_key: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join(BUCKET)).unwrap();
        let files = s3s_fs::FileSystem::new(directory.path()).unwrap();
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(access_key, secret_key));
        let service = builder.build();
        let running = Running::start(move |listener| async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let service = service.clone();
                tokio::spawn(async move {
                    let connection = auto::Builder::new(TokioExecutor::new());
                    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { running, _directory: directory }
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.running.endpoint()
    }
}
