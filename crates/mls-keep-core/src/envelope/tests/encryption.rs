use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_executor::block_on;

use super::super::{Argon2Params, Encryption, Form, HEADER_PREFIX_LEN, HeaderPrefix, extract};
use super::{Counting, Stuck};
use crate::error::ErrorKind;
use crate::secret::{MasterKey, Secret32};

const STORE_ID: [u8; 16] = *b"0123456789abcdef";
const CHEAP: Argon2Params = Argon2Params { memory_kib: 19 << 10, iterations: 2, parallelism: 1 };

fn key(byte: u8) -> Encryption {
    Encryption::hkdf_sha256(MasterKey::new([byte; 32]))
}

fn prefix(encryption: &Encryption) -> HeaderPrefix {
    encryption.new_prefix(Form::Keep, &Counting::default(), STORE_ID).unwrap()
}

fn root(encryption: &Encryption, prefix: &HeaderPrefix) -> Secret32 {
    block_on(encryption.root_key(prefix)).unwrap()
}

fn refused(encryption: &Encryption) -> ErrorKind {
    let at_create = encryption.new_prefix(Form::Keep, &Counting::default(), STORE_ID).expect_err("create").kind();
    let at_open = block_on(encryption.root_key(&prefix(&key(1)))).expect_err("open").kind();
    assert_eq!(at_create, at_open);
    at_create
}

#[test]
fn a_prefix_comes_back() {
    for encryption in [key(1), Encryption::passphrase("words"), Encryption::passphrase("words").argon2(CHEAP)] {
        let prefix = prefix(&encryption);
        let mut bytes = prefix.encode().to_vec();
        assert_eq!(bytes.len(), HEADER_PREFIX_LEN);
        assert_eq!(prefix.id, STORE_ID);
        bytes.extend_from_slice(b"what follows");
        assert_eq!(HeaderPrefix::decode(Form::Keep, &bytes).unwrap(), prefix);
    }
}

#[test]
fn the_root_key_depends_on_key_salt_and_header() {
    let header = prefix(&key(1));
    let same = root(&key(1), &header);
    assert!(same.ct_eq(&root(&key(1), &header)));
    assert!(same.ct_eq(&root(&key(1).salt(""), &header)), "no salt and an empty one are the same");
    let other_header = key(1).new_prefix(Form::Keep, &Stuck(1), STORE_ID).unwrap();
    let others = [
        root(&key(2), &header),
        root(&key(1).salt("salt"), &header),
        root(&key(1).salt("salt\0"), &header),
        root(&key(1).salt([0; 1024]), &header),
        root(&key(1), &other_header),
    ];
    for (at, one) in others.iter().enumerate() {
        assert!(!same.ct_eq(one));
        assert!(others[..at].iter().all(|other| !other.ct_eq(one)));
    }
}

#[test]
fn passphrases_are_bytes() {
    let encryption = |passphrase: &[u8]| Encryption::passphrase(passphrase).argon2(CHEAP);
    let header = prefix(&encryption(b"words"));
    let same = root(&encryption(b"words"), &header);
    assert!(same.ct_eq(&root(&Encryption::passphrase("words"), &header)), "the header says what argon2 costs");
    for other in [b"Words".as_slice(), b"words\0", b"words ", b"\xff\xfe", &[b'w'; 64 << 10]] {
        assert!(!same.ct_eq(&root(&encryption(other), &header)));
    }
}

#[test]
fn the_wrong_kind_of_key_is_named() {
    let (by_key, by_words) = (key(1), Encryption::passphrase("words"));
    for (encryption, header, wants) in [
        (&by_words, prefix(&by_key), "opens with a master key"),
        (&by_key, prefix(&by_words), "opens with a passphrase"),
    ] {
        let error = block_on(encryption.root_key(&header)).expect_err(wants);
        assert_eq!(error.kind(), ErrorKind::WrongKey);
        assert!(error.to_string().contains(wants), "{error}");
    }
}

