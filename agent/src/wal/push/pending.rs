//! Files on their way from the server to the archive.

use std::collections::{BTreeMap, BTreeSet};

use futures::{future::BoxFuture, stream::FuturesOrdered};
use jiff::Timestamp;
use strongroom_postgres::wal::Layout;
use strongroom_repository::buffers::Buffers;
use tokio::sync::oneshot;

use super::{
    super::{WalError, place::Archived},
    files::Read,
};

/// How far each file is, and the archive with them.
#[derive(Default)]
pub(super) struct Files {
    pub(super) reading: FuturesOrdered<BoxFuture<'static, (String, Result<Read, WalError>)>>,
    /// Being read or archived.
    pub(super) under_way: BTreeSet<String>,
    /// Who waits for them.
    pub(super) waiting: BTreeMap<String, Vec<oneshot::Sender<Result<(), String>>>>,
    /// Archived, and not yet asked for.
    pub(super) done: BTreeSet<String>,
    pub(super) tail: Option<Archived>,
    pub(super) last_commit: Option<Timestamp>,
    /// Memory for what is read; given back while nothing is.
    pub(super) buffers: Buffers,
    /// Ready to be pushed when last looked.
    pub(super) ready: usize,
    pub(super) dropping: bool,
}

impl Files {
    /// A file is archived, or is not: whoever waits is told.
    pub(super) fn finish(&mut self, file: &str, outcome: &Result<(), String>) {
        self.under_way.remove(file);
        let waiting = self.waiting.remove(file).unwrap_or_default();
        if waiting.is_empty() && outcome.is_ok() {
            self.done.insert(file.to_owned());
        }
        for answer in waiting {
            let _hung_up = answer.send(outcome.clone());
        }
    }

    /// Whether more is ready to be pushed than is under way or done.
    pub(super) fn more_wait(&self) -> bool {
        self.ready > self.done.len() + self.under_way.len()
    }

    /// What waits on the server, in bytes.
    pub(super) fn waiting_bytes(&self, layout: Layout) -> u64 {
        let pending = self.ready.saturating_sub(self.done.len()) as u64;
        pending.saturating_mul(layout.segment_size.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_wait_only_while_some_are_left_to_begin_with() {
        let mut files = Files {
            ready: 3,
            ..Files::default()
        };
        assert!(files.more_wait());
        files.under_way.extend(["a".into(), "b".into()]);
        assert!(files.more_wait());
        files.under_way.insert("c".into());
        assert!(!files.more_wait());
        // Archived, and still in the server's list.
        files.finish("a", &Ok(()));
        assert!(!files.more_wait());
        files.ready = 4;
        assert!(files.more_wait());
    }
}
