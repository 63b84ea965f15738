//! Keep MLS clients in a sled database: the sled adapter of mls-keep.
