//! Fuzz targets of the header.

use futures_executor::block_on;
use fuzzing::Target;

use super::*;
use crate::fuzz::{Counted, encryption};

fn created() -> (Header, Vec<u8>) {
    let (header, stored, _) = block_on(Header::create(&encryption(), &Counted::default())).unwrap();
    (header, stored.to_vec())
}

#[test]
fn header() {
    let (_, genuine) = created();
    let passphrase =
        Encryption::passphrase("correct horse").new_prefix(Form::Keep, &Counted::default(), [4; 16]).unwrap();
    let other = [&passphrase.encode()[..], genuine.get(HEADER_PREFIX_LEN..).unwrap()].concat();
    Target::new(env!("CARGO_PKG_NAME"), "header").seeds([genuine.clone(), other]).run(|input| {
        if let Ok(prefix) = HeaderPrefix::decode(Form::Keep, input) {
            assert_eq!(prefix.encode(), input[..HEADER_PREFIX_LEN], "a header that is read is written the same");
        }
        match block_on(Header::open(&encryption(), input)) {
            Ok(_) => assert_eq!(input, genuine, "a forged header opens"),
            Err(error) => assert!(
                matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::WrongKey | ErrorKind::UnsupportedVersion),
                "{error}"
            ),
        }
    });
}

#[test]
fn header_body() {
    let (mut header, _) = created();
    let one = header.encode().to_vec();
    header.older.push(RootKey { id: 7, secret: Secret32::from_bytes([7; 32]) });
    let two = header.encode().to_vec();
    Target::new(env!("CARGO_PKG_NAME"), "header_body").seeds([one, two]).run(|input| {
        match Header::decode([1; 16], input) {
            Ok(header) => assert_eq!(*header.encode(), input, "a body that is read is written the same"),
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::UnsupportedVersion), "{error}");
            }
        }
    });
}
