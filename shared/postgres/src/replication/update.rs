//! What goes back and forth while the log is streamed.
//!
//! Source: the PostgreSQL manual, 55.4: `XLogData`, `Primary keepalive
//! message` and `Standby status update`.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use crate::{
    physical::Lsn,
    wal::{POSTGRES_EPOCH, unix_micros},
};

/// What a server sends.
#[derive(Debug, PartialEq)]
pub(super) enum Update {
    /// Of the log.
    Data {
        start: Lsn,
        end_of_wal: Lsn,
        sent_at: i64,
        bytes: Bytes,
    },
    /// A sign of life.
    Keepalive {
        end_of_wal: Lsn,
        sent_at: i64,
        reply_wanted: bool,
    },
}

impl Update {
    /// `None`: it is neither.
    pub(super) fn read(mut message: Bytes) -> Option<Self> {
        Some(match message.try_get_u8().ok()? {
            b'w' => Self::Data {
                start: Lsn(message.try_get_u64().ok()?),
                end_of_wal: Lsn(message.try_get_u64().ok()?),
                sent_at: unix_micros(message.try_get_i64().ok()?),
                bytes: message,
            },
            b'k' => Self::Keepalive {
                end_of_wal: Lsn(message.try_get_u64().ok()?),
                sent_at: unix_micros(message.try_get_i64().ok()?),
                reply_wanted: message.try_get_u8().ok()? != 0,
            },
            _ => return None,
        })
    }
}

/// What we have of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Confirmed {
    /// Received up to here.
    pub(super) written: Lsn,
    /// Safe up to here: the server may forget it.
    pub(super) flushed: Lsn,
}

/// Writes a standby status update. `at` is in microseconds since 1970.
///
/// Nothing is ever reported as applied, as `pg_receivewal` does it: we replay
/// nothing, so nobody may wait for us with `synchronous_commit =
/// remote_apply`.
pub(super) fn write_status(confirmed: Confirmed, at: i64, ping: bool, to: &mut BytesMut) {
    const LENGTH: i32 = 4 + 1 + 4 * 8 + 1;
    to.put_u8(b'd');
    to.put_i32(LENGTH);
    to.put_u8(b'r');
    to.put_u64(confirmed.written.0);
    to.put_u64(confirmed.flushed.0);
    to.put_u64(0);
    to.put_i64(at.saturating_sub(POSTGRES_EPOCH));
    to.put_u8(ping.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_are_read_and_nothing_else() {
        let data = b"w\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x01log";
        assert_eq!(
            Update::read(Bytes::from_static(data)),
            Some(Update::Data {
                start: Lsn(7),
                end_of_wal: Lsn(9),
                sent_at: POSTGRES_EPOCH + 1,
                bytes: Bytes::from_static(b"log"),
            })
        );
        let keepalive = b"k\0\0\0\0\0\0\0\x09\x7f\xff\xff\xff\xff\xff\xff\xff\x01";
        assert_eq!(
            Update::read(Bytes::from_static(keepalive)),
            Some(Update::Keepalive {
                end_of_wal: Lsn(9),
                sent_at: i64::MAX,
                reply_wanted: true,
            })
        );
        for length in 0..25 {
            assert_eq!(Update::read(Bytes::from_static(&data[..length])), None);
        }
        for length in 0..18 {
            assert_eq!(Update::read(Bytes::from_static(&keepalive[..length])), None);
        }
        assert_eq!(Update::read(Bytes::from_static(b"x")), None);
    }

    #[test]
    fn a_status_says_what_is_safe() {
        let mut written = BytesMut::new();
        let confirmed = Confirmed {
            written: Lsn(9),
            flushed: Lsn(7),
        };
        write_status(confirmed, POSTGRES_EPOCH + 3, true, &mut written);
        let mut expected = b"d\0\0\0\x26r".to_vec();
        for number in [9_u64, 7, 0, 3] {
            expected.extend(number.to_be_bytes());
        }
        expected.push(1);
        assert_eq!(written, expected);
    }
}
