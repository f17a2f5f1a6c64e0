//! Section 11: `column.check`, the witness of the conf.

use coldstore::format::conf::{Backfill, BackfillTarget, Conf};
use coldstore::format::witness::{CHECK_SLOT_BYTES, Standing, Witness};

use super::*;

fn v2(highest: u64, len: u64) -> Conf {
    let empty = Conf::empty(Column::BlockRoots.spec(), false);
    Conf { highest: Some(Slot(highest)), current_data_len: len, ..empty }
}

fn v3(highest: u64, len: u64, target: Option<(u64, u64)>) -> Conf {
    let target = target.map(|(id, data_len)| BackfillTarget { file_id: FileId(id), data_len });
    Conf { backfill: Some(Backfill { allowed: true, target }), ..v2(highest, len) }
}

#[test]
fn the_bytes_are_those_of_the_format() {
    let mut witness = Witness::default();
    let (offset, bytes) = witness.fill(None, v2(5, 48));
    assert_eq!(offset, 0);
    let mut wanted = b"CSTCHK01".to_vec();
    wanted.extend_from_slice(&1u64.to_le_bytes());
    wanted.extend_from_slice(b"LHSTBLK2");
    wanted.extend_from_slice(&5u64.to_le_bytes());
    wanted.extend_from_slice(&48u64.to_le_bytes());
    wanted.extend_from_slice(&[2, 0, 0, 0]);
    wanted.extend_from_slice(&64u64.to_le_bytes());
    wanted.resize(68, 0);
    wanted.push(36);
    wanted.resize(124, 0);
    // CRC-32C of the 124 bytes, computed with Python.
    wanted.extend_from_slice(&0x9053_724cu32.to_le_bytes());
    assert_eq!(bytes[..124], wanted[..124]);
    assert_eq!(bytes[124..], wanted[124..], "{:x?}", &bytes[124..]);
    let (offset, second) = witness.fill(Some(&v2(5, 48)), v3(6, 88, None));
    assert_eq!((offset, second[68]), (4096, 52));
    let mut file = vec![0; 8192];
    file[..128].copy_from_slice(&bytes);
    file[4096..4096 + 128].copy_from_slice(&second);
    assert_eq!(witness.to_bytes(), file);
    assert_eq!(Witness::from_bytes(&file), witness);
}

#[test]
fn fill_never_overwrites_the_slot_of_the_conf_in_force() {
    let mut witness = Witness::default();
    witness.fill(None, v2(1, 48));
    // Commits that did not happen, each followed by another attempt.
    for next in [v2(2, 88), v2(3, 88), v2(4, 88)] {
        let (offset, _) = witness.fill(Some(&v2(1, 48)), next);
        assert_eq!(offset, 4096);
        assert_eq!(witness.standing(&v2(1, 48)), Standing::Before { unfinished: next });
        assert_eq!(witness.standing(&next), Standing::Newest);
    }
    assert_eq!(witness.fill(Some(&v2(4, 88)), v2(5, 128)).0, 0);
    // Abandoning a commit leaves only the slot of the conf in force.
    witness.fill(Some(&v2(5, 128)), v2(6, 168));
    assert_eq!(witness.clear(&v2(5, 128)), Some((4096, [0; 128])));
    assert_eq!(witness.confs().collect::<Vec<_>>(), [v2(5, 128)]);
    assert_eq!(witness.clear(&v2(5, 128)), None);
    witness.fill(Some(&v2(5, 128)), v2(6, 168));
    // The conf in force is in no slot: the newest slot is kept.
    assert_eq!(witness.fill(Some(&v2(9, 1000)), v2(10, 1040)).0, 0);
    assert_eq!(witness.confs().collect::<Vec<_>>(), [v2(10, 1040), v2(6, 168)]);
}

