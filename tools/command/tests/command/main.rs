//! The command as a user meets it: each test runs the binary.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::disallowed_methods, reason = "tests damage files on purpose")]

mod archive;
mod copy;
mod export;
mod follow;
mod full_disk;
mod get_scan;
mod hostile;
mod import;
mod layers;
mod load_put;
mod manners;
mod map;
mod network;
mod prove;
mod read_only;
mod readme;
mod removal;
mod roots;
mod stat_verify_heal;
mod state;
mod support;
mod validator;
