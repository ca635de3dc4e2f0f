//! The verification of a GET: exactly the bytes that were asked for.

use http::{
    StatusCode,
    header::{CONTENT_RANGE, HeaderMap},
};

use crate::{Answer, ByteRange, FailureKind, Incoming};

impl<B: AsRef<[u8]>> Answer<B> {
    /// Refuses anything but the whole object, or exactly `range` of it.
    pub fn require(&self, range: Option<ByteRange>) -> Result<(), FailureKind> {
        require_status(self.status, range)?;
        match range {
            Some(range) => require_range(&self.headers, self.body.as_ref().len() as u64, range),
            None => Ok(()),
        }
    }
}

impl Incoming {
    /// As [`Answer::require`], by what the head says. A body that is shorter than its
    /// head says ends with an error.
    pub fn require(&self, range: Option<ByteRange>) -> Result<(), FailureKind> {
        require_status(self.status, range)?;
        match (range, self.length()) {
            (Some(range), Some(length)) => require_range(&self.headers, length, range),
            (Some(_), None) => Err(FailureKind::Denied(
                "the store does not say how many bytes it sends".into(),
            )),
            (None, _) => Ok(()),
        }
    }
}

fn require_status(status: StatusCode, range: Option<ByteRange>) -> Result<(), FailureKind> {
    let expected = match range {
        Some(_) => StatusCode::PARTIAL_CONTENT,
        None => StatusCode::OK,
    };
    if status == expected {
        return Ok(());
    }
    Err(FailureKind::Denied(format!("the store answered {status}")))
}

fn require_range(headers: &HeaderMap, got: u64, range: ByteRange) -> Result<(), FailureKind> {
    let expected = range.length();
    if got < expected {
        return Err(FailureKind::Truncated { got, expected });
    }
    let said = headers
        .get(CONTENT_RANGE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let ByteRange { first, last } = range;
    if said.starts_with(&format!("bytes {first}-{last}/")) && got == expected {
        return Ok(());
    }
    Err(FailureKind::Denied(format!(
        "asked for bytes {first}-{last}, the store sent {got} bytes as {said:?}"
    )))
}
