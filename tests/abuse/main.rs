//! What other tools, other users, odd files and small limits do to a column: an error that says so
//! wherever it can be noticed, and never a panic, a hang, or a wrong value.
//!
//! Most cases run in a process of their own: this very binary, started as one of the functions named
//! `child_…`, with its case in the environment. It prints what it found, and the parent looks at that
//! and at how the child ended.
//!
//! What needs to be root (other users, devices) or namespaces (mounts) says so on standard output
//! when it is not permitted, and tests nothing then.
#![allow(clippy::unwrap_used, reason = "this is a test")]
#![allow(clippy::disallowed_methods, reason = "other tools than writers are played here")]
#![allow(unsafe_code, reason = "readers map files; limits and users are set by system calls")]

mod column;
mod cut_under_the_writer;
mod limits;
mod links;
mod modes;
mod odd_files;
mod places;
mod removed_or_cut;
mod swapped;
mod system;
