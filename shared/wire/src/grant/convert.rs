//! Grants at the wire.

use strongroom_layout::{
    Directory, ObjectKind, ObjectName, SystemId, WalName, WalPart, position::Lsn,
};
use strongroom_proto::v1;

use super::{
    Action, Grant, ListObjectsRequest, ListObjectsResponse, ListedObject, PublishRequest,
    PublishResponse, Refusal, RefusalReason, ReleaseLocksRequest, RequestToSign, SignAnswer,
    SignRequest, SignResponse,
};
use strongroom_spec::{BackupOutcome, Figures as _};

use crate::{
    InvalidMessage,
    field::{Reader, all, attempt_to_wire, into_all},
};

fn kind_from_wire(read: Reader, number: i32) -> Result<ObjectKind, InvalidMessage> {
    match v1::ObjectKind::try_from(number) {
        Ok(v1::ObjectKind::Config) => Ok(ObjectKind::Config),
        Ok(v1::ObjectKind::Key) => Ok(ObjectKind::Key),
        Ok(v1::ObjectKind::DataPack) => Ok(ObjectKind::DataPack),
        Ok(v1::ObjectKind::TreePack) => Ok(ObjectKind::TreePack),
        Ok(v1::ObjectKind::Index) => Ok(ObjectKind::Index),
        Ok(v1::ObjectKind::Snapshot) => Ok(ObjectKind::Snapshot),
        Ok(v1::ObjectKind::Lock) => Ok(ObjectKind::Lock),
        Ok(v1::ObjectKind::Transfer) => Ok(ObjectKind::Transfer),
        Ok(v1::ObjectKind::Wal) => Ok(ObjectKind::Wal),
        Ok(v1::ObjectKind::Unspecified) | Err(_) => {
            Err(read.invalid("kind", format!("has unknown value {number}")))
        }
    }
}

fn kind_to_wire(kind: ObjectKind) -> v1::ObjectKind {
    match kind {
        ObjectKind::Config => v1::ObjectKind::Config,
        ObjectKind::Key => v1::ObjectKind::Key,
        ObjectKind::DataPack => v1::ObjectKind::DataPack,
        ObjectKind::TreePack => v1::ObjectKind::TreePack,
        ObjectKind::Index => v1::ObjectKind::Index,
        ObjectKind::Snapshot => v1::ObjectKind::Snapshot,
        ObjectKind::Lock => v1::ObjectKind::Lock,
        ObjectKind::Transfer => v1::ObjectKind::Transfer,
        ObjectKind::Wal => v1::ObjectKind::Wal,
    }
}

/// `config` is the one object without a hash in its name, and the log's names
/// have a place besides: `Hashed` never holds one of these kinds.
fn object_from_wire(value: &v1::ObjectName) -> Result<ObjectName, InvalidMessage> {
    let read = Reader("ObjectName");
    match kind_from_wire(read, value.kind)? {
        ObjectKind::Config if value.id.is_empty() => Ok(ObjectName::Config),
        ObjectKind::Config => Err(read.invalid("id", "is set, but config has none")),
        ObjectKind::Wal => {
            let place = read.required("wal", value.wal)?;
            let part = match (place.start, place.end) {
                (0, 0) => WalPart::History,
                (start, end) if start < end => WalPart::Range {
                    start: Lsn(start),
                    end: Lsn(end),
                },
                _ => return Err(read.invalid("wal", "holds no byte")),
            };
            Ok(ObjectName::Wal(WalName {
                system: SystemId(place.system),
                timeline: read.timeline("wal", place.timeline)?,
                part,
                id: read.hash("id", &value.id)?,
            }))
        }
        kind => Ok(ObjectName::Hashed(kind, read.hash("id", &value.id)?)),
    }
}

