//! One pass over an RDB, key by key.

use std::{collections::BTreeMap, io::Read};

use super::{
    Checksum, Counts, Flavour, RdbError, Summary,
    input::Input,
    sum::TRAILER,
    value::{self, Stop},
};

/// Auxiliary fields and module names that are kept.
const KEPT: usize = 64;
/// Longest auxiliary field that is kept, in bytes.
const LONGEST_AUX: usize = 1024;
/// A server with more databases than this has none of ours.
const MOST_DATABASES: usize = 1 << 20;
/// The first version with a checksum.
const CHECKSUMS_SINCE: u32 = 5;

/// What stands before a value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Key {
    /// The database's number.
    pub database: u64,
    /// Any bytes.
    pub name: Vec<u8>,
    /// When it expires, in milliseconds since 1970 UTC.
    pub expires: Option<i64>,
    /// Seconds since its last use, when the server evicts by that.
    pub idle: Option<u64>,
    /// How often it is used, logarithmic, when the server evicts by that.
    pub frequency: Option<u8>,
    /// The type of its value: `RDB_TYPE_…` in `rdb.h`.
    pub kind: u8,
}

/// A value as it stands in the RDB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// Its type.
    pub kind: u8,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Reads an RDB. Holds one key at a time, and one value when asked for it.
pub struct Reader<R> {
    input: Input<R>,
    key: Key,
    /// Whether the value of `key` is still to be read.
    pending: bool,
    summary: Summary,
    scratch: Vec<u8>,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    pub fn new(inner: R) -> Result<Self, RdbError> {
        let mut input = Input::new(inner);
        let header: [u8; 9] = input.array()?;
        let (flavour, digits) = match &header {
            [b'R', b'E', b'D', b'I', b'S', digits @ ..] => (Flavour::Redis, digits.as_slice()),
            [b'V', b'A', b'L', b'K', b'E', b'Y', digits @ ..] => {
                (Flavour::Valkey, digits.as_slice())
            }
            _ => return Err(RdbError::NotRdb),
        };
        let version = digits.iter().try_fold(0, |version: u32, digit| {
            digit
                .is_ascii_digit()
                .then(|| version * 10 + u32::from(digit - b'0'))
        });
        let version = version.filter(|it| *it > 0).ok_or(RdbError::NotRdb)?;
        Ok(Self {
            input,
            key: Key::default(),
            pending: false,
            summary: Summary {
                version,
                flavour,
                bytes: 0,
                checksum: Checksum::Absent,
                databases: BTreeMap::new(),
                functions: 0,
                aux: BTreeMap::new(),
                modules: Vec::new(),
            },
            scratch: Vec::new(),
            ended: false,
        })
    }

    /// The RDB's version.
    pub fn version(&self) -> u32 {
        self.summary.version
    }

    /// What was found so far; whole once [`Reader::advance`] gave `false`.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// The key that [`Reader::advance`] has reached.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Goes to the next key, past the value of the last one. `false` at the
    /// end, once the checksum is verified.
    pub fn advance(&mut self) -> Result<bool, RdbError> {
        if self.ended {
            return Ok(false);
        }
        self.skip_value()?;
        (self.key.expires, self.key.idle, self.key.frequency) = (None, None, None);
        loop {
            match self.input.byte()? {
                // Expiry in milliseconds; in seconds before version 3.
                252 => self.key.expires = Some(i64::from_le_bytes(self.input.array()?)),
                253 => {
                    let seconds = i32::from_le_bytes(self.input.array()?);
                    self.key.expires = Some(i64::from(seconds) * 1000);
                }
                248 => self.key.idle = Some(self.input.number()?),
                249 => self.key.frequency = Some(self.input.byte()?),
                254 => self.key.database = self.input.number()?,
                // Hints on sizes: of a database, of a slot.
                251 => self.input.skip_numbers(2)?,
                244 => self.input.skip_numbers(3)?,
                250 => self.aux()?,
                247 => self.module_aux()?,
                245 => {
                    self.input.skip_string()?;
                    self.summary.functions += 1;
                }
                // A slot that moves: its job, and ranges.
                243 if self.summary.flavour == Flavour::Valkey => {
                    self.input.skip_string()?;
                    let ranges = self.input.number()?;
                    (0..ranges).try_for_each(|_| self.input.skip_numbers(2))?;
                }
                255 => {
                    self.end()?;
                    return Ok(false);
                }
                opcode @ 200.. => return Err(self.unsupported("an opcode", opcode)),
                kind => {
                    self.key.kind = kind;
                    self.input.string(&mut self.key.name)?;
                    self.pending = true;
                    self.count()?;
                    return Ok(true);
                }
            }
        }
    }

