//! The shapes of the REST API, and so of `--output json`: stable, documented
//! in the OpenAPI document, read by the command line.
//!
//! They are apart from the catalog's model so that the catalog may change
//! without breaking anybody's script. Times are RFC 3339 in UTC, sizes are
//! bytes, ids are text. A field that may be absent is `null`, never left out.
//!
//! What a job is asked, what comes of it and what a restore asks for are said by
//! `strongroom-spec`, here as elsewhere.
//!
//! To add a shape: a file per subject, the conversion from the model next to
//! the endpoint that answers with it.

mod agent;
mod audit;
mod event;
mod job;
mod labels;
mod limits;
mod operator;
mod policy;
mod problem;
mod recovery;
mod repository;
mod snapshot;
mod status;
mod store;
mod transfer;

pub use self::{
    agent::{
        Agent, AgentState, Agents, Connection, Consent, Contest, Database, Fact, Holder,
        Invitation, InvitationState, InvitationStatus, InviteRequest, LabelRequest, Server,
        TrustRequest,
    },
    audit::{AuditEntries, AuditEntry},
    event::{Event, Events},
    job::{
        AgentRef, Attempt, Job, JobFailure, JobLog, JobLogEntry, JobState, Jobs, Progress,
        RunRequest, StartedJobs, WaitsFor, Warning,
    },
    labels::Labels,
    limits::Limits,
    operator::{CreateOperator, NewOperator, Operator, Operators, RenewOperator},
    policy::{Applied, ApplyRequest, Policies, Policy, PolicyChange, PolicyDifference},
    problem::ProblemKind,
    recovery::{Archiving, LineEnd, Recovery, RecoveryGap, RecoveryWindow},
    repository::{LostObject, Repositories, Repository, RepositoryLosses, RepositoryPassword},
    snapshot::{ListQuery, Listing, Snapshot, Snapshots},
    status::{AgentClock, ContestedAgent, Counts, DatasetStatus, LossStatus, Status, StoreStatus},
    store::{Store, StoreFinding, StoreOutage, StoreState, Stores},
    transfer::{
        DownloadRequest, EndedTransfer, FetchPieces, FinishUpload, Piece, SendPieces,
        SignedRequest, SignedRequests, Upload, UploadProgress, UploadRequest,
    },
};
