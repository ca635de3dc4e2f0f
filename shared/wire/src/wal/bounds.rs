//! What the coordinator keeps of what an agent says of its log.

use super::{Commits, WalPosition};
use strongroom_spec::{LINE, cut, limit};

/// What an agent says of its log.
pub(super) fn bound_position(position: &mut WalPosition) {
    limit([&mut position.waiting]);
    if let Some(problem) = &mut position.problem {
        cut(problem, LINE);
    }
}

/// What a part or a history of the log is said to be.
pub(super) fn bound_commits(commits: &mut Commits) {
    limit([&mut commits.count]);
}
