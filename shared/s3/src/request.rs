//! The request: signed by whoever may, sent as it is.

use bytes::Bytes;
use http::{HeaderMap, Method};

/// A signed S3 request, to be sent as it is.
#[derive(Clone, Debug)]
pub struct SignedRequest {
    /// `GET`, `HEAD`, `PUT`, ….
    pub method: Method,
    /// Absolute, percent-encoded.
    pub url: String,
    /// `authorization`, `x-amz-date`, `x-amz-content-sha256`, ….
    pub headers: HeaderMap,
}

/// The bytes of a request, which are never copied together.
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a> {
    parts: &'a [Bytes],
    length: u64,
}

impl<'a> Payload<'a> {
    /// Sends these parts back to back.
    pub fn new(parts: &'a [Bytes]) -> Self {
        let length = parts.iter().map(|part| part.len() as u64).sum();
        Self { parts, length }
    }

    /// The bytes.
    pub fn parts(&self) -> &'a [Bytes] {
        self.parts
    }

    /// How many bytes these are.
    pub fn length(&self) -> u64 {
        self.length
    }
}