fn object_to_wire(object: ObjectName) -> v1::ObjectName {
    let wal = match object {
        ObjectName::Wal(name) => {
            let (start, end) = match name.part {
                WalPart::History => (0, 0),
                WalPart::Range { start, end } => (start.0, end.0),
            };
            Some(v1::WalPlace {
                system: name.system.0,
                timeline: name.timeline.0,
                start,
                end,
            })
        }
        ObjectName::Config | ObjectName::Hashed(..) => None,
    };
    v1::ObjectName {
        kind: kind_to_wire(object.kind()).into(),
        id: object.id().map(|id| id.0.to_vec()).unwrap_or_default(),
        wal,
    }
}

fn directory_from_wire(read: Reader, number: i32) -> Result<Directory, InvalidMessage> {
    match v1::Directory::try_from(number) {
        Ok(v1::Directory::Keys) => Ok(Directory::Keys),
        Ok(v1::Directory::Index) => Ok(Directory::Index),
        Ok(v1::Directory::Locks) => Ok(Directory::Locks),
        Ok(v1::Directory::Snapshots) => Ok(Directory::Snapshots),
        Ok(v1::Directory::Data) => Ok(Directory::Data),
        Ok(v1::Directory::Transfers) => Ok(Directory::Transfers),
        Ok(v1::Directory::Unspecified) | Err(_) => {
            Err(read.invalid("directory", format!("has unknown value {number}")))
        }
    }
}

fn directory_to_wire(directory: Directory) -> v1::Directory {
    match directory {
        Directory::Keys => v1::Directory::Keys,
        Directory::Index => v1::Directory::Index,
        Directory::Locks => v1::Directory::Locks,
        Directory::Snapshots => v1::Directory::Snapshots,
        Directory::Data => v1::Directory::Data,
        Directory::Transfers => v1::Directory::Transfers,
    }
}

impl TryFrom<v1::SignRequest> for SignRequest {
    type Error = InvalidMessage;

    fn try_from(value: v1::SignRequest) -> Result<Self, InvalidMessage> {
        Ok(Self {
            attempt: Reader("SignRequest").attempt("attempt", value.attempt)?,
            requests: all(value.requests)?,
        })
    }
}

impl From<SignRequest> for v1::SignRequest {
    fn from(value: SignRequest) -> Self {
        Self {
            attempt: Some(attempt_to_wire(value.attempt)),
            requests: into_all(value.requests),
        }
    }
}

impl TryFrom<v1::RequestToSign> for RequestToSign {
    type Error = InvalidMessage;

    fn try_from(value: v1::RequestToSign) -> Result<Self, InvalidMessage> {
        let read = Reader("RequestToSign");
        let action = match v1::Verb::try_from(value.verb) {
            Ok(v1::Verb::Get) if !value.ranged => Action::Get { range: None },
            Ok(v1::Verb::Get) if value.range_start > value.range_end => {
                return Err(read.invalid("range_start", "is behind range_end"));
            }
            Ok(v1::Verb::Get) => Action::Get {
                range: Some((value.range_start, value.range_end)),
            },
            Ok(v1::Verb::Head) => Action::Head,
            Ok(v1::Verb::Put) => Action::Put {
                length: value.length,
                sha256: read.hash("sha256", &value.sha256)?,
            },
            Ok(v1::Verb::Delete) => Action::Delete,
            Ok(v1::Verb::Unspecified) | Err(_) => {
                return Err(read.invalid("verb", format!("has unknown value {}", value.verb)));
            }
        };
        let object = object_from_wire(&read.required("object", value.object)?)?;
        Ok(Self { object, action })
    }
}

impl From<RequestToSign> for v1::RequestToSign {
    fn from(value: RequestToSign) -> Self {
        let object = Some(object_to_wire(value.object));
        match value.action {
            Action::Get { range } => {
                let (range_start, range_end) = range.unwrap_or_default();
                Self {
                    verb: v1::Verb::Get.into(),
                    object,
                    ranged: range.is_some(),
                    range_start,
                    range_end,
                    ..Self::default()
                }
            }
            Action::Head => Self {
                verb: v1::Verb::Head.into(),
                object,
                ..Self::default()
            },
            Action::Put { length, sha256 } => Self {
                verb: v1::Verb::Put.into(),
                object,
                length,
                sha256: sha256.0.to_vec(),
                ..Self::default()
            },
            Action::Delete => Self {
                verb: v1::Verb::Delete.into(),
                object,
                ..Self::default()
            },
        }
    }
}

