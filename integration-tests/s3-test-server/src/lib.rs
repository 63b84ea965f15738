//! An S3 server in memory with atomic conditional writes, and a proxy that fails as scripted.
