//! How often the store is asked: packs set the count, not files.

use std::sync::Arc;

use strongroom_layout::Directory;
use strongroom_repository::{
    Repository,
    store::{
        Store as _,
        record::{Operation, RecordStore},
    },
};
use strongroom_spec::{DirectoryTarget, RestoreSpec};

use super::{
    super::{BackupRequest, PreparedBackup, run},
    bench::{Bench, text},
};
use crate::{
    allowed::AllowedDirectory,
    restore::{self, RestoreOptions},
};

/// Bytes in all; a data pack of the tests' budget holds 4 MiB.
const BYTES: usize = 24 << 20;
/// Full packs, which end where a file does, and one that each of three threads
/// has begun.
const DATA_PACKS: u64 = 7 + 3;

struct Counted {
    bench: Bench,
    record: Arc<RecordStore>,
    repository: Arc<Repository>,
}

impl Counted {
    /// A source of so many files; always as many bytes.
    fn new(files: usize) -> Self {
        let bench = Bench::new();
        let mut state = 1_u64;
        for number in 0..files {
            let content: Vec<u8> = std::iter::repeat_with(|| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()
            })
            .take(BYTES / files / 8)
            .flatten()
            .collect();
            bench.write(&format!("{:02}/{number:05}", number % 40), content);
        }
        let record = Arc::new(RecordStore::new(Arc::clone(&bench.store) as _));
        let repository = bench.repository.with_store(Arc::clone(&record) as _);
        Self {
            bench,
            repository: Arc::new(repository),
            record,
        }
    }

    fn backup(&self, request: BackupRequest) -> PreparedBackup {
        self.record.reset();
        let runtime = self.bench.runtime.handle().clone();
        let monitor = Arc::clone(&self.bench.monitor);
        let prepared = run(Arc::clone(&self.repository), runtime, request, monitor).unwrap();
        // Published by whoever called: not counted.
        let put = self.bench.store.put(prepared.object, prepared.body.clone());
        self.bench.runtime.block_on(put).unwrap();
        prepared
    }

    fn restore(&self, backup: &PreparedBackup) {
        self.record.reset();
        let target = self.bench.scratch.dir("target");
        let work = RestoreSpec::new(
            backup.result.snapshot,
            DirectoryTarget {
                directory: text(&target),
                ..DirectoryTarget::default()
            },
        );
        let result = restore::run(
            Arc::clone(&self.repository),
            self.bench.runtime.handle().clone(),
            &work,
            &AllowedDirectory::named(&target).unwrap(),
            &RestoreOptions::default(),
            Arc::clone(&self.bench.monitor),
        )
        .unwrap();
        assert_eq!(result.files, backup.result.files);
    }

    fn calls(&self, operation: Operation) -> u64 {
        self.record.total(operation).calls
    }

    fn data(&self, operation: Operation) -> u64 {
        self.record.tally(operation, Some(Directory::Data)).calls
    }
}

#[test]
fn packs_set_the_number_of_requests() {
    for files in [30, 3_000] {
        let counted = Counted::new(files);
        let first = counted.backup(counted.bench.request());
        assert_eq!(first.result.files, files as u64);
        let packs = first.result.packs_new;
        assert!(packs <= DATA_PACKS + 1, "{files} files: {packs} packs");
        assert_eq!(counted.data(Operation::Put), packs);
        assert_eq!(counted.calls(Operation::Put), packs + 1, "and an index");
        assert_eq!(counted.calls(Operation::Get), 0);
        assert_eq!(counted.calls(Operation::List), 1, "of the indexes");

        counted.backup(counted.bench.request_after(&first));
        assert_eq!(counted.calls(Operation::Put), 0);
        // The trees, a megabyte at a time; the index and the parent.
        let trees = counted.data(Operation::Get);
        assert!(trees <= 2, "{files} files: {trees} reads of trees");
        assert_eq!(counted.calls(Operation::Get), trees + 2);
        assert_eq!(counted.calls(Operation::List), 2, "of the packs, too");

        counted.restore(&first);
        let data = counted.data(Operation::Get);
        assert!(
            data <= packs + trees,
            "{files} files: {data} reads of {packs} packs"
        );
        assert!(counted.calls(Operation::Get) <= data + 3);
        assert_eq!(counted.calls(Operation::Put), 0);
    }
}