impl TryFrom<v1::SignResponse> for SignResponse {
    type Error = InvalidMessage;

    fn try_from(value: v1::SignResponse) -> Result<Self, InvalidMessage> {
        Ok(Self {
            answers: all(value.answers)?,
        })
    }
}

impl From<SignResponse> for v1::SignResponse {
    fn from(value: SignResponse) -> Self {
        Self {
            answers: into_all(value.answers),
        }
    }
}

impl TryFrom<v1::SignAnswer> for SignAnswer {
    type Error = InvalidMessage;

    fn try_from(value: v1::SignAnswer) -> Result<Self, InvalidMessage> {
        use v1::sign_answer::Answer;
        Ok(
            match Reader("SignAnswer").required("answer", value.answer)? {
                Answer::Grant(grant) => Self::Grant(grant.try_into()?),
                Answer::Refusal(refusal) => Self::Refusal(refusal.try_into()?),
            },
        )
    }
}

impl From<SignAnswer> for v1::SignAnswer {
    fn from(value: SignAnswer) -> Self {
        use v1::sign_answer::Answer;
        Self {
            answer: Some(match value {
                SignAnswer::Grant(grant) => Answer::Grant(grant.into()),
                SignAnswer::Refusal(refusal) => Answer::Refusal(refusal.into()),
            }),
        }
    }
}

impl TryFrom<v1::Grant> for Grant {
    type Error = InvalidMessage;

    fn try_from(value: v1::Grant) -> Result<Self, InvalidMessage> {
        let read = Reader("Grant");
        let headers = value.headers.into_iter().map(|h| (h.name, h.value));
        Ok(Self {
            method: read.text("method", value.method)?,
            url: read.text("url", value.url)?,
            headers: headers.collect(),
            valid_seconds: value.valid_seconds,
        })
    }
}

impl From<Grant> for v1::Grant {
    fn from(value: Grant) -> Self {
        let headers = value.headers.into_iter();
        Self {
            method: value.method,
            url: value.url,
            headers: headers
                .map(|(name, value)| v1::Header { name, value })
                .collect(),
            valid_seconds: value.valid_seconds,
        }
    }
}

impl TryFrom<v1::Refusal> for Refusal {
    type Error = InvalidMessage;

    fn try_from(value: v1::Refusal) -> Result<Self, InvalidMessage> {
        let reason = RefusalReason::ALL
            .into_iter()
            .find(|reason| reason.as_str() == value.reason)
            .ok_or_else(|| {
                let problem = format!("has unknown value {:?}", value.reason);
                Reader("Refusal").invalid("reason", problem)
            })?;
        Ok(Self {
            reason,
            message: value.message,
        })
    }
}

impl From<Refusal> for v1::Refusal {
    fn from(value: Refusal) -> Self {
        Self {
            reason: value.reason.as_str().into(),
            message: value.message,
        }
    }
}

impl TryFrom<v1::ListObjectsRequest> for ListObjectsRequest {
    type Error = InvalidMessage;

    fn try_from(value: v1::ListObjectsRequest) -> Result<Self, InvalidMessage> {
        let read = Reader("ListObjectsRequest");
        let after = match &value.after[..] {
            [] => None,
            id => Some(read.hash("after", id)?),
        };
        Ok(Self {
            attempt: read.attempt("attempt", value.attempt)?,
            directory: directory_from_wire(read, value.directory)?,
            after,
        })
    }
}

