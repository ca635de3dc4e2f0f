mod damage;
mod kinds;
mod writer;

use std::io::Cursor;

use super::*;
use writer::Writer;

/// Every type of value, in both flavours, and all that stands around values.
pub(crate) fn samples() -> Vec<Vec<u8>> {
    let mut samples = Vec::new();
    for (flavour, header) in [
        (Flavour::Redis, b"REDIS0012"),
        (Flavour::Valkey, b"VALKEY080"),
    ] {
        for (kind, value) in kinds::values(flavour) {
            let mut rdb = Writer::new(header);
            rdb.raw(&[kind]).string(b"key").raw(&value);
            samples.push(rdb.end());
        }
        let mut rdb = Writer::new(header);
        rdb.aux("redis-ver", "7.2.4").raw(&[254, 3, 251, 2, 1]);
        rdb.raw(&[244, 7, 2, 1]).raw(&[245]).string(b"#!lua name=f");
        rdb.raw(&[252]).raw(&1_700_000_000_123_i64.to_le_bytes());
        rdb.raw(&[248, 7]).set(b"a", b"1");
        rdb.raw(&[253]).raw(&1_700_000_000_i32.to_le_bytes());
        rdb.raw(&[249, 9]).set(b"b", b"2");
        rdb.raw(&[0, 0xc3, 5, 12, 0, b'a', 0xe0, 2, 0]).string(b"x");
        rdb.raw(&[247]).number(0x0841_c1d7_5a5e_8c01).number(2);
        rdb.number(1).number(5).string(b"text").number(0);
        if flavour == Flavour::Valkey {
            rdb.raw(&[243]).string(b"job").raw(&[1, 5, 9]);
        }
        samples.push(rdb.end());
    }
    samples
}

