//! The conformance suite on a server whose conditional writes are atomic: with nodes that ride with their root, without,
//! with so little room that they move all the time, with listings in small pages, and where a lost race is answered 500.

mod common;

use common::Bucket;
use mls_keep_conformance::{ModelConfig, conformance_suite, model_test};

conformance_suite!(mod riding, Bucket::new(64 << 10));
conformance_suite!(mod objects_of_their_own, Bucket::new(0));
conformance_suite!(mod moving, Bucket::new(2000));
conformance_suite!(mod small_pages, Bucket::with_small_pages());
conformance_suite!(mod like_ceph, Bucket::like_ceph());

#[test]
fn random_sequences_agree_with_the_model() {
    for inline_len in [64 << 10, 100] {
        model_test(|| Bucket::new(inline_len), ModelConfig { cases: 16, ..ModelConfig::default() });
    }
}