impl From<ListObjectsRequest> for v1::ListObjectsRequest {
    fn from(value: ListObjectsRequest) -> Self {
        Self {
            attempt: Some(attempt_to_wire(value.attempt)),
            directory: directory_to_wire(value.directory).into(),
            after: value.after.map(|id| id.0.to_vec()).unwrap_or_default(),
        }
    }
}

impl TryFrom<v1::ListObjectsResponse> for ListObjectsResponse {
    type Error = InvalidMessage;

    fn try_from(value: v1::ListObjectsResponse) -> Result<Self, InvalidMessage> {
        Ok(Self {
            objects: all(value.objects)?,
            more: value.more,
        })
    }
}

impl From<ListObjectsResponse> for v1::ListObjectsResponse {
    fn from(value: ListObjectsResponse) -> Self {
        Self {
            objects: into_all(value.objects),
            more: value.more,
        }
    }
}

impl TryFrom<v1::ListedObject> for ListedObject {
    type Error = InvalidMessage;

    fn try_from(value: v1::ListedObject) -> Result<Self, InvalidMessage> {
        Ok(Self {
            id: Reader("ListedObject").hash("id", &value.id)?,
            size: value.size,
        })
    }
}

impl From<ListedObject> for v1::ListedObject {
    fn from(value: ListedObject) -> Self {
        Self {
            id: value.id.0.to_vec(),
            size: value.size,
        }
    }
}

impl TryFrom<v1::ReleaseLocksRequest> for ReleaseLocksRequest {
    type Error = InvalidMessage;

    fn try_from(value: v1::ReleaseLocksRequest) -> Result<Self, InvalidMessage> {
        let read = Reader("ReleaseLocksRequest");
        let ids = value.ids.iter().map(|id| read.hash("ids", id));
        Ok(Self {
            ids: ids.collect::<Result<_, _>>()?,
            attempt: read.attempt("attempt", value.attempt)?,
        })
    }
}

impl From<ReleaseLocksRequest> for v1::ReleaseLocksRequest {
    fn from(value: ReleaseLocksRequest) -> Self {
        Self {
            attempt: Some(attempt_to_wire(value.attempt)),
            ids: value.ids.iter().map(|id| id.0.to_vec()).collect(),
        }
    }
}

impl TryFrom<v1::PublishRequest> for PublishRequest {
    type Error = InvalidMessage;

    fn try_from(value: v1::PublishRequest) -> Result<Self, InvalidMessage> {
        let read = Reader("PublishRequest");
        let mut result: BackupOutcome = serde_json::from_str(&value.outcome)
            .map_err(|error| read.invalid("outcome", format!("is no backup's: {error}")))?;
        let wrong =
            |invalid: strongroom_spec::Invalid| read.invalid("outcome", invalid.to_string());
        result.check().map_err(wrong)?;
        result.bound();
        Ok(Self {
            attempt: read.attempt("attempt", value.attempt)?,
            snapshot: read.hash("snapshot", &value.snapshot)?,
            length: value.length,
            result,
            snapshot_time_us: value.snapshot_time_us,
        })
    }
}

impl From<PublishRequest> for v1::PublishRequest {
    fn from(value: PublishRequest) -> Self {
        Self {
            attempt: Some(attempt_to_wire(value.attempt)),
            snapshot: value.snapshot.0.to_vec(),
            length: value.length,
            // Plain figures are always written.
            outcome: serde_json::to_string(&value.result).unwrap_or_default(),
            snapshot_time_us: value.snapshot_time_us,
        }
    }
}

impl TryFrom<v1::PublishResponse> for PublishResponse {
    type Error = InvalidMessage;

    fn try_from(value: v1::PublishResponse) -> Result<Self, InvalidMessage> {
        let answer = Reader("PublishResponse").required("answer", value.answer)?;
        Ok(Self {
            answer: answer.try_into()?,
        })
    }
}

impl From<PublishResponse> for v1::PublishResponse {
    fn from(value: PublishResponse) -> Self {
        Self {
            answer: Some(value.answer.into()),
        }
    }
}