#[test]
fn a_finished_commit_is_marked_beside_the_other_slot() {
    let mut witness = Witness::default();
    witness.fill(None, v2(1, 48));
    assert_eq!(witness.finish(&v2(1, 48)), None, "there is nothing that it could be doubted for");
    witness.fill(Some(&v2(1, 48)), v2(2, 88));
    let vouched = |witness: &Witness, conf| witness.vouched_len(&conf, FileId(0));
    assert_eq!(vouched(&witness, v2(2, 88)), 48);
    let unmarked = witness;
    // The complement of sequence number 2, behind the slot of number 1.
    let (offset, bytes) = (128, [0xfd, 255, 255, 255, 255, 255, 255, 255]);
    assert_eq!(witness.finish(&v2(2, 88)), Some((offset, bytes)));
    assert_eq!(vouched(&witness, v2(2, 88)), u64::MAX);
    let mut file = unmarked.to_bytes();
    for bit in 0..64 {
        file[128..136].fill(0);
        file[128 + bit / 8] = 1 << (bit % 8);
        assert_eq!(vouched(&Witness::from_bytes(&file), v2(2, 88)), 48, "bit {bit}");
    }
    file[128..136].copy_from_slice(&bytes);
    assert_eq!(Witness::from_bytes(&file), witness);
    assert_eq!(witness.to_bytes(), file);
    // It says nothing of the commits after it, nor does the mark of an earlier one.
    for (at, highest, len) in [(4224, 3, 128), (128, 4, 168), (4224, 5, 208)] {
        witness.fill(Some(&v2(highest - 1, len - 40)), v2(highest, len));
        assert_eq!(vouched(&witness, v2(highest, len)), len - 40, "slot {highest}");
        assert_eq!(witness.finish(&v2(highest, len)).unwrap().0, at);
    }
    // A commit that was given up leaves no doubt about the conf in force.
    witness.fill(Some(&v2(5, 208)), v2(6, 248));
    witness.clear(&v2(5, 208));
    assert_eq!(vouched(&witness, v2(5, 208)), u64::MAX);
    witness.fill(Some(&v2(5, 208)), v2(7, 288));
    assert_eq!(vouched(&witness, v2(7, 288)), 208);
}

#[test]
fn a_slot_with_a_flipped_bit_or_cut_short_reads_as_empty() {
    let mut witness = Witness::default();
    witness.fill(None, v2(1, 48));
    witness.fill(Some(&v2(1, 48)), v2(2, 88));
    let bytes = witness.to_bytes();
    for bit in 0..CHECK_SLOT_BYTES * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let read = Witness::from_bytes(&changed);
        assert_eq!(read.confs().collect::<Vec<_>>(), [v2(2, 88)], "bit {bit}");
    }
    for len in 0..4096 + CHECK_SLOT_BYTES {
        let confs: Vec<Conf> = Witness::from_bytes(&bytes[..len]).confs().collect();
        let wanted = if len >= CHECK_SLOT_BYTES { &[v2(1, 48)][..] } else { &[] };
        assert_eq!(confs, wanted, "{len} bytes");
    }
}

#[test]
fn a_conf_that_may_follow_is_continued_and_any_other_contradicted() {
    let mut witness = Witness::default();
    let base = v3(40_960, 88, Some((3, 4008)));
    assert_eq!(witness.standing(&base), Standing::Unwitnessed);
    witness.fill(None, base);
    let continued = [
        v3(40_961, 128, Some((3, 4008))),
        v3(49_152, 48, Some((3, 4048))),
        v3(40_960, 88, Some((2, 8))),
        v3(40_960, 88, None),
    ];
    for conf in continued {
        assert_eq!(witness.standing(&conf), Standing::Continued { newest: base }, "{conf:?}");
    }
    let mut other_type = base;
    other_type.spec.record_type = [3, 0];
    let mut lower_bound = base;
    lower_bound.spec.max_value_bytes = 63;
    let contradicted = [
        v3(40_959, 88, Some((3, 4008))),
        v3(40_960, 48, Some((3, 4008))),
        v3(40_960, 88, Some((3, 4007))),
        v3(40_960, 88, Some((3, 0))),
        v2(40_960, 88),
        other_type,
        lower_bound,
    ];
    for conf in contradicted {
        assert_eq!(witness.standing(&conf), Standing::Contradicted { newest: base }, "{conf:?}");
    }
}

#[test]
fn checksums_vouch_below_the_shortest_length_in_the_witness() {
    let mut witness = Witness::default();
    let (before, after) = (v2(8190, 1000), v2(8192, 48));
    witness.fill(None, before);
    witness.fill(Some(&before), after);
    assert_eq!(witness.vouched_len(&before, FileId(0)), u64::MAX);
    assert_eq!([0, 1].map(|id| witness.vouched_len(&after, FileId(id))), [1000, 0]);
    witness.finish(&after);
    assert_eq!([0, 1].map(|id| witness.vouched_len(&after, FileId(id))), [u64::MAX; 2]);
    let other = v2(8193, 88);
    let lens = [0, 1, 2].map(|id| witness.vouched_len(&other, FileId(id)));
    assert_eq!(lens, [1000, 0, 0]);
    assert_eq!(Witness::default().vouched_len(&other, FileId(0)), u64::MAX);
}
