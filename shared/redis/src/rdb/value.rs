//! How long a value is: `rdbLoadObject` without the objects.

use std::io::Read;

use super::{Flavour, error::RdbError, input::Input};

/// Why a value could not be passed over.
pub(super) enum Stop {
    Error(RdbError),
    /// Of a type that is not known.
    Unknown,
}

impl From<RdbError> for Stop {
    fn from(error: RdbError) -> Self {
        Self::Error(error)
    }
}

/// Passes over the value of type `kind`; gives the id of its module, if it has
/// one.
pub(super) fn skip<R: Read>(
    input: &mut Input<R>,
    kind: u8,
    flavour: Flavour,
) -> Result<Option<u64>, Stop> {
    match (kind, flavour) {
        // A string; or a zipmap, ziplist, intset or listpack inside of one.
        (0 | 9..=13 | 16 | 17 | 20, _) | (23, Flavour::Redis) => input.skip_string()?,
        // List, set, and a list of ziplists.
        (1 | 2 | 14, _) => strings(input, 1)?,
        // Sorted set, its scores as text.
        (3, _) => each(input, |input| {
            input.skip_string()?;
            skip_double(input)
        })?,
        // Hash.
        (4, _) => strings(input, 2)?,
        // Sorted set, its scores in binary.
        (5, _) => each(input, |input| {
            input.skip_string()?;
            input.skip(8)
        })?,
        (7, _) => {
            let module = input.number()?;
            skip_module(input)?;
            return Ok(Some(module));
        }
        // Quicklist of plain nodes and listpacks.
        (18, _) => each(input, |input| {
            input.number()?;
            input.skip_string()
        })?,
        (15, _) => skip_stream(input, 1)?,
        (19, _) => skip_stream(input, 2)?,
        (21, _) => skip_stream(input, 3)?,
        // Valkey 9: hash whose fields expire, each at a time of its own.
        (22, Flavour::Valkey) => each(input, |input| {
            input.skip_string()?;
            input.skip_string()?;
            input.skip(8)
        })?,
        // Redis 7.4: hash whose fields expire; 22 and 23 are those of its
        // release candidates.
        (22, Flavour::Redis) => expiring_hash(input)?,
        (24, Flavour::Redis) => {
            input.skip(8)?;
            expiring_hash(input)?;
        }
        (25, Flavour::Redis) => {
            input.skip(8)?;
            input.skip_string()?;
        }
        _ => return Err(Stop::Unknown),
    }
    Ok(None)
}

fn each<R: Read>(
    input: &mut Input<R>,
    mut skip: impl FnMut(&mut Input<R>) -> Result<(), RdbError>,
) -> Result<(), RdbError> {
    let count = input.number()?;
    (0..count).try_for_each(|_| skip(input))
}

fn strings<R: Read>(input: &mut Input<R>, of_each: u64) -> Result<(), RdbError> {
    each(input, |input| {
        (0..of_each).try_for_each(|_| input.skip_string())
    })
}

fn expiring_hash<R: Read>(input: &mut Input<R>) -> Result<(), RdbError> {
    each(input, |input| {
        input.number()?;
        input.skip_string()?;
        input.skip_string()
    })
}

/// `rdbLoadDoubleValue`: 253 to 255 stand for what is no number or infinite.
fn skip_double<R: Read>(input: &mut Input<R>) -> Result<(), RdbError> {
    match input.byte()? {
        253..=255 => Ok(()),
        length => input.skip(length.into()),
    }
}

/// What a module wrote, up to its end mark: `rdbLoadCheckModuleValue`.
pub(super) fn skip_module<R: Read>(input: &mut Input<R>) -> Result<(), RdbError> {
    loop {
        match input.number()? {
            0 => return Ok(()),
            // Signed and unsigned numbers.
            1 | 2 => input.skip_numbers(1)?,
            // Float, double.
            3 => input.skip(4)?,
            4 => input.skip(8)?,
            5 => input.skip_string()?,
            _ => return Err(input.damaged("an unknown part of a module's value")),
        }
    }
}

/// A stream; `version` 2 came with Redis 7.0, 3 with 7.2.
fn skip_stream<R: Read>(input: &mut Input<R>, version: u8) -> Result<(), RdbError> {
    // Each listpack with the id of its first entry.
    strings(input, 2)?;
    // Length and last id; from 2 on first id, greatest deleted id, and how
    // many were ever added.
    input.skip_numbers(if version >= 2 { 8 } else { 3 })?;
    each(input, |input| skip_group(input, version))
}

fn skip_group<R: Read>(input: &mut Input<R>, version: u8) -> Result<(), RdbError> {
    input.skip_string()?;
    // Last delivered id, and from 2 on how many were read.
    input.skip_numbers(if version >= 2 { 3 } else { 2 })?;
    // Pending entries: raw id, time and count of deliveries.
    each(input, |input| {
        input.skip(16 + 8)?;
        input.skip_numbers(1)
    })?;
    each(input, |input| {
        input.skip_string()?;
        // When the consumer was last seen; from 3 on also when it last read.
        input.skip(if version >= 3 { 16 } else { 8 })?;
        each(input, |input| input.skip(16))
    })
}
