//! Reading fields: what each conversion at the border is made of.
//!
//! Types of `strongroom-layout` and their generated counterparts belong to
//! other crates, so their conversions are functions here and not `TryFrom`.

use jiff::Timestamp;
use strongroom_layout::{AttemptRef, JobId, ObjectId, position::TimelineId};
use strongroom_proto::v1;
use uuid::Uuid;

use crate::InvalidMessage;

/// Says precisely what is wrong with one message.
#[derive(Clone, Copy)]
pub(crate) struct Reader(pub(crate) &'static str);

impl Reader {
    /// An error about `field`.
    pub(crate) fn invalid(self, field: &'static str, problem: impl Into<String>) -> InvalidMessage {
        InvalidMessage {
            message: self.0,
            field,
            problem: problem.into(),
        }
    }

    /// A message or oneof that must be there.
    pub(crate) fn required<T>(
        self,
        field: &'static str,
        value: Option<T>,
    ) -> Result<T, InvalidMessage> {
        value.ok_or_else(|| self.invalid(field, "is missing"))
    }

    /// A text that must not be empty.
    pub(crate) fn text(self, field: &'static str, value: String) -> Result<String, InvalidMessage> {
        if value.is_empty() {
            return Err(self.invalid(field, "is empty"));
        }
        Ok(value)
    }

    /// A hyphenated UUID.
    pub(crate) fn uuid(self, field: &'static str, text: &str) -> Result<Uuid, InvalidMessage> {
        Uuid::parse_str(text).map_err(|_| self.invalid(field, format!("{text:?} is not a UUID")))
    }

    /// Exactly 32 bytes.
    pub(crate) fn hash(
        self,
        field: &'static str,
        bytes: &[u8],
    ) -> Result<ObjectId, InvalidMessage> {
        ObjectId::from_slice(bytes)
            .ok_or_else(|| self.invalid(field, format!("has {} bytes instead of 32", bytes.len())))
    }

    /// A list that is never longer than `max`.
    pub(crate) fn at_most<T>(
        self,
        field: &'static str,
        max: usize,
        list: &[T],
    ) -> Result<(), InvalidMessage> {
        if list.len() > max {
            let problem = format!("has {} elements, at most {max} are allowed", list.len());
            return Err(self.invalid(field, problem));
        }
        Ok(())
    }

    /// Unix microseconds.
    pub(crate) fn time(
        self,
        field: &'static str,
        microseconds: i64,
    ) -> Result<Timestamp, InvalidMessage> {
        Timestamp::from_microsecond(microseconds)
            .map_err(|_| self.invalid(field, format!("has impossible value {microseconds}")))
    }

    /// A timeline; they count from 1.
    pub(crate) fn timeline(
        self,
        field: &'static str,
        number: u32,
    ) -> Result<TimelineId, InvalidMessage> {
        if number == 0 {
            return Err(self.invalid(field, "is 0; timelines count from 1"));
        }
        Ok(TimelineId(number))
    }

    /// An attempt that must be there.
    pub(crate) fn attempt(
        self,
        field: &'static str,
        value: Option<v1::AttemptRef>,
    ) -> Result<AttemptRef, InvalidMessage> {
        attempt_from_wire(&self.required(field, value)?)
    }
}

/// Attempts count from 1: a zero is a field that was never set.
fn attempt_from_wire(value: &v1::AttemptRef) -> Result<AttemptRef, InvalidMessage> {
    let read = Reader("AttemptRef");
    let job = JobId(read.uuid("job_id", &value.job_id)?);
    if value.attempt == 0 {
        return Err(read.invalid("attempt", "is 0; attempts count from 1"));
    }
    Ok(AttemptRef {
        job,
        attempt: value.attempt,
    })
}

/// The generated form of an attempt.
pub(crate) fn attempt_to_wire(value: AttemptRef) -> v1::AttemptRef {
    v1::AttemptRef {
        job_id: value.job.to_string(),
        attempt: value.attempt,
    }
}

/// A list of attempts.
pub(crate) fn attempts_from_wire(
    values: &[v1::AttemptRef],
) -> Result<Vec<AttemptRef>, InvalidMessage> {
    values.iter().map(attempt_from_wire).collect()
}

/// The generated form of a list of attempts.
pub(crate) fn attempts_to_wire(values: Vec<AttemptRef>) -> Vec<v1::AttemptRef> {
    values.into_iter().map(attempt_to_wire).collect()
}

/// Every element, or the first that is wrong.
pub(crate) fn all<W, T>(values: Vec<W>) -> Result<Vec<T>, InvalidMessage>
where
    T: TryFrom<W, Error = InvalidMessage>,
{
    values.into_iter().map(T::try_from).collect()
}

/// Every element.
pub(crate) fn into_all<T, W: From<T>>(values: Vec<T>) -> Vec<W> {
    values.into_iter().map(W::from).collect()
}
