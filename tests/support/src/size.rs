//! How much a test does where a number decides it: see `tests/README.md`.

/// Name of the variable: `COLDSTORE_TESTS=whole` runs everything, which takes minutes.
const VARIABLE: &str = "COLDSTORE_TESTS";

/// The quick size, or the whole one where `COLDSTORE_TESTS` asks for it.
///
/// # Panics
/// If the variable is set to anything but `quick` and `whole`.
pub fn quick_or_whole<T>(quick: T, whole: T) -> T {
    match std::env::var_os(VARIABLE) {
        None => quick,
        Some(size) if size == "quick" => quick,
        Some(size) if size == "whole" => whole,
        Some(size) => panic!("{VARIABLE}={}: want quick or whole", size.display()),
    }
}
