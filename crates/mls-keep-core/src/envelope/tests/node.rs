use super::super::body::OpenError;
use super::super::{NODE_OVERHEAD, node_name, open_node, seal_node};
use super::pattern;
use crate::secret_vec::SecretVec;

const POINTER: [u8; 32] = [5; 32];

fn seal(pointer: &[u8; 32], len: usize) -> Vec<u8> {
    seal_node(pointer, SecretVec::new(pattern(len))).unwrap()
}

#[test]
fn a_node_comes_back() {
    for len in [0, 1, 256, 4096, 18_000] {
        let stored = seal(&POINTER, len);
        assert_eq!(stored.len(), len + NODE_OVERHEAD);
        assert_eq!(*open_node(&POINTER, &stored).unwrap(), pattern(len));
    }
}

#[test]
fn a_buffer_with_room_is_not_copied() {
    let mut padded = SecretVec::with_capacity(256 + NODE_OVERHEAD);
    padded.resize(256, 1);
    let before = padded.as_ptr();
    let stored = seal_node(&POINTER, padded).unwrap();
    assert_eq!(stored.as_ptr(), before);
}

#[test]
fn every_bit_flip_and_every_other_length_is_refused() {
    let sealed = seal(&POINTER, 256);
    for bit in 0..sealed.len() * 8 {
        let mut stored = sealed.clone();
        stored[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(open_node(&POINTER, &stored), Err(OpenError::Tag), "bit {bit}");
    }
    for cut in 0..sealed.len() {
        let expected = if cut < NODE_OVERHEAD { OpenError::Length } else { OpenError::Tag };
        assert_eq!(open_node(&POINTER, &sealed[..cut]), Err(expected), "{cut}");
    }
    let mut longer = sealed;
    for added in 1..=64 {
        longer.push(added);
        assert_eq!(open_node(&POINTER, &longer), Err(OpenError::Tag), "{added}");
    }
}

#[test]
fn a_node_opens_under_its_own_pointer_only() {
    let pointers: Vec<[u8; 32]> = (0..8).map(|n| [n; 32]).collect();
    let stored: Vec<Vec<u8>> = pointers.iter().map(|pointer| seal(pointer, 256)).collect();
    for (at, pointer) in pointers.iter().enumerate() {
        for (of, stored) in stored.iter().enumerate() {
            assert_eq!(open_node(pointer, stored).is_ok(), at == of, "node {of} under pointer {at}");
        }
    }
}

#[test]
fn names_differ_with_every_bit_of_the_pointer() {
    let mut names = std::collections::HashSet::from([node_name(&POINTER)]);
    for bit in 0..256 {
        let mut pointer = POINTER;
        pointer[bit / 8] ^= 1 << (bit % 8);
        assert!(names.insert(node_name(&pointer)), "bit {bit}");
    }
}
