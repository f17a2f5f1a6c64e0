#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| coldstore_fuzz::diffs::run(data));
