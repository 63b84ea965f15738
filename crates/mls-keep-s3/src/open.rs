//! From a configuration to a client of the SDK, and from what was typed to a bucket and a prefix.

use aws_config::BehaviorVersion;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    ProvideCredentials, Region, RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig,
};
use aws_smithy_http_client::tls;
use mls_keep_core::{Error, ErrorKind, Result};

use crate::config::Config;

/// Most bytes of a prefix: with the longest key it stays below S3's 1024.
const MAX_PREFIX_LEN: usize = 512;

/// A client with the credentials and the region that `config` names, or that AWS's default chains find; and its endpoint,
/// if that is not AWS.
pub(crate) async fn connect(config: &Config) -> Result<(Client, Option<String>)> {
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
        .build_https();
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http);
    if let Some(region) = &config.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(endpoint) = &config.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    if let Some(found) = &config.credentials {
        loader = loader.credentials_provider(aws_sdk_s3::config::Credentials::new(
            &found.access_key_id,
            &found.secret_access_key,
            found.session_token.clone(),
            None,
            "mls-keep",
        ));
    }
    let shared = loader.load().await;
    let endpoint = shared.endpoint_url().map(str::to_owned);
    let has_endpoint = endpoint.is_some();
    let region = match shared.region() {
        Some(region) => region.clone(),
        None if has_endpoint => Region::from_static("us-east-1"),
        None => return Err(Error::new(ErrorKind::Invalid, "no region is configured: set AWS_REGION or name one")),
    };
    let found = match shared.credentials_provider() {
        Some(provider) => provider.provide_credentials().await.is_ok(),
        None => false,
    };
    if !found {
        return Err(Error::new(
            ErrorKind::Invalid,
            "no credentials are found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile",
        ));
    }
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(config.attempt_timeout).build();
    let built = aws_sdk_s3::config::Builder::from(&shared)
        .region(region)
        .force_path_style(config.path_style.unwrap_or(has_endpoint))
        // A repetition by the SDK would find its own success and call it a conflict.
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        // Other services do not know checksums in trailers. The sealed bytes carry their own proof.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .build();
    Ok((Client::from_conf(built), endpoint))
}

/// The prefix with its end.
pub(crate) fn checked(bucket: &str, prefix: &str) -> Result<String> {
    let named = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if bucket.is_empty() || bucket.len() > 255 || !bucket.bytes().all(named) {
        return Err(Error::new(ErrorKind::Invalid, "a bucket's name has 1 to 255 of the bytes A-Z a-z 0-9 . _ -"));
    }
    let prefix = prefix.trim_end_matches('/');
    if prefix.is_empty() {
        return Ok(String::new());
    }
    let is_odd = |segment: &str| matches!(segment, "" | "." | "..");
    if prefix.len() > MAX_PREFIX_LEN
        || !prefix.bytes().all(|byte| named(byte) || byte == b'/')
        || prefix.split('/').any(is_odd)
    {
        return Err(Error::new(
            ErrorKind::Invalid,
            "a prefix has at most 512 of the bytes A-Z a-z 0-9 . _ - /, and no segment that is empty, \".\" or \"..\"",
        ));
    }
    Ok(format!("{prefix}/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert_eq!(checked("bucket", "").unwrap(), "");
        assert_eq!(checked("bucket", "a/b/").unwrap(), "a/b/");
        for (bucket, prefix) in
            [("", "a"), ("a b", ""), ("a/b", ""), ("b", "/a"), ("b", "a//b"), ("b", "a/../b"), ("b", "a?b")]
        {
            assert_eq!(checked(bucket, prefix).unwrap_err().kind(), ErrorKind::Invalid, "{bucket} {prefix}");
        }
        assert_eq!(checked("b", &"x".repeat(513)).unwrap_err().kind(), ErrorKind::Invalid);
    }
}
