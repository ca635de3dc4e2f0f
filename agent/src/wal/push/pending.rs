//! Files on their way from the server to the archive.

use std::collections::BTreeMap;

use futures::{future::BoxFuture, stream::FuturesOrdered};
use jiff::Timestamp;
use strongroom_postgres::wal::Layout;
use strongroom_runtime::buffers::Buffers;
use tokio::sync::oneshot;

use super::{
    super::{WalError, resume::Archived},
    directory::Stamp,
    files::Read,
};

/// Whoever waits for a file, and which file that was when he asked.
type Waiting = (Option<Stamp>, oneshot::Sender<Result<(), String>>);

/// A file that was read: its name, which file it was, and what is in it.
pub(super) type WasRead = (String, Option<Stamp>, Result<Read, WalError>);

/// How far each file is, and the archive with them.
#[derive(Default)]
pub(super) struct Files {
    pub(super) reading: FuturesOrdered<BoxFuture<'static, WasRead>>,
    /// Being read or archived; which file it is, once it was read.
    pub(super) under_way: BTreeMap<String, Option<Stamp>>,
    /// Who waits for them.
    pub(super) waiting: BTreeMap<String, Vec<Waiting>>,
    /// Archived, and not yet asked for: which file it was. A server that is put back
    /// asks for others of the same names.
    pub(super) done: BTreeMap<String, Stamp>,
    pub(super) tail: Option<Archived>,
    pub(super) last_commit: Option<Timestamp>,
    /// Memory for what is read; given back while nothing is.
    pub(super) buffers: Buffers,
    /// Ready to be pushed when last looked.
    pub(super) ready: usize,
    pub(super) dropping: bool,
}

impl Files {
    /// Whether that very file is archived; asked once.
    pub(super) fn is_done(&mut self, file: &str, stamp: Option<Stamp>) -> bool {
        let done = self.done.remove(file);
        done.is_some() && done == stamp
    }

    /// A file is archived, or is not: whoever waits is told, if it is the one that he
    /// asked for.
    pub(super) fn finish(&mut self, file: &str, outcome: &Result<(), String>) {
        let archived = self.under_way.remove(file).flatten();
        let waiting = self.waiting.remove(file).unwrap_or_default();
        if let (true, Ok(()), Some(stamp)) = (waiting.is_empty(), outcome, archived) {
            self.done.insert(file.to_owned(), stamp);
        }
        for (asked, answer) in waiting {
            let outcome = match outcome {
                Ok(()) if asked != archived => Err(format!(
                    "another file than this was archived as {file} meanwhile: it must be pushed \
                     again"
                )),
                outcome => outcome.clone(),
            };
            let _hung_up = answer.send(outcome);
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
    use std::fs;

    use strongroom_tests::scratch::Scratch;

    use super::{super::directory::LogDirectory, *};

    /// Of some file.
    fn stamp(length: usize) -> Stamp {
        let scratch = Scratch::new("pending-stamp");
        scratch.dir("data/pg_wal");
        let log = LogDirectory::of_server(&scratch.join("data")).unwrap();
        assert_eq!(log.stamp("a"), None);
        fs::write(log.path_of("a"), vec![0; length]).unwrap();
        let stamp = log.stamp("a").unwrap();
        assert_eq!(log.stamp("a"), Some(stamp));
        stamp
    }

    #[test]
    fn only_the_file_that_is_archived_is_said_to_be() {
        let (one, other) = (stamp(1), stamp(2));
        let mut files = Files::default();
        let archived = |files: &mut Files| {
            files.under_way.insert("a".into(), Some(one));
            files.finish("a", &Ok(()));
        };
        archived(&mut files);
        assert!(files.is_done("a", Some(one)));
        assert!(!files.is_done("a", Some(one)), "it is asked for once");
        for asked in [Some(other), None] {
            archived(&mut files);
            assert!(!files.is_done("a", asked), "{asked:?}");
        }
        // Nor is whoever waits told so of another.
        let (answer, mut same) = oneshot::channel();
        let (answer_of_other, mut not) = oneshot::channel();
        let waiting = vec![(Some(one), answer), (Some(other), answer_of_other)];
        files.waiting.insert("a".into(), waiting);
        archived(&mut files);
        assert_eq!(same.try_recv().unwrap(), Ok(()));
        let refused = not.try_recv().unwrap().unwrap_err();
        assert!(refused.contains("pushed again"), "{refused}");
        assert!(files.done.is_empty());
    }

    #[test]
    fn more_wait_only_while_some_are_left_to_begin_with() {
        let mut files = Files {
            ready: 3,
            ..Files::default()
        };
        assert!(files.more_wait());
        let stamp = stamp(1);
        let under_way = |file: &str| (file.to_owned(), Some(stamp));
        files.under_way.extend([under_way("a"), under_way("b")]);
        assert!(files.more_wait());
        files.under_way.extend([under_way("c")]);
        assert!(!files.more_wait());
        // Archived, and still in the server's list.
        files.finish("a", &Ok(()));
        assert!(!files.more_wait());
        files.ready = 4;
        assert!(files.more_wait());
    }
}
