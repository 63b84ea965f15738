//! Tests of the envelope, by file: vectors of others, bodies, nodes, and what a keep is opened with.

mod body;
mod encryption;
mod node;
mod vectors;

use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};
use zeroize::ZeroizeOnDrop;

use super::{Encryption, Form};
use crate::entropy::Entropy;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::{MasterKey, Secret32};

/// Bytes that never repeat and are the same in every run.
#[derive(Default)]
struct Counting(AtomicU64);

impl Entropy for Counting {
    fn fill(&self, out: &mut [u8]) -> Result<()> {
        for chunk in out.chunks_mut(32) {
            let block = Sha256::digest(self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes());
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
        Ok(())
    }
}

/// A broken generator: the same bytes every time.
struct Stuck(u8);

impl Entropy for Stuck {
    fn fill(&self, out: &mut [u8]) -> Result<()> {
        out.fill(self.0);
        Ok(())
    }
}

/// A generator that has nothing to give.
struct Dry;

impl Entropy for Dry {
    fn fill(&self, _: &mut [u8]) -> Result<()> {
        Err(Error::new(ErrorKind::Unavailable, "no entropy"))
    }
}

/// The same plaintexts as in tests/vectors/envelope.py.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 256 + len) as u8).collect()
}

#[test]
fn entropy_that_fails_fails_everything() {
    let master_key = || Encryption::hkdf_sha256(MasterKey::new([1; 32]));
    let errors = [
        Secret32::random(&Dry).expect_err("secret"),
        MasterKey::generate(&Dry).expect_err("master key"),
        super::seal(&[1; 32], b"", b"", &Dry).expect_err("body"),
        master_key().new_prefix(Form::Keep, &Dry, [0; 16]).expect_err("header"),
    ];
    for error in errors {
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Unavailable, "no entropy"));
    }
}

// Key types are wiped when dropped.
const _: () = {
    const fn wiped<T: ZeroizeOnDrop>() {}
    wiped::<Encryption>();
    wiped::<MasterKey>();
    wiped::<Secret32>();
};

// Key types are neither `Clone` nor `PartialEq`: with either, `item` is ambiguous and this does not compile.
const _: () = {
    trait Without<Marker> {
        const ITEM: () = ();
    }
    impl<T: ?Sized> Without<()> for T {}
    struct HasClone;
    impl<T: Clone> Without<HasClone> for T {}
    struct HasEq;
    impl<T: PartialEq> Without<HasEq> for T {}
    struct HasDisplay;
    impl<T: std::fmt::Display> Without<HasDisplay> for T {}
    let () = <Encryption as Without<_>>::ITEM;
    let () = <MasterKey as Without<_>>::ITEM;
    let () = <Secret32 as Without<_>>::ITEM;
};
