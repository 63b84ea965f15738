//! Keep MLS clients in plain files: the file system adapter of mls-keep.
