//! A small writer of RDBs.

use super::super::sum;

pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn new(header: &[u8; 9]) -> Self {
        Self(header.to_vec())
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn number(&mut self, number: u64) -> &mut Self {
        match number {
            0..64 => self.0.push(number as u8),
            64..16384 => self
                .0
                .extend_from_slice(&(0x4000 | number as u16).to_be_bytes()),
            _ if number <= u32::MAX.into() => {
                self.0.push(0x80);
                self.0.extend_from_slice(&(number as u32).to_be_bytes());
            }
            _ => {
                self.0.push(0x81);
                self.0.extend_from_slice(&number.to_be_bytes());
            }
        }
        self
    }

    pub(super) fn string(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len() as u64).raw(bytes)
    }

    pub(super) fn set(&mut self, key: &[u8], value: &[u8]) -> &mut Self {
        self.raw(&[0]).string(key).string(value)
    }

    pub(super) fn aux(&mut self, name: &str, value: &str) -> &mut Self {
        self.raw(&[250])
            .string(name.as_bytes())
            .string(value.as_bytes())
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// With end and checksum.
    pub(super) fn end(&mut self) -> Vec<u8> {
        let mut out = std::mem::take(&mut self.0);
        out.push(255);
        let sum = sum::of(&out);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }
}
