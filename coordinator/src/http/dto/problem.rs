//! Kinds of problems.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::problem::Code;

/// A kind of problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProblemKind {
    /// As problems of this kind name it.
    #[serde(rename = "type")]
    #[schema(format = "uri-reference")]
    pub kind: String,
    /// As problems of this kind say it.
    pub title: String,
    /// The HTTP status of problems of this kind.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// The code of problems of this kind.
    pub code: Code,
    /// What to do about it.
    pub advice: String,
}

impl ProblemKind {
    /// What is said of the problems with a code.
    pub fn of(code: Code) -> Self {
        Self {
            kind: format!("/problems/{}", code.as_str()),
            title: code.title().to_owned(),
            status: code.status().as_u16(),
            code,
            advice: code.advice().to_owned(),
        }
    }
}
