//! Key files: the master key, sealed under a password.
//!
//! Plain JSON. scrypt makes 64 bytes of the password (32 AES, 16 `k`, 16
//! `r`), and under that key lies the JSON of the master key.
//!
//! Source: restic `doc/design.rst`, "Keys, Encryption and MAC".

use std::fmt;

use data_encoding::BASE64;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{
    FormatError,
    crypto::{KeyBytes, MasterKey},
};

/// scrypt's cost for new keys: about 90 ms and 32 MiB.
const NEW_COST: Cost = Cost {
    n: 1 << 15,
    r: 8,
    p: 1,
};
/// Bytes of salt in new keys.
const SALT_LENGTH: usize = 64;
/// The most memory that a key file may make us take, bytes. restic calibrates
/// its own to 60 MiB.
const MOST_MEMORY: u64 = 256 << 20;
/// The most that it may make us hash, bytes: some seconds. restic calibrates
/// its own to half a second, with little memory and many passes where other
/// work made its measurements slow or odd.
const MOST_WORK: u64 = 2 << 30;

/// scrypt's parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cost {
    n: u64,
    r: u32,
    p: u32,
}

/// Who makes a key, for people who list keys.
#[derive(Clone, Debug)]
pub struct KeyOwner {
    /// When.
    pub created: Timestamp,
    /// By whom.
    pub username: String,
    /// On which host.
    pub hostname: String,
}

/// A key file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyFile {
    /// When it was made.
    #[serde(with = "super::time")]
    pub created: Timestamp,
    /// By whom.
    #[serde(default)]
    pub username: String,
    /// On which host.
    #[serde(default)]
    pub hostname: String,
    kdf: String,
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
    #[serde(with = "base64")]
    salt: Vec<u8>,
    #[serde(with = "base64")]
    data: Vec<u8>,
}

impl KeyFile {
    /// Seals `master` under `password`. Takes about 90 ms of CPU: call it
    /// from a blocking thread.
    pub fn create(
        master: &MasterKey,
        password: &str,
        owner: KeyOwner,
    ) -> Result<Self, FormatError> {
        let mut salt = vec![0; SALT_LENGTH];
        getrandom::fill(&mut salt)?;
        let json = MasterKeyJson::from(master.key_bytes()).encode()?;
        Ok(Self {
            created: owner.created,
            username: owner.username,
            hostname: owner.hostname,
            kdf: "scrypt".into(),
            n: NEW_COST.n,
            r: NEW_COST.r,
            p: NEW_COST.p,
            data: derive(password, &salt, NEW_COST)?.seal(&json)?,
            salt,
        })
    }

    /// The master key; [`FormatError::WrongPassword`] when the password is
    /// not this key's. As slow as [`KeyFile::create`].
    pub fn open(&self, password: &str) -> Result<MasterKey, FormatError> {
        let cost = Cost {
            n: self.n,
            r: self.r,
            p: self.p,
        };
        let mut json = Zeroizing::new(Vec::with_capacity(self.data.len()));
        derive(password, &self.salt, cost)?
            .open_into(&self.data, &mut json)
            .map_err(|error| match error {
                FormatError::WrongMac => FormatError::WrongPassword,
                other => other,
            })?;
        MasterKeyJson::decode(&json)?.try_into()
    }

    /// JSON, as it is stored.
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        serde_json::to_vec(self).map_err(FormatError::json("key"))
    }

    /// From stored JSON; refuses anything but scrypt at a sane cost.
    pub fn decode(json: &[u8]) -> Result<Self, FormatError> {
        let file: Self = serde_json::from_slice(json).map_err(FormatError::json("key"))?;
        if file.kdf != "scrypt" {
            return Err(FormatError::invalid(
                "key",
                format!("{:?} is no known key derivation", file.kdf),
            ));
        }
        Cost {
            n: file.n,
            r: file.r,
            p: file.p,
        }
        .check()?;
        Ok(file)
    }

    /// What opening it hashes, bytes.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn work(&self) -> u64 {
        [self.n, self.r.into(), self.p.into()]
            .into_iter()
            .fold(128, u64::saturating_mul)
    }
}

impl Cost {
    /// Refuses what scrypt forbids and what would take all memory or time:
    /// key files can be written by whoever can write to the store.
    fn check(self) -> Result<scrypt::Params, FormatError> {
        let memory = u64::from(self.r)
            .checked_mul(128)
            .and_then(|block| block.checked_mul(self.n));
        let work = memory.and_then(|bytes| bytes.checked_mul(self.p.into()));
        // All passes' blocks lie in memory at once, beside the table of one.
        let blocks = (u64::from(self.r) * 128).checked_mul(self.p.into());
        let sane = self.n.is_power_of_two()
            && self.n > 1
            && memory.is_some_and(|bytes| bytes > 0 && bytes <= MOST_MEMORY)
            && blocks.is_some_and(|bytes| bytes <= MOST_MEMORY)
            && work.is_some_and(|bytes| bytes > 0 && bytes <= MOST_WORK);
        if sane {
            scrypt::Params::new(self.n.ilog2() as u8, self.r, self.p).ok()
        } else {
            None
        }
        .ok_or_else(|| {
            FormatError::invalid(
                "key",
                format!("scrypt N={} r={} p={} is refused", self.n, self.r, self.p),
            )
        })
    }
}

