//! [`AtMost`]: how long an answer may be, before the SDK takes it into memory.

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_types::body::SdkBody;
use http_body_util::Limited;

/// Longest answer that is not an object, bytes: a page of a listing has at most 1000 keys of 1024 bytes, each of which
/// XML may write as six.
pub(crate) const MAX_ANSWER_LEN: usize = 8 << 20;

/// Breaks an answer off that has more bytes than this.
#[derive(Debug)]
pub(crate) struct AtMost(pub(crate) usize);

impl Intercept for AtMost {
    fn name(&self) -> &'static str {
        "AtMost"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response_mut().body_mut();
        let whole = std::mem::replace(body, SdkBody::taken());
        *body = SdkBody::from_body_1_x(Limited::new(whole, self.0));
        Ok(())
    }
}
