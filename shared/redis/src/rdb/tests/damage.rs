//! Damage is found, and nothing is believed that the bytes do not bear out.

use proptest::prelude::*;

use super::{kinds::all, *};

#[test]
fn an_end_at_any_byte_is_an_error() {
    let rdb = all(Flavour::Redis);
    for end in 0..rdb.len() {
        let error = verify(Cursor::new(&rdb[..end])).expect_err("it is not whole");
        assert!(error.is_damage(), "{end}: {error}");
    }
    verify(Cursor::new(&rdb)).expect("it is whole");
}

#[test]
fn a_byte_too_many_is_an_error() {
    let mut rdb = all(Flavour::Redis);
    rdb.push(0);
    let error = verify(Cursor::new(&rdb)).unwrap_err();
    assert!(matches!(error, RdbError::Trailing { .. }), "{error}");
}

#[test]
fn every_flipped_bit_is_found() {
    let rdb = all(Flavour::Valkey);
    for bit in 0..rdb.len() * 8 {
        let mut damaged = rdb.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(verify(Cursor::new(&damaged)).is_err(), "bit {bit}");
    }
}

/// A length of a terabyte in front of nothing.
#[test]
fn lengths_that_are_not_there_allocate_nothing() {
    let huge = |bytes: &[u8]| {
        let mut rdb = Writer::new(b"REDIS0011");
        rdb.raw(bytes);
        let error = read(rdb.bytes()).unwrap_err();
        assert!(error.is_damage(), "{error}");
    };
    for kind in [0, 1, 4, 5, 7, 14, 15, 18, 21, 24] {
        huge(&[kind, 1, b'k', 0x81, 1, 0, 0, 0, 0, 0, 0, 0]);
        huge(&[kind, 1, b'k', 0x80, 0x3f, 0xff, 0xff, 0xff]);
    }
    // As a key: plain, and compressed from nothing.
    huge(&[0, 0x80, 0x3f, 0xff, 0xff, 0xff]);
    huge(&[0, 0xc3, 1, 0x80, 0x3f, 0xff, 0xff, 0xff, 0]);
    huge(&[
        0, 0xc3, 0x80, 0x3f, 0xff, 0xff, 0xff, 0x80, 0x3f, 0xff, 0xff, 0xff,
    ]);
}

#[test]
fn what_is_no_rdb_is_said_to_be_none() {
    for text in [
        &b"REDIS00x1"[..],
        b"REDIS0000",
        b"VALKEY000",
        b"*3\r\n$3\r\nSET",
    ] {
        let error = verify(text).unwrap_err();
        assert!(matches!(error, RdbError::NotRdb), "{error}");
    }
}

proptest! {
    #[test]
    fn nothing_panics(mut bytes: Vec<u8>, at in 0_usize..4096, put: Vec<u8>) {
        let mut rdb = all(Flavour::Redis);
        let at = at % rdb.len();
        let end = rdb.len().min(at + put.len());
        rdb.splice(at..end, put);
        let _ = verify(Cursor::new(&rdb));
        bytes.splice(..0, *b"REDIS0011");
        let _ = verify(Cursor::new(&bytes));
    }
}