#[test]
fn values_out_of_bounds_are_invalid_before_any_work() {
    let begin = Instant::now();
    assert_eq!(refused(&key(1).salt([0; 1025])), ErrorKind::Invalid);
    assert_eq!(refused(&key(1).argon2(CHEAP)), ErrorKind::Invalid);
    assert_eq!(refused(&Encryption::passphrase("")), ErrorKind::Invalid);
    assert_eq!(refused(&Encryption::passphrase(vec![1; (64 << 10) + 1])), ErrorKind::Invalid);
    assert_eq!(refused(&Encryption::passphrase("words").salt([0; 1025])), ErrorKind::Invalid);
    for params in hostile() {
        assert_eq!(refused(&Encryption::passphrase("words").argon2(params)), ErrorKind::Invalid, "{params:?}");
    }
    assert!(begin.elapsed() < Duration::from_millis(100), "no argon2 ran");
}

#[test]
fn a_header_over_the_limit_is_refused_before_any_work() {
    let params = |memory_kib, iterations| Argon2Params { memory_kib, iterations, parallelism: 4 };
    let limit = params(64 << 10, 3);
    let words = || Encryption::passphrase("words");
    let limited = || words().argon2_limit(limit);
    let begin = Instant::now();
    for hostile in [params(1 << 20, 4), params(1 << 20, 1), params((64 << 10) + 1, 1), params(64 << 10, 4)] {
        let error = block_on(limited().root_key(&prefix(&words().argon2(hostile)))).expect_err("over the limit");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{hostile:?}");
        assert!(error.to_string().contains("higher Encryption::argon2_limit"), "{error}");
        let header = prefix(&limited().argon2(hostile));
        assert_eq!(block_on(limited().argon2(hostile).root_key(&header)).expect_err("new").kind(), ErrorKind::Invalid);
    }
    assert_eq!(refused(&key(1).argon2_limit(limit)), ErrorKind::Invalid, "a limit goes with a passphrase");
    assert_eq!(refused(&words().argon2_limit(params(1 << 10, 1))), ErrorKind::Invalid, "no keep asks for as little");
    assert!(begin.elapsed() < Duration::from_millis(100), "no argon2 ran");
    // As much as the limit, and less memory with more iterations.
    for within in [limit, params(32 << 10, 6)] {
        let header = prefix(&words().argon2(within));
        assert!(root(&limited(), &header).ct_eq(&root(&words(), &header)));
    }
}

#[test]
fn a_passphrase_is_stretched_beside_the_executor_and_a_master_key_needs_none() {
    let mut context = Context::from_waker(Waker::noop());
    let (words, by_key) = (Encryption::passphrase("words").argon2(CHEAP), key(1));
    let header = prefix(&words);
    let mut stretched = pin!(words.root_key(&header));
    // It takes tens of milliseconds, on a thread that was not there a moment ago.
    assert!(stretched.as_mut().poll(&mut context).is_pending(), "argon2 ran on the executor");
    assert!(block_on(stretched).is_ok());
    let header = prefix(&by_key);
    assert!(matches!(pin!(by_key.root_key(&header)).poll(&mut context), Poll::Ready(Ok(_))));
}

#[test]
fn where_no_thread_starts_the_caller_stretches_and_a_lost_thread_is_an_error() {
    let salt = [7; 32];
    let derived = CHEAP.derive(b"words", &salt).unwrap();
    let none = |_| Err(io::Error::from(io::ErrorKind::Unsupported));
    assert!(block_on(CHEAP.derive_aside(b"words", &salt, none)).unwrap().ct_eq(&derived));
    let lost = |job| {
        drop(job);
        Ok(())
    };
    assert_eq!(block_on(CHEAP.derive_aside(b"words", &salt, lost)).unwrap_err().kind(), ErrorKind::Internal);
}

#[test]
fn headers_out_of_bounds_cost_nothing() {
    let good = prefix(&Encryption::passphrase("words")).encode();
    let headers: Vec<[u8; HEADER_PREFIX_LEN]> = hostile().iter().map(|params| with_params(good, *params)).collect();
    let begin = Instant::now();
    for header in headers.iter().cycle().take(1000) {
        assert_eq!(HeaderPrefix::decode(Form::Keep, header).expect_err("hostile").kind(), ErrorKind::Corrupt);
    }
    assert!(begin.elapsed() < Duration::from_millis(1000), "under 1 ms each: {:?}", begin.elapsed());
}

