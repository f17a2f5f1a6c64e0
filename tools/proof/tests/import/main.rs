//! Proved imports: what is whole comes in, and what is damaged anywhere is refused by its place,
//! with nothing of its era kept.

#[path = "../truth/chain.rs"]
#[allow(dead_code, reason = "shared with the other tests")]
mod chain;
mod damage;
mod era_file;
mod run;
mod trust;
