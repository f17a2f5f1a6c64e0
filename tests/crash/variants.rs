//! In how many ways one unflushed change may be on the medium.

use crate::medium::{BLOCK, Left, Medium, Op, is_zero};
use test_support::VERSION;

const SECTOR: usize = 512;
/// A longer write is not cut at every byte.
const SHORT: usize = 200;

/// What may be left of a change, of which nothing was flushed. `base` is what was durable when the
/// first unflushed change was made.
pub(crate) fn variants(op: &Op, base: &Medium) -> Vec<Left> {
    match op {
        Op::Sync(_) | Op::SyncDir(_) => vec![Left::Whole],
        Op::Link { .. } | Op::RenameDir { .. } | Op::Unlink { .. } | Op::SetLen { .. } => {
            vec![Left::Nothing, Left::Whole]
        }
        Op::Rename { .. } => vec![Left::Nothing, Left::Whole, Left::BothNames],
        Op::Write { bytes, .. } if is_witness(bytes) => witness(bytes),
        Op::Write { at, bytes, old_len, .. } if at >= old_len => append(bytes),
        Op::Write { ino, at, bytes, .. } => {
            let before = base.file_bytes(*ino);
            overwrite(*at, bytes, before.get(*at..).unwrap_or_default())
        }
    }
}

/// An append is torn at any byte; its length may have grown before its bytes came.
fn append(bytes: &[u8]) -> Vec<Left> {
    let len = bytes.len();
    let mut left = vec![Left::Nothing, Left::Whole, Left::Zeros(0), Left::Garbage(0)];
    for cut in cuts(bytes) {
        left.push(Left::First(cut));
        // In a conf that is about to be renamed nobody looks at single bytes.
        if !is_conf(bytes) || cut % 4 == 0 {
            left.extend([Left::Zeros(cut), Left::Garbage(cut)]);
        }
    }
    // A sector in the middle is late.
    for sector in changed_sectors(bytes, &[]).into_iter().filter(|_| len > SECTOR) {
        left.extend([
            Left::Without(sector, (sector + SECTOR).min(len)),
            Left::Only(sector, (sector + SECTOR).min(len)),
        ]);
    }
    left
}

/// Where an append is cut: everywhere, or around everything that has a meaning.
fn cuts(bytes: &[u8]) -> Vec<usize> {
    let len = bytes.len();
    if len <= SHORT {
        return (1..len).collect();
    }
    let mut cuts: Vec<usize> = vec![1, 7, 8, 9, SECTOR - 1, SECTOR, SECTOR + 1, len / 2, len - 1];
    // Around the entries of a table, or the records of a data file.
    if is_table(bytes) {
        let words = changed_words(bytes, &[]);
        let around = words.iter().take(16).flat_map(|at| [*at, at + 1, at + 7, at + 8, at + 9]);
        cuts.extend(around);
    } else {
        let mut at = if bytes.starts_with(&VERSION) { 8 } else { 0 };
        while let Some(header) = bytes.get(at..at + 8).filter(|header| header[..2] != [0, 0]) {
            cuts.extend(at.saturating_sub(1)..at + 10);
            at += 8 + u32::from_le_bytes([header[2], header[3], header[4], header[5]]) as usize;
        }
    }
    cuts.extend((1..16).map(|part| len * part / 16));
    cuts.retain(|cut| *cut > 0 && *cut < len);
    cuts.sort_unstable();
    cuts.dedup();
    cuts
}

/// A whole offset file, or a large part of one: almost all of it is zero.
fn is_table(bytes: &[u8]) -> bool {
    bytes.len() >= 4096 && changed_words(bytes, &[]).len() < bytes.len() / 64
}

fn is_conf(bytes: &[u8]) -> bool {
    bytes.starts_with(b"LHSTBLK")
}

fn is_witness(bytes: &[u8]) -> bool {
    bytes.len() > 72 && bytes.starts_with(b"CSTCHK")
}

/// A slot of the witness is under a checksum: torn here or there, it says nothing.
fn witness(bytes: &[u8]) -> Vec<Left> {
    let last = bytes.len() - 1;
    let torn = [Left::First(8), Left::First(64), Left::Only(8, 72), Left::Without(8, 16)];
    [Left::Nothing, Left::Whole, Left::First(last)].into_iter().chain(torn).collect()
}

/// An overwrite is there in part, in whole aligned words of 8 bytes: those that it changes are
/// there or not.
fn overwrite(at: usize, bytes: &[u8], before: &[u8]) -> Vec<Left> {
    let mut left = vec![Left::Nothing, Left::Whole];
    let words = changed_words(bytes, before);
    let end = |from: usize| (from + 8).min(bytes.len());
    for (nth, first) in words.iter().enumerate().take(12) {
        for last in words[nth..].iter().take(12) {
            left.push(Left::Only(*first, end(*last)));
            left.push(Left::Without(*first, end(*last)));
        }
    }
    // Sectors of the file, not of the write.
    let shift = at % SECTOR;
    for sector in changed_sectors(bytes, before) {
        let (from, to) = (sector.saturating_sub(shift), (sector + SECTOR - shift).min(bytes.len()));
        if from < to {
            left.extend([Left::First(from), Left::First(to), Left::Only(from, to)]);
        }
    }
    left.retain(|left| *left != Left::First(0));
    left
}

/// Where the words start that a write changes.
fn changed_words(bytes: &[u8], before: &[u8]) -> Vec<usize> {
    let same = |at: usize, len: usize| match before.get(at..at + len) {
        Some(before) => bytes[at..at + len] == *before,
        None => is_zero(&bytes[at..at + len]),
    };
    let mut words = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        // Most of a table stays as it is.
        let block = (bytes.len() - at).min(BLOCK);
        if same(at, block) {
            at += block;
            continue;
        }
        let end = at + block;
        while at < end {
            let len = (bytes.len() - at).min(8);
            if !same(at, len) {
                words.push(at);
            }
            at += len;
        }
    }
    words
}

fn changed_sectors(bytes: &[u8], before: &[u8]) -> Vec<usize> {
    let mut sectors: Vec<usize> =
        changed_words(bytes, before).iter().map(|at| at / SECTOR * SECTOR).collect();
    sectors.dedup();
    sectors
}
