//! One file per verb, with its arguments and its work.

pub(crate) mod completions;
pub(crate) mod copy;
pub(crate) mod export;
pub(crate) mod follow;
pub(crate) mod get;
pub(crate) mod heal;
pub(crate) mod import;
pub(crate) mod index;
pub(crate) mod load;
pub(crate) mod man;
pub(crate) mod map;
pub(crate) mod prune;
pub(crate) mod put;
pub(crate) mod reconstruct;
mod removal;
pub(crate) mod rewind;
pub(crate) mod scan;
pub(crate) mod send;
pub(crate) mod slot_of;
pub(crate) mod stat;
pub(crate) mod state;
pub(crate) mod validator;
pub(crate) mod verify;
pub(crate) mod write;
