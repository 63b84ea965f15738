//! Keep MLS clients in a redb database: the redb adapter of mls-keep.
