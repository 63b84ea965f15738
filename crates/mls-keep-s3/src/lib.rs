//! Keep MLS clients in an S3 bucket: the aws-sdk-s3 adapter of mls-keep.
