//! What fuzz targets are run by.
//!
//! A *target* is a plain function that takes any bytes, gives them to a parser
//! and panics when the parser breaks a promise: it must not panic or overflow
//! itself, must not take memory that its input only claims to need, and must
//! read back what it writes. Targets stand in the module `fuzz` of the crate
//! that owns the parser, so that they reach what is private to it. They are
//! compiled for tests and under `cfg(fuzzing)`.
//!
//! There is one definition and two ways to run it:
//!
//! - [`short_runs!`] makes a unit test of each: its seeds and some thousand
//!   mutations of them, the same ones every time. It needs nothing but `cargo
//!   test`.
//! - `tests/fuzz/run TARGET` builds the same functions with coverage
//!   instrumentation and lets libFuzzer search, from the same seeds, for as
//!   long as one likes. See `docs/fuzzing.md`.
//!
//! To add a target: write the function and its seeds in its crate's `fuzz`
//! module, name it in that module's `short_runs!` and in the table of
//! `tests/fuzz/long/src/main.rs`.

mod heap;
mod mutate;

use std::{env, fs, panic, path::Path};

pub use heap::Heap;
pub use mutate::Mutator;

/// Executions of a short run, apart from the seeds.
const EXECUTIONS: u64 = 4_000;

/// Heap that any execution may take, whatever its input, in bytes: buffers and
/// tables of fixed size.
const ROOM: usize = 1 << 20;

/// Heap that an execution may take for each byte of its input: what is read
/// becomes structures that are larger than its text.
const ROOM_PER_BYTE: usize = 256;

/// Declares the tests of a crate's targets, and its tests' allocator, which
/// counts what they take.
///
/// Each line names a target in the module above and gives its seeds, a
/// `Vec<Vec<u8>>`.
#[macro_export]
macro_rules! short_runs {
    ($($target:ident: $seeds:expr,)*) => {
        #[global_allocator]
        static HEAP: $crate::Heap = $crate::Heap;

        $(#[test]
        fn $target() {
            $crate::short_run(stringify!($target), super::$target, $seeds);
        })*
    };
}

/// Runs a target on its seeds and on mutations of them.
///
/// `STRONGROOM_FUZZ_EXECUTIONS` and `STRONGROOM_FUZZ_SEED` change how many and
/// which. With `STRONGROOM_FUZZ_CORPUS` the seeds are written to a directory of
/// the target's name below that one, and nothing is run.
///
/// # Panics
/// When the target does, or when it takes more heap than its input justifies.
pub fn short_run(name: &str, target: fn(&[u8]), seeds: Vec<Vec<u8>>) {
    if let Some(corpus) = env::var_os("STRONGROOM_FUZZ_CORPUS") {
        write_corpus(&Path::new(&corpus).join(name), &seeds);
        return;
    }
    for seed in &seeds {
        execute(target, seed);
    }
    let mut mutator = Mutator::new(number("STRONGROOM_FUZZ_SEED").unwrap_or(0), seeds);
    for _ in 0..number("STRONGROOM_FUZZ_EXECUTIONS").unwrap_or(EXECUTIONS) {
        execute(target, &mutator.input());
    }
}

/// Runs a target once and shows the input that it panicked on.
fn execute(target: fn(&[u8]), input: &[u8]) {
    if let Err(panic) = panic::catch_unwind(|| run(target, input)) {
        eprintln!(
            "the input of {} bytes was b\"{}\"",
            input.len(),
            input.escape_ascii()
        );
        panic::resume_unwind(panic);
    }
}

/// Runs a target once.
///
/// # Panics
/// When the target does, or when it takes more heap than its input justifies.
pub fn run(target: fn(&[u8]), input: &[u8]) {
    let taken = heap::most_taken(|| target(input));
    let room = ROOM + ROOM_PER_BYTE * input.len();
    assert!(
        taken <= room,
        "{taken} bytes of heap were taken for an input of {} bytes, {room} are the most",
        input.len()
    );
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{variable}={text:?} is no number")))
}

fn write_corpus(directory: &Path, seeds: &[Vec<u8>]) {
    fs::create_dir_all(directory).expect("the corpus has a directory");
    for (number, seed) in seeds.iter().enumerate() {
        fs::write(directory.join(format!("seed-{number}")), seed).expect("a seed is written");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static HEAP: Heap = Heap;

    #[test]
    fn what_an_input_only_claims_is_found() {
        fn believes(input: &[u8]) {
            let claimed = input.first().map_or(0, |byte| usize::from(*byte) << 20);
            std::hint::black_box(Vec::<u8>::with_capacity(claimed));
        }
        run(believes, &[0]);
        panic::catch_unwind(|| run(believes, &[200])).unwrap_err();
        // And so it is when only a mutation claims it.
        panic::catch_unwind(|| short_run("believes", believes, vec![vec![0]])).unwrap_err();
    }

    #[test]
    fn what_is_freed_is_room_again() {
        run(
            |_| {
                for _ in 0..100 {
                    std::hint::black_box(vec![0_u8; ROOM / 2]);
                }
            },
            b"",
        );
    }

    #[test]
    fn a_magic_word_behind_a_seed_is_found() {
        fn trap(input: &[u8]) {
            assert!(!(input.starts_with(b"PACK") && input.len() > 4 && input[4] == 0xff));
        }
        panic::catch_unwind(|| short_run("trap", trap, vec![b"PACK\x01\x02".to_vec()]))
            .unwrap_err();
    }
}
