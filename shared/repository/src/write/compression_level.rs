//! Whether the time that a higher level of compression takes is worth it.
//! Pure.
//!
//! What a level saves depends on the data: of source code, level 3 saves some
//! 7 % of what level 1 leaves; of a dump full of digits nothing, at twice the
//! time; of what is compressed already nothing, either. So now and then a blob
//! is compressed at both, and those that follow get what paid.

/// The level that everything is measured against: zstd's fastest.
pub(super) const QUICK: i32 = 1;

/// A blob in so many is compressed at both levels.
const TRIAL_EVERY: u32 = 16;

/// The share that the higher level must save, in percent.
const WORTH_PERCENT: u64 = 2;

/// With each trial this part of the sums is forgotten: old data says little.
const FORGET: u64 = 8;

/// How to compress a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effort {
    Quick,
    Full,
    /// At both levels, to [learn](Efforts::learn) from it.
    Trial,
}

/// What one thread has seen lately.
#[derive(Debug, Default)]
pub(super) struct Efforts {
    until_trial: u32,
    /// Bytes that the trials' blobs took at either level, the newest in full.
    quick: u64,
    full: u64,
}

impl Efforts {
    /// For the next blob.
    pub(super) fn next(&mut self) -> Effort {
        if self.until_trial == 0 {
            self.until_trial = TRIAL_EVERY - 1;
            return Effort::Trial;
        }
        self.until_trial -= 1;
        if self.full * 100 <= self.quick * (100 - WORTH_PERCENT) {
            Effort::Full
        } else {
            Effort::Quick
        }
    }

    /// A trial's result, bytes.
    pub(super) fn learn(&mut self, quick: u32, full: u32) {
        let forget = |sum: u64| sum - sum / FORGET;
        self.quick = forget(self.quick) + u64::from(quick);
        self.full = forget(self.full) + u64::from(full);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How `count` blobs are compressed of which a trial shows such sizes.
    fn run(efforts: &mut Efforts, count: usize, quick: u32, full: u32) -> Vec<Effort> {
        (0..count)
            .map(|_| {
                let effort = efforts.next();
                if effort == Effort::Trial {
                    efforts.learn(quick, full);
                }
                effort
            })
            .collect()
    }

    #[test]
    fn the_higher_level_is_taken_where_it_saves() {
        for (quick, full, expected) in [
            (1000, 930, Effort::Full),
            (1000, 970, Effort::Full),
            (1000, 985, Effort::Quick),
            (1000, 1000, Effort::Quick),
            (1000, 1020, Effort::Quick),
        ] {
            let efforts = run(&mut Efforts::default(), 160, quick, full);
            let trials = efforts.iter().filter(|it| **it == Effort::Trial).count();
            assert_eq!(trials, 10);
            assert_eq!(efforts[0], Effort::Trial);
            assert!(
                efforts
                    .iter()
                    .all(|it| *it == Effort::Trial || *it == expected),
                "{quick} {full}"
            );
        }
    }

    #[test]
    fn other_data_is_noticed_within_some_trials() {
        let mut efforts = Efforts::default();
        run(&mut efforts, 10_000, 1_000_000, 1_000_000);
        let then = run(&mut efforts, 160, 1_000_000, 900_000);
        assert_eq!(then.last(), Some(&Effort::Full));
        let then = run(&mut efforts, 400, 1_000_000, 1_000_000);
        assert_eq!(then.last(), Some(&Effort::Quick));
    }
}
