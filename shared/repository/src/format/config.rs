//! `config`: a repository's version and id.
//!
//! Enveloped, but neither compressed nor prefixed.
//!
//! Source: restic `doc/design.rst`, "Repository Format".

use serde::{Deserialize, Serialize};
use strongroom_layout::ObjectId;

use super::{FormatError, polynomial::Polynomial};

/// The version that this crate writes.
pub const VERSION: u32 = 2;

/// The oldest version that this crate reads: it knows no compression.
const OLDEST: u32 = 1;

/// A repository's config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Random; tells repositories apart.
    pub id: ObjectId,
    /// 2, or 1: such a repository can only be read.
    pub version: u32,
    chunker_polynomial: Polynomial,
}

#[derive(Serialize, Deserialize)]
struct ConfigJson {
    version: u32,
    id: String,
    chunker_polynomial: String,
}

impl Config {
    /// For a new repository.
    pub fn generate() -> Result<Self, FormatError> {
        let mut id = [0; 32];
        getrandom::fill(&mut id)?;
        Ok(Self {
            id: ObjectId(id),
            version: VERSION,
            chunker_polynomial: Polynomial::generate()?,
        })
    }

    /// JSON.
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        serde_json::to_vec(&ConfigJson {
            version: self.version,
            id: self.id.to_string(),
            chunker_polynomial: self.chunker_polynomial.to_string(),
        })
        .map_err(FormatError::json("config"))
    }

    /// From JSON; unknown fields are tolerated, other versions are not.
    pub fn decode(json: &[u8]) -> Result<Self, FormatError> {
        let config: ConfigJson =
            serde_json::from_slice(json).map_err(FormatError::json("config"))?;
        if !(OLDEST..=VERSION).contains(&config.version) {
            return Err(FormatError::UnsupportedVersion {
                version: config.version,
            });
        }
        let invalid = |problem: String| FormatError::invalid("config", problem);
        let chunker_polynomial = u64::from_str_radix(&config.chunker_polynomial, 16)
            .ok()
            .map(Polynomial)
            .filter(|polynomial| polynomial.is_valid())
            .ok_or_else(|| {
                invalid(format!(
                    "{:?} is no irreducible polynomial of degree 53",
                    config.chunker_polynomial
                ))
            })?;
        Ok(Self {
            id: config
                .id
                .parse()
                .map_err(|error| invalid(format!("{error}")))?,
            version: config.version,
            chunker_polynomial,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = concat!(
        r#"{"version":2,"id":"169ea99be5dcc365fb6d085d04ce1f05fd5b1d587ca3e9b671464b68e764494b","#,
        r#""chunker_polynomial":"2cb2520833d42d"}"#,
    );

    #[test]
    fn is_written_as_restic_does() {
        let config = Config::decode(JSON.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(config.encode().unwrap()).unwrap(), JSON);
    }

    #[test]
    fn new_ones_round_trip_and_differ() {
        let config = Config::generate().unwrap();
        assert_eq!(Config::decode(&config.encode().unwrap()).unwrap(), config);
        assert_ne!(Config::generate().unwrap(), config);
    }

    #[test]
    fn other_versions_are_refused_by_number() {
        for version in [0, 3] {
            let json = JSON.replace(":2,", &format!(":{version},"));
            assert!(matches!(
                Config::decode(json.as_bytes()),
                Err(FormatError::UnsupportedVersion { version: found }) if found == version
            ));
        }
    }

    #[test]
    fn version_1_keeps_its_number() {
        let json = JSON.replace(":2,", ":1,");
        let config = Config::decode(json.as_bytes()).unwrap();
        assert_eq!(config.version, 1);
        assert_eq!(config.encode().unwrap(), json.as_bytes());
    }

    #[test]
    fn damage_is_refused() {
        for (from, to) in [("2cb2", "2cb3"), ("169e", "169"), ("169e", "169E")] {
            Config::decode(JSON.replacen(from, to, 1).as_bytes()).unwrap_err();
        }
        Config::decode(b"{}").unwrap_err();
    }
}
