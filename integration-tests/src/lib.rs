//! Tests of mls-keep as a whole.
