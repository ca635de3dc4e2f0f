//! `strongroom run` and `strongroom jobs …`

use clap::{Args, Subcommand};

use strongroom_spec::JobKind;

use crate::http::dto::JobState;

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The policy's name.
    pub(crate) policy: String,
    /// Only on this agent: name or id.
    #[arg(long)]
    pub(crate) agent: Option<String>,
    /// Wait for the end and show the progress.
    #[arg(long)]
    pub(crate) wait: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum JobsCommand {
    /// Jobs, newest first.
    List(JobsListArgs),
    /// One job with its attempts and warnings.
    Show {
        /// Id, or a beginning or ending of it that no other job has.
        job: String,
    },
    /// What happened to a job: who asked for it, its attempts, the stages they came
    /// to, warnings and ends, oldest first.
    Logs {
        /// Id, or a beginning or ending of it that no other job has.
        job: String,
        /// Go on until the job has ended.
        #[arg(short, long)]
        follow: bool,
    },
    /// Stop a job.
    Cancel {
        /// Id, or a beginning or ending of it that no other job has.
        job: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct JobsListArgs {
    /// Only of this agent: name or id.
    #[arg(long)]
    pub(crate) agent: Option<String>,
    /// Only of this policy.
    #[arg(long)]
    pub(crate) policy: Option<String>,
    /// Only in this state.
    #[arg(long, value_enum)]
    pub(crate) state: Option<JobState>,
    /// Only of this kind.
    #[arg(long, value_enum)]
    pub(crate) kind: Option<JobKind>,
    /// Only jobs older than this id.
    #[arg(long, value_name = "ID")]
    pub(crate) before: Option<String>,
    /// How many at most.
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub(crate) limit: u32,
}
