//! How a memory budget becomes pack sizes, buffers and a queue.

const MIB: usize = 1 << 20;

/// What a run may take unless told otherwise, in bytes. With what the process
/// needs besides, its resident memory stays below 192 MiB.
pub const DEFAULT_MEMORY_BUDGET: usize = 152 * MIB;

/// restic wants no more blobs in a pack than make a header of a few hundred
/// KiB.
pub const MAX_PACK_BLOBS: usize = 10_000;

/// What one worker holds: a chunk that it reads, one that it works on, its
/// sealed form, and zstd's tables.
const PER_WORKER: usize = 4 * MIB;

/// A budget below [`MemoryPlan::minimum`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a memory budget of {budget} bytes does not hold the smallest packs with {workers} threads: \
     give at least {least} bytes, or use fewer threads"
)]
pub struct BudgetTooSmall {
    /// Bytes.
    pub budget: usize,
    /// Threads.
    pub workers: usize,
    /// The smallest budget for as many threads, in bytes.
    pub least: usize,
}

/// How many of `wanted` workers a budget can hold: none when it is too small
/// for a single one.
pub fn workers_within(budget: usize, wanted: usize) -> usize {
    let fits = |workers: &usize| MemoryPlan::minimum(*workers) <= budget;
    let most = wanted.min(budget / PER_WORKER);
    (1..=most).rev().find(fits).unwrap_or(0)
}

/// Sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Data packs that are filled at the same time.
    pub data_packers: usize,
    /// A data pack is closed before it would grow beyond this.
    pub data_pack: usize,
    /// Buffers for data packs: those being filled and those being uploaded.
    pub data_buffers: usize,
    /// A tree pack is closed before it would grow beyond this.
    pub tree_pack: usize,
    /// Buffers for tree packs.
    pub tree_buffers: usize,
    /// Chunks of large streams that wait for a worker.
    pub queue: usize,
}

impl MemoryPlan {
    /// The smallest budget that [`MemoryPlan::new`] takes, in bytes: that of
    /// its smallest sizes.
    pub fn minimum(workers: usize) -> usize {
        let (queue, tree_packs) = (2 * MIB, 2 * 2 * MIB);
        let data_packs = (workers.clamp(1, 2) + 2) * 4 * MIB;
        workers
            .saturating_mul(PER_WORKER)
            .saturating_add(queue + tree_packs + data_packs)
    }

    /// Large packs when there is room for them: at least two are uploaded
    /// while others are filled.
    pub fn new(budget: usize, workers: usize) -> Result<Self, BudgetTooSmall> {
        let least = Self::minimum(workers);
        if budget < least {
            return Err(BudgetTooSmall {
                budget,
                workers,
                least,
            });
        }
        let shared = budget - workers * PER_WORKER;
        let queue = (shared / 16).clamp(2 * MIB, 16 * MIB);
        let tree_pack = queue;
        let left = shared.saturating_sub(queue + 2 * tree_pack);
        let packers = workers.clamp(1, 4);
        let (data_packers, data_pack) = [64, 32, 16, 8, 4]
            .map(|size| (packers, size * MIB))
            .into_iter()
            .find(|(packers, size)| (packers + 2) * size <= left)
            .unwrap_or((packers.min(2), 4 * MIB));
        Ok(Self {
            data_packers,
            data_pack,
            data_buffers: (left / data_pack).clamp(data_packers + 2, data_packers + 32),
            tree_pack,
            tree_buffers: 2,
            queue,
        })
    }

    /// All of it, were every buffer full.
    pub fn total(&self, workers: usize) -> usize {
        self.data_buffers * self.data_pack
            + self.tree_buffers * self.tree_pack
            + self.queue
            + workers * PER_WORKER
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_default_on_two_cores() {
        let plan = MemoryPlan::new(DEFAULT_MEMORY_BUDGET, 2).unwrap();
        assert_eq!(
            (plan.data_packers, plan.data_pack / MIB, plan.data_buffers),
            (2, 16, 7)
        );
    }

    #[test]
    fn more_memory_larger_packs() {
        let plan = MemoryPlan::new(1024 * MIB, 8).unwrap();
        assert_eq!(plan.data_pack, 64 * MIB);
        assert!(plan.data_buffers > 8);
    }

    proptest! {
        #[test]
        fn stays_within_the_budget(more in 0..8192 * MIB, workers in 1_usize..64) {
            let budget = MemoryPlan::minimum(workers) + more;
            let plan = MemoryPlan::new(budget, workers).unwrap();
            prop_assert!(plan.total(workers) <= budget, "{plan:?}");
            prop_assert!(plan.data_buffers >= plan.data_packers + 2);
        }

        #[test]
        fn the_minimum_is_enough_and_no_less_is(less in 1..MIB, workers in 1_usize..64) {
            let least = MemoryPlan::minimum(workers);
            let plan = MemoryPlan::new(least, workers).unwrap();
            prop_assert_eq!(plan.total(workers), least);
            let refused = MemoryPlan::new(least - less, workers).unwrap_err();
            prop_assert_eq!(refused.least, least);
        }

        #[test]
        fn as_many_workers_as_fit(budget in 0..512 * MIB, wanted in 0_usize..64) {
            let workers = workers_within(budget, wanted);
            prop_assert!(workers <= wanted);
            prop_assert!(workers == 0 || MemoryPlan::new(budget, workers).is_ok());
            prop_assert!(workers == wanted || MemoryPlan::new(budget, workers + 1).is_err());
        }
    }
}
