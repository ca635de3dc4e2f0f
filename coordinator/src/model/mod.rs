//! Plain types of everything in the catalog: what it is, not how it is
//! stored or reached.
//!
//! A state that carries data is an enum ([`JobState`], [`AgentState`],
//! [`JoinTokenState`]); its transitions consume it and live beside the
//! planners in [`crate::jobs`]. To add an entity: a file here, a table in
//! `migrations/`, a file of the same name in [`crate::catalog`].

pub(crate) mod agent;
mod audit;
mod budget;
mod dataset;
mod event;
mod job;
mod lost_object;
mod names;
mod object;
mod operator;
mod own_key;
mod repository;
mod request_key;
mod secret;
mod session;
mod snapshot;
mod token;
mod transfer;
mod wal;
mod words;

pub use agent::{
    Agent, AgentCertificate, AgentFacts, AgentState, CertificateEnd, Contest, ContestSign, Holder,
};
pub use audit::{Actor, AuditOutcome, AuditRow, NewAudit};
pub use budget::{Budget, Written};
pub use dataset::DatasetName;
pub use event::{Event, EventKind, NewEvent, Subject};
pub use job::{
    Attempt, CancelRequest, Job, JobDetail, JobLimits, JobMark, JobState, Lease, NewJob, StateWord,
    TraceRef,
};
pub use lost_object::{Comparison, LossAlarm, LostObject};
pub use names::{
    InvalidLabel, InvalidName, SAFETY_POLICY, UPLOAD_POLICY, check_labels, check_name,
    name_from_hostname,
};
pub use object::ObjectRow;
pub use operator::Operator;
pub use own_key::{OwnKey, OwnKeyKind};
pub use repository::{NewRepository, Repository, RepositoryState};
pub use request_key::{KeptAnswer, KeptBody, KeyState, KeyedRequest};
pub use secret::SecretHash;
pub use session::{NotedProgress, Session, SessionElsewhere};
pub use snapshot::Snapshot;
pub use token::{JoinToken, JoinTokenState, NewJoinToken};
pub use transfer::Transfer;
pub use wal::{
    WalArchive, WalBreak, WalConflict, WalHistory, WalLine, WalProgress, WalRestorePoint,
    WalStretch,
};

/// Labels of an agent: `role = "web"`.
pub type Labels = std::collections::BTreeMap<String, String>;
