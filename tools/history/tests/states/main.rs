//! States rebuilt from an archive's own blocks, against the true ones.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

mod archive;
mod replay;