#[test]
fn the_bounds_themselves_are_accepted() {
    let good = prefix(&Encryption::passphrase("words")).encode();
    for (memory_kib, iterations, parallelism) in
        [(19 << 10, 2, 1), (19 << 10, 10, 16), (46 << 10, 1, 1), (1 << 20, 4, 16), (64 << 10, 3, 4)]
    {
        let params = Argon2Params { memory_kib, iterations, parallelism };
        HeaderPrefix::decode(Form::Keep, &with_params(good, params)).unwrap();
        prefix(&Encryption::passphrase("words").argon2(params));
    }
}

#[test]
fn a_damaged_prefix_is_corrupt_and_a_newer_one_unsupported() {
    let good = prefix(&key(1)).encode();
    let kind = |at: usize, value: u8| {
        let mut header = good;
        header[at] = value;
        HeaderPrefix::decode(Form::Keep, &header).map_err(|error| error.kind())
    };
    for (at, byte) in good.iter().enumerate().take(8) {
        assert_eq!(kind(at, byte ^ 1), Err(ErrorKind::Corrupt), "magic, byte {at}");
    }
    assert_eq!(kind(9, 0), Err(ErrorKind::Corrupt), "version 0");
    assert_eq!(kind(9, 2), Err(ErrorKind::UnsupportedVersion));
    assert_eq!(kind(8, 1), Err(ErrorKind::UnsupportedVersion), "version 257");
    assert_eq!(kind(10, 2), Err(ErrorKind::Corrupt), "argon2id with parameters of 0");
    for kdf in [0, 3, 255] {
        assert_eq!(kind(10, kdf), Err(ErrorKind::UnsupportedVersion), "kdf {kdf}");
    }
    for at in 11..24 {
        assert_eq!(kind(at, 1), Err(ErrorKind::Corrupt), "reserved or parameter, byte {at}");
    }
    for cut in 0..HEADER_PREFIX_LEN {
        assert_eq!(
            HeaderPrefix::decode(Form::Keep, &good[..cut]).expect_err("cut").kind(),
            ErrorKind::Corrupt,
            "{cut} bytes"
        );
    }
}

#[test]
fn no_flip_of_the_prefix_keeps_the_root_key() {
    let encryption = key(1);
    let header = prefix(&encryption);
    let (good, same) = (header.encode(), root(&encryption, &header));
    for bit in 0..HEADER_PREFIX_LEN * 8 {
        let mut bytes = good;
        bytes[bit / 8] ^= 1 << (bit % 8);
        let Ok(flipped) = HeaderPrefix::decode(Form::Keep, &bytes) else { continue };
        let Ok(other) = block_on(encryption.root_key(&flipped)) else { continue };
        // The store id does not go into the root key; it goes into the context of everything sealed under it.
        assert_eq!(other.ct_eq(&same), bit / 8 >= 56, "bit {bit}");
        assert_ne!(flipped, header);
    }
}

#[test]
fn debug_prints_no_key() {
    let text = format!("{:?} {:?}", key(b'K').salt("secret salt"), Encryption::passphrase("secret words"));
    assert_eq!(text, "Encryption(master key) Encryption(passphrase)");
}

#[test]
fn extract_takes_both_inputs() {
    let one = extract(b"salt", &[1; 32]);
    assert!(!one.ct_eq(&extract(b"salu", &[1; 32])));
    assert!(!one.ct_eq(&extract(b"salt", &[2; 32])));
}

/// Parameters just and far out of their bounds.
fn hostile() -> Vec<Argon2Params> {
    let params = |memory_kib, iterations, parallelism| Argon2Params { memory_kib, iterations, parallelism };
    vec![
        params(u32::MAX, 1, 1),
        params((1 << 20) + 1, 1, 1),
        params((19 << 10) - 1, 2, 1),
        params(0, 0, 0),
        params(8, 1, 1),
        params(64 << 10, u32::MAX, 1),
        params(64 << 10, 11, 1),
        params(64 << 10, 0, 1),
        params(64 << 10, 3, 0),
        params(64 << 10, 3, 17),
        params(64 << 10, 3, u32::MAX),
        params((46 << 10) - 1, 1, 1),
        params(1 << 20, 5, 1),
        params(u32::MAX, u32::MAX, u32::MAX),
    ]
}

fn with_params(mut header: [u8; HEADER_PREFIX_LEN], params: Argon2Params) -> [u8; HEADER_PREFIX_LEN] {
    for (at, value) in [(12, params.memory_kib), (16, params.iterations), (20, params.parallelism)] {
        header[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }
    header
}
