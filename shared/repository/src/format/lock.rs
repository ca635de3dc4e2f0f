//! Lock files, which keep foreign `restic` commands safe beside ours.
//!
//! Source: restic `internal/restic/lock.go`.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::FormatError;

/// A lock that was not refreshed for so long is nobody's.
pub const STALE_AFTER: SignedDuration = SignedDuration::from_mins(30);

/// How far the clock of a lock's holder may be ahead of ours.
const MAX_SKEW: SignedDuration = SignedDuration::from_mins(15);

/// A lock file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// When it was written or refreshed.
    #[serde(with = "super::time")]
    pub time: Timestamp,
    /// Whether nobody else may hold one.
    #[serde(default)]
    pub exclusive: bool,
    /// The holder's host.
    #[serde(default)]
    pub hostname: String,
    /// The holder's user.
    #[serde(default)]
    pub username: String,
    /// The holder's process.
    #[serde(default)]
    pub pid: u32,
    /// The holder's user id.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub uid: u32,
    /// The holder's group id.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub gid: u32,
}

impl Lock {
    /// Whether its holder must be gone, if nothing is known but what the lock says
    /// of itself. A time that has not come yet says nothing: a lock dated years
    /// ahead would hold for ever.
    pub fn is_stale(&self, now: Timestamp) -> bool {
        let age = now.duration_since(self.time);
        age > STALE_AFTER || age < -MAX_SKEW
    }

    /// JSON.
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        serde_json::to_vec(self).map_err(FormatError::json("lock"))
    }

    /// From JSON; unknown fields are tolerated.
    pub fn decode(json: &[u8]) -> Result<Self, FormatError> {
        serde_json::from_slice(json).map_err(FormatError::json("lock"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = concat!(
        r#"{"time":"2026-11-21T02:47:53.93195992Z","exclusive":true,"#,
        r#""hostname":"web-1","username":"root","pid":4711,"gid":7}"#,
    );

    #[test]
    fn is_written_as_restic_does() {
        let lock = Lock::decode(JSON.as_bytes()).unwrap();
        assert!(lock.exclusive);
        assert_eq!((lock.uid, lock.gid), (0, 7));
        assert_eq!(String::from_utf8(lock.encode().unwrap()).unwrap(), JSON);
    }

    #[test]
    fn goes_stale_after_half_an_hour() {
        let lock = Lock::decode(JSON.as_bytes()).unwrap();
        let after = |minutes| lock.time + SignedDuration::from_mins(minutes);
        assert!(!lock.is_stale(after(-15)));
        assert!(!lock.is_stale(after(30)));
        assert!(lock.is_stale(after(31)));
    }

    #[test]
    fn a_time_that_has_not_come_is_not_believed() {
        let mut lock = Lock::decode(JSON.as_bytes()).unwrap();
        let now = lock.time;
        assert!(lock.is_stale(now - SignedDuration::from_mins(16)));
        lock.time = "2099-01-01T00:00:00Z".parse().unwrap();
        assert!(lock.is_stale(now));
    }

    #[test]
    fn damage_is_refused() {
        for json in ["", "{}", r#"{"time":"now"}"#, "[]"] {
            Lock::decode(json.as_bytes()).unwrap_err();
        }
    }
}