#[test]
fn lengths_are_read_as_redis_writes_them() {
    use super::input::{Input, Length};

    let read = |bytes: &[u8]| Input::new(bytes).length();
    for (bytes, length) in [
        (&[0x00][..], 0),
        (&[0x3f], 63),
        (&[0x40, 0x00], 0),
        (&[0x40, 0x40], 64),
        (&[0x41, 0x02], 258),
        (&[0x7f, 0xff], 16_383),
        (&[0x80, 0, 0, 0x40, 0], 16_384),
        (&[0x80, 0xff, 0xff, 0xff, 0xfe], 0xffff_fffe),
        (&[0x81, 0, 0, 0, 1, 0, 0, 0, 2], (1 << 32) + 2),
        (&[0x81, 0xff, 0, 0, 0, 0, 0, 0, 1], 0xff00_0000_0000_0001),
    ] {
        match read(bytes) {
            Ok(Length::Bytes(found)) => assert_eq!(found, length, "{bytes:x?}"),
            _ => panic!("{bytes:x?} is no length"),
        }
        let cut = &bytes[..bytes.len() - 1];
        assert!(read(cut).is_err(), "{cut:x?}");
    }
    for kind in 0..=0x3f {
        let found = read(&[0xc0 | kind]);
        assert!(matches!(found, Ok(Length::Encoded(found)) if found == kind));
        let unknown = read(&[0x80 | kind, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(unknown.is_ok(), kind <= 1, "{kind}");
        assert!(Input::new(&[0xc0 | kind][..]).number().is_err());
    }
    // A string is never longer than any can be, by either way to say so.
    let longest = (1_u32 << 30).to_be_bytes();
    let longer = (1_u64 << 30 | 1).to_be_bytes();
    let string = |bytes: Vec<u8>| {
        Input::new(&bytes[..])
            .skip_string()
            .unwrap_err()
            .to_string()
    };
    let cut = string([&[0x80][..], &longest].concat());
    let long = string([&[0x81][..], &longer].concat());
    assert!(long.contains("longer than any") && !cut.contains("longer than any"));
    let long = string([&[0xc3, 0x01, 0x81][..], &longer].concat());
    assert!(long.contains("longer than any"), "{long}");
}

/// All keys with their values.
fn read(rdb: &[u8]) -> Result<(Vec<(Key, Value)>, Summary), RdbError> {
    let mut reader = Reader::new(Cursor::new(rdb))?;
    let mut found = Vec::new();
    while reader.advance()? {
        let value = reader.value(1 << 20)?.expect("small values");
        found.push((reader.key().clone(), value));
    }
    Ok((found, reader.summary().clone()))
}

#[test]
fn keys_databases_and_fields_are_found() {
    let mut rdb = Writer::new(b"REDIS0011");
    rdb.aux("redis-ver", "7.2.4").aux("repl-offset", "42");
    rdb.raw(&[245]).string(b"#!lua name=f\n...");
    rdb.raw(&[254, 0, 251, 2, 1]);
    rdb.set(b"a", b"1");
    rdb.raw(&[252]).raw(&1_700_000_000_123_i64.to_le_bytes());
    rdb.raw(&[248, 7]).set(b"b", b"2");
    rdb.raw(&[254, 0x40, 200]);
    rdb.raw(&[253]).raw(&1_700_000_000_i32.to_le_bytes());
    rdb.raw(&[249, 9]).set(b"\0\xff", b"");
    let rdb = rdb.end();
    let (keys, summary) = read(&rdb).unwrap();
    let key = |at: usize| &keys[at].0;
    assert_eq!((key(0).database, key(0).expires), (0, None));
    assert_eq!(key(1).expires, Some(1_700_000_000_123));
    assert_eq!((key(1).idle, key(1).frequency), (Some(7), None));
    assert_eq!(
        (key(2).database, key(2).name.as_slice()),
        (200, &b"\0\xff"[..])
    );
    assert_eq!(key(2).expires, Some(1_700_000_000_000));
    assert_eq!((key(2).idle, key(2).frequency), (None, Some(9)));
    assert_eq!(keys[0].1.bytes, b"\x011");
    assert_eq!(
        summary.databases[&0],
        Counts {
            keys: 2,
            expiring: 1
        }
    );
    assert_eq!(
        summary.databases[&200],
        Counts {
            keys: 1,
            expiring: 1
        }
    );
    assert_eq!(summary.functions, 1);
    assert_eq!(summary.aux["redis-ver"], "7.2.4");
    assert_eq!(summary.checksum, Checksum::Verified);
    assert_eq!(summary.bytes, rdb.len() as u64);
    assert_eq!((summary.version, summary.flavour), (11, Flavour::Redis));
}

#[test]
fn keys_come_in_every_encoding_of_strings() {
    let mut rdb = Writer::new(b"REDIS0009");
    rdb.raw(&[0, 0xc0, 0xfe]).string(b"x");
    rdb.raw(&[0, 0xc1, 0x00, 0x80]).string(b"x");
    rdb.raw(&[0, 0xc2, 1, 0, 0, 0x80]).string(b"x");
    // LZF: an "a", then eleven copies of it.
    rdb.raw(&[0, 0xc3, 5, 12, 0, b'a', 0xe0, 2, 0]).string(b"x");
    rdb.raw(&[0]).string(&vec![b'k'; 70_000]).string(b"x");
    let (keys, _) = read(&rdb.end()).unwrap();
    let names: Vec<&[u8]> = keys.iter().map(|(key, _)| key.name.as_slice()).collect();
    assert_eq!(names[..3], [&b"-2"[..], b"-32768", b"-2147483647"]);
    assert_eq!(names[3], b"aaaaaaaaaaaa");
    assert_eq!(names[4].len(), 70_000);
}

#[test]
fn a_value_larger_than_asked_for_is_measured_and_passed() {
    let mut rdb = Writer::new(b"REDIS0011");
    rdb.set(b"big", &vec![7; 200_000]).set(b"small", b"s");
    let rdb = rdb.end();
    let mut reader = Reader::new(Cursor::new(&rdb)).unwrap();
    assert!(reader.advance().unwrap());
    assert_eq!(reader.value(1000).unwrap(), Err(200_005));
    assert!(reader.advance().unwrap());
    assert_eq!(reader.value(1000).unwrap().unwrap().bytes, b"\x01s");
    assert!(!reader.advance().unwrap());
    assert!(!reader.advance().unwrap());
}

#[test]
fn checksums_may_be_absent_or_disabled() {
    let mut old = Writer::new(b"REDIS0004");
    old.set(b"a", b"b").raw(&[255]);
    let (_, summary) = read(old.bytes()).unwrap();
    assert_eq!(summary.checksum, Checksum::Absent);
    let mut disabled = Writer::new(b"REDIS0011");
    disabled.set(b"a", b"b").raw(&[255]).raw(&[0; 8]);
    let (_, summary) = read(disabled.bytes()).unwrap();
    assert_eq!(summary.checksum, Checksum::Disabled);
}

#[test]
fn what_is_too_new_is_named_and_still_verified() {
    for (header, opcode) in [(b"REDIS0099", 26), (b"REDIS0099", 243), (b"VALKEY081", 23)] {
        let mut rdb = Writer::new(header);
        rdb.set(b"a", b"1")
            .raw(&[opcode])
            .string(b"key")
            .raw(b"whatever");
        let whole = rdb.end();
        let verified = verify(Cursor::new(&whole)).unwrap();
        assert_eq!(verified.summary.checksum, Checksum::Verified);
        assert_eq!(verified.summary.bytes, whole.len() as u64);
        let error = verified.unread.expect("it was not read").to_string();
        assert!(error.contains(&opcode.to_string()), "{error}");
        assert!(
            error.contains(if header[0] == b'R' { "99" } else { "81" }),
            "{error}"
        );
        // The same, damaged.
        let mut damaged = whole;
        let last = damaged.len() - 10;
        damaged[last] ^= 1;
        let error = verify(Cursor::new(&damaged)).unwrap_err();
        assert!(matches!(error, RdbError::Checksum { .. }), "{error}");
    }
}

#[test]
fn without_a_checksum_damage_is_damage_and_the_unknown_is_kept() {
    let mut rdb = Writer::new(b"REDIS0011");
    rdb.set(b"a", b"1").raw(&[0, 0xff]).raw(&[255]).raw(&[0; 8]);
    let error = verify(Cursor::new(rdb.bytes())).unwrap_err();
    assert!(matches!(error, RdbError::Damaged { .. }), "{error}");
    let mut rdb = Writer::new(b"REDIS0011");
    rdb.raw(&[100])
        .string(b"key")
        .raw(b"??")
        .raw(&[255])
        .raw(&[0; 8]);
    let verified = verify(Cursor::new(rdb.bytes())).unwrap();
    assert!(matches!(
        verified.unread,
        Some(RdbError::Unsupported { .. })
    ));
    assert_eq!(verified.summary.checksum, Checksum::Disabled);
}