    fn count(&mut self) -> Result<(), RdbError> {
        let databases = &mut self.summary.databases;
        if databases.len() >= MOST_DATABASES && !databases.contains_key(&self.key.database) {
            return Err(self.input.damaged("more than a million databases"));
        }
        let Counts { keys, expiring } = databases.entry(self.key.database).or_default();
        *keys += 1;
        *expiring += u64::from(self.key.expires.is_some());
        Ok(())
    }

    /// The value of the key that was reached; `Err` with its length when it
    /// has more than `most` bytes. To be asked once.
    pub fn value(&mut self, most: usize) -> Result<Result<Value, u64>, RdbError> {
        self.input.record(most);
        let skipped = self.skip_value();
        let recorded = self.input.recorded();
        skipped?;
        Ok(recorded.map(|bytes| Value {
            kind: self.key.kind,
            bytes,
        }))
    }

    fn skip_value(&mut self) -> Result<(), RdbError> {
        if !std::mem::take(&mut self.pending) {
            return Ok(());
        }
        let kind = self.key.kind;
        match value::skip(&mut self.input, kind, self.summary.flavour) {
            Ok(None) => Ok(()),
            Ok(Some(module)) => {
                self.note_module(module);
                Ok(())
            }
            Err(Stop::Error(error)) => Err(error),
            Err(Stop::Unknown) => Err(self.unsupported("a value of type", kind)),
        }
    }

    fn aux(&mut self) -> Result<(), RdbError> {
        self.input.string(&mut self.scratch)?;
        let name = text(&self.scratch);
        self.input.string(&mut self.scratch)?;
        if let (Some(name), Some(value)) = (name, text(&self.scratch))
            && self.summary.aux.len() < KEPT
        {
            self.summary.aux.insert(name, value);
        }
        Ok(())
    }

    fn module_aux(&mut self) -> Result<(), RdbError> {
        let module = self.input.number()?;
        self.note_module(module);
        // An opcode and when to load it; both numbers.
        self.input.skip_numbers(2)?;
        value::skip_module(&mut self.input)
    }

    fn note_module(&mut self, id: u64) {
        let name = module_name(id);
        let modules = &mut self.summary.modules;
        if modules.len() < KEPT && !modules.contains(&name) {
            modules.push(name);
        }
    }

    fn unsupported(&self, what: &'static str, number: u8) -> RdbError {
        RdbError::Unsupported {
            what,
            number,
            version: self.summary.version,
            flavour: self.summary.flavour,
            position: self.input.position(),
        }
    }

    fn end(&mut self) -> Result<(), RdbError> {
        if self.summary.version >= CHECKSUMS_SINCE {
            self.input.skip(TRAILER as u64)?;
        }
        let position = self.input.position();
        if !self.input.is_at_end()? {
            return Err(RdbError::Trailing { position });
        }
        self.finish()?;
        self.ended = true;
        Ok(())
    }

    /// Reads to the end whatever it is, and verifies the checksum: for an RDB
    /// that [`Reader::advance`] found too new.
    pub fn drain(&mut self) -> Result<(), RdbError> {
        self.input.drain()?;
        self.finish()
    }

    fn finish(&mut self) -> Result<(), RdbError> {
        self.summary.bytes = self.input.position();
        if self.summary.version < CHECKSUMS_SINCE {
            return Ok(());
        }
        let position = self.input.position();
        let (found, said) = self
            .input
            .sum
            .finish()
            .ok_or(RdbError::Truncated { position })?;
        self.summary.checksum = match said {
            0 => Checksum::Disabled,
            said if said == found => Checksum::Verified,
            said => return Err(RdbError::Checksum { said, found }),
        };
        Ok(())
    }
}

fn text(bytes: &[u8]) -> Option<String> {
    (bytes.len() <= LONGEST_AUX).then(|| String::from_utf8_lossy(bytes).into_owned())
}

/// Nine characters of six bits each, above ten bits of a version:
/// `moduleTypeNameByID`.
fn module_name(id: u64) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..9)
        .rev()
        .map(|place| char::from(LETTERS[(id >> (10 + 6 * place) & 63) as usize]))
        .collect()
}