fn derive(password: &str, salt: &[u8], cost: Cost) -> Result<MasterKey, FormatError> {
    let params = cost.check()?;
    let mut bytes = Zeroizing::new([0; 64]);
    scrypt::scrypt(password.as_bytes(), salt, &params, &mut bytes[..])
        .expect("64 bytes are within scrypt's range");
    Ok(MasterKey::from_bytes(&bytes))
}

/// `{"mac":{"k","r"},"encrypt"}`, all base64.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct MasterKeyJson {
    mac: MacJson,
    encrypt: String,
}

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct MacJson {
    k: String,
    r: String,
}

impl fmt::Debug for MasterKeyJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKeyJson(…)")
    }
}

impl MasterKeyJson {
    fn encode(&self) -> Result<Zeroizing<Vec<u8>>, FormatError> {
        // Large enough never to move and leave a copy behind.
        let mut json = Zeroizing::new(Vec::with_capacity(256));
        serde_json::to_writer(&mut *json, self).map_err(FormatError::json("key"))?;
        Ok(json)
    }

    fn decode(json: &[u8]) -> Result<Self, FormatError> {
        // The parser's complaint could quote the key.
        serde_json::from_slice(json)
            .map_err(|_| FormatError::invalid("key", "the sealed master key is not as expected"))
    }
}

impl From<&KeyBytes> for MasterKeyJson {
    fn from(key: &KeyBytes) -> Self {
        Self {
            mac: MacJson {
                k: BASE64.encode(&key.mac_k),
                r: BASE64.encode(&key.mac_r),
            },
            encrypt: BASE64.encode(&key.encrypt),
        }
    }
}

impl TryFrom<MasterKeyJson> for MasterKey {
    type Error = FormatError;

    fn try_from(json: MasterKeyJson) -> Result<Self, FormatError> {
        Ok(Self::from_key_bytes(KeyBytes {
            encrypt: secret(&json.encrypt)?,
            mac_k: secret(&json.mac.k)?,
            mac_r: secret(&json.mac.r)?,
        }))
    }
}

fn secret<const N: usize>(text: &str) -> Result<[u8; N], FormatError> {
    BASE64
        .decode(text.as_bytes())
        .map(Zeroizing::new)
        .ok()
        .and_then(|bytes| bytes.as_slice().try_into().ok())
        .ok_or_else(|| FormatError::invalid("key", "the sealed master key is not as expected"))
}

/// Bytes as base64 text.
mod base64 {
    use data_encoding::BASE64;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64.decode(text.as_bytes()).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> KeyOwner {
        KeyOwner {
            created: Timestamp::UNIX_EPOCH,
            username: "root".into(),
            hostname: "web-1".into(),
        }
    }

    #[test]
    fn opens_with_its_password_alone() {
        let master = MasterKey::generate().unwrap();
        let file = KeyFile::create(&master, "right", owner()).unwrap();
        let file = KeyFile::decode(&file.encode().unwrap()).unwrap();
        assert_eq!(file.hostname, "web-1");
        let sealed = master.seal(b"text").unwrap();
        let mut opened = Vec::new();
        file.open("right")
            .unwrap()
            .open_into(&sealed, &mut opened)
            .unwrap();
        assert_eq!(opened, b"text");
        assert!(matches!(
            file.open("wrong"),
            Err(FormatError::WrongPassword)
        ));
    }

    #[test]
    fn absurd_costs_are_refused_before_they_cost() {
        let file = KeyFile::create(&MasterKey::generate().unwrap(), "", owner()).unwrap();
        for (n, r, p) in [
            (0, 8, 1),
            (1, 8, 1),
            (3, 8, 1),
            (1 << 15, 0, 1),
            (1 << 15, 8, 0),
            (1 << 19, 8, 1),
            (1 << 63, u32::MAX, 1),
            (1 << 15, 8, 65),
            (2, 8, 1 << 20),
            (1 << 15, u32::MAX, u32::MAX),
        ] {
            let hostile = KeyFile {
                n,
                r,
                p,
                ..file.clone()
            };
            KeyFile::decode(&hostile.encode().unwrap()).unwrap_err();
            hostile.open("").unwrap_err();
        }
    }

    #[test]
    fn damage_is_refused() {
        let file = KeyFile::create(&MasterKey::generate().unwrap(), "", owner()).unwrap();
        let json = String::from_utf8(file.encode().unwrap()).unwrap();
        for (from, to) in [
            ("scrypt", "argon2"),
            ("\"salt\":\"", "\"salt\":\"!"),
            ("{", "["),
        ] {
            KeyFile::decode(json.replacen(from, to, 1).as_bytes()).unwrap_err();
        }
        let short = KeyFile {
            data: vec![0; 31],
            ..file
        };
        assert!(matches!(
            short.open(""),
            Err(FormatError::EnvelopeTooShort { .. })
        ));
    }
}
