//! Every type of value is passed over to its last byte.

use super::*;

/// A value of each type, as `rdb.c` writes it.
pub(super) fn values(flavour: Flavour) -> Vec<(u8, Vec<u8>)> {
    let made = |write: &dyn Fn(&mut Writer)| {
        let mut writer = Writer::new(b"REDIS0011");
        write(&mut writer);
        writer.bytes()[9..].to_vec()
    };
    let strings = |count: u64, of_each: u64| {
        made(&|w| {
            w.number(count);
            for at in 0..count * of_each {
                w.string(at.to_string().as_bytes());
            }
        })
    };
    let blob = made(&|w| {
        w.string(&[9; 100]);
    });
    let compressed = vec![0xc3, 5, 12, 0, b'a', 0xe0, 2, 0];
    let stream = |version: u8| {
        made(&|w| {
            w.number(2);
            for at in 0..2 {
                w.string(&[at; 16]).string(&[at; 300]);
            }
            for at in 0..if version >= 2 { 8 } else { 3 } {
                w.number(at << 33);
            }
            w.number(1).string(b"group").number(1 << 40).number(0);
            if version >= 2 {
                w.number(3);
            }
            w.number(2);
            for at in 0..2 {
                w.raw(&[at; 16]).raw(&[1; 8]).number(70);
            }
            w.number(1).string(b"consumer").raw(&[2; 8]);
            if version >= 3 {
                w.raw(&[3; 8]);
            }
            w.number(2).raw(&[0; 16]).raw(&[1; 16]);
        })
    };
    let scores = made(&|w| {
        w.number(4);
        w.string(b"m").raw(&[3]).raw(b"1.5");
        for special in 253..=255 {
            w.string(b"m").raw(&[special]);
        }
    });
    let binary_scores = made(&|w| {
        w.number(2);
        for _ in 0..2 {
            w.string(b"m").raw(&1.5_f64.to_le_bytes());
        }
    });
    let module = made(&|w| {
        w.number(0x0841_c1d7_5a5e_8c01);
        w.number(1).number(77).number(2).number(78);
        w.number(3).raw(&[0; 4]).number(4).raw(&[0; 8]);
        w.number(5).string(b"text").number(0);
    });
    let quicklist = made(&|w| {
        w.number(2)
            .number(1)
            .string(b"plain")
            .number(2)
            .string(&[5; 90]);
    });
    let mut values = vec![
        (0, blob.clone()),
        (0, compressed.clone()),
        (0, vec![0xc1, 1, 2]),
        (1, strings(3, 1)),
        (2, strings(100, 1)),
        (3, scores),
        (4, strings(70, 2)),
        (5, binary_scores),
        (7, module),
        (14, strings(2, 1)),
        (15, stream(1)),
        (18, quicklist),
        (19, stream(2)),
        (21, stream(3)),
    ];
    for kind in [9, 10, 11, 12, 13, 16, 17, 20] {
        values.push((kind, blob.clone()));
        values.push((kind, compressed.clone()));
    }
    let expiring = made(&|w| {
        w.number(2);
        for at in 0..2 {
            w.number(at * 1_700_000_000_000).string(b"f").string(b"v");
        }
    });
    let each_with_time = made(&|w| {
        w.number(2);
        for at in 0..2 {
            w.string(b"f").string(b"v").raw(&[at; 8]);
        }
    });
    match flavour {
        Flavour::Valkey => values.push((22, each_with_time)),
        Flavour::Redis => {
            values.push((22, expiring.clone()));
            values.push((23, blob.clone()));
            values.push((24, [vec![1; 8], expiring].concat()));
            values.push((25, [vec![1; 8], blob].concat()));
        }
    }
    values
}

/// An RDB with all of them.
pub(super) fn all(flavour: Flavour) -> Vec<u8> {
    let mut rdb = Writer::new(match flavour {
        Flavour::Redis => b"REDIS0012",
        Flavour::Valkey => b"VALKEY080",
    });
    rdb.aux("ctime", "1").raw(&[247]).number(3 << 10);
    rdb.number(2).number(1).number(2).number(5).number(0);
    rdb.raw(&[254, 1, 251, 9, 9, 244, 1, 2, 3]);
    if flavour == Flavour::Valkey {
        rdb.raw(&[243]).string(b"job").number(1).number(5).number(9);
    }
    for (at, (kind, value)) in values(flavour).iter().enumerate() {
        rdb.raw(&[*kind]).string(format!("k{at}").as_bytes());
        rdb.raw(value);
    }
    rdb.end()
}

#[test]
fn every_type_is_read_to_its_last_byte() {
    for flavour in [Flavour::Redis, Flavour::Valkey] {
        let (keys, summary) = read(&all(flavour)).unwrap();
        let expected = values(flavour);
        assert_eq!(keys.len(), expected.len());
        for ((key, value), (kind, bytes)) in keys.iter().zip(&expected) {
            assert_eq!(key.kind, *kind);
            assert_eq!((value.kind, &value.bytes), (*kind, bytes));
        }
        assert_eq!(summary.flavour, flavour);
        assert_eq!(summary.modules, ["AAAAAAAAD", "CEHB11pej"]);
    }
}
