//! Long runs of the fuzz targets. `tests/fuzz/run` builds and starts it; what
//! it takes on its command line is libFuzzer's.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
mod targets;

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::run(data));

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("this was built without instrumentation: use tests/fuzz/run");
    std::process::exit(2);
}
