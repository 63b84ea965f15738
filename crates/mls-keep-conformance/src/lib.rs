//! Part of mls-keep.
