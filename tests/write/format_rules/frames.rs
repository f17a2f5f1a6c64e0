//! Section 2: the frames of compressed values, accepted and refused exactly as by the `snap` crate.

use std::io::Read as _;

use coldstore::format::frames::{Chunks, FrameFault, FrameStream, MAX_CHUNK_BYTES};
use proptest::prelude::*;

use super::{SNAPPY_IDENTIFIER, snappy_frames};

/// The value of frames in memory.
fn whole(stored: &[u8]) -> Result<Vec<u8>, FrameFault> {
    let (mut chunks, mut value) = (Chunks::new(stored), Vec::new());
    while chunks.next_into(&mut value)? {}
    assert_eq!(chunks.bytes_left(), 0);
    Ok(value)
}

/// The value of frames that arrive in pieces.
fn pieces(stored: &[u8], piece_bytes: usize) -> Result<Vec<u8>, FrameFault> {
    let (mut stream, mut value) = (FrameStream::default(), Vec::new());
    for piece in stored.chunks(piece_bytes) {
        stream.feed(piece, &mut |bytes| {
            assert!(bytes.len() <= MAX_CHUNK_BYTES);
            value.extend_from_slice(bytes);
        })?;
    }
    stream.finish().map(|()| value)
}

fn by_snap(stored: &[u8]) -> Option<Vec<u8>> {
    let mut value = Vec::new();
    snap::read::FrameDecoder::new(stored).read_to_end(&mut value).ok()?;
    Some(value)
}

fn chunk(chunk_type: u8, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).unwrap().to_le_bytes();
    [&[chunk_type, len[0], len[1], len[2]], body].concat()
}

/// An uncompressed chunk with its checksum.
fn plain(bytes: &[u8]) -> Vec<u8> {
    let sum = crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8);
    chunk(1, &[&sum.to_le_bytes()[..], bytes].concat())
}

#[test]
fn each_kind_of_chunk_is_accepted_or_refused_by_the_format() {
    let identified = |chunks: &[Vec<u8>]| [SNAPPY_IDENTIFIER.to_vec(), chunks.concat()].concat();
    let abc = plain(b"abc");
    let too_long = vec![7; MAX_CHUNK_BYTES + 1];
    type Case = (Vec<u8>, Result<&'static [u8], FrameFault>);
    let cases: [Case; 11] = [
        (vec![], Ok(b"")),
        (abc.clone(), Err(FrameFault::NoIdentifier(1))),
        (vec![0xff; 4], Err(FrameFault::ChunkLength(0xff_ffff))),
        (identified(&[]), Ok(b"")),
        (identified(&[abc.clone(), abc.clone()]), Ok(b"abcabc")),
        (identified(&[abc.clone(), SNAPPY_IDENTIFIER.into()]), Ok(b"abc")),
        (identified(&[chunk(0xfe, b"123"), abc.clone()]), Ok(b"abc")),
        (identified(&[chunk(0x80, b""), abc]), Ok(b"abc")),
        (identified(&[chunk(2, b"")]), Err(FrameFault::ChunkType(2))),
        (identified(&[chunk(1, b"abc")]), Err(FrameFault::ChunkLength(3))),
        (identified(&[plain(&too_long)]), Err(FrameFault::ChunkLength(MAX_CHUNK_BYTES + 1))),
    ];
    for (stored, wanted) in cases {
        let wanted = wanted.map(<[u8]>::to_vec);
        assert_eq!(by_snap(&stored), wanted.clone().ok());
        assert_eq!(whole(&stored), wanted);
        // Miri takes minutes for a long stream in small pieces.
        for piece_bytes in [1, 4, 9, usize::MAX].into_iter().filter(|n| stored.len() / n < 1000) {
            assert_eq!(pieces(&stored, piece_bytes), wanted, "{piece_bytes}");
        }
    }
}

#[test]
fn large_values_round_trip_whole_and_in_pieces_of_any_size() {
    let noise = (0..300_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[2]);
    for value in [vec![7; 10], vec![0; 200_000], vec![1; MAX_CHUNK_BYTES], noise.collect()] {
        let stored = snappy_frames(&value);
        assert_eq!(whole(&stored).as_ref(), Ok(&value));
        for piece_bytes in [1, 3, 4096, 65_536, usize::MAX] {
            assert_eq!(pieces(&stored, piece_bytes).as_ref(), Ok(&value), "{piece_bytes}");
        }
        for piece_bytes in [7, usize::MAX] {
            let cut = &stored[..stored.len() - 1];
            assert_eq!(pieces(cut, piece_bytes), Err(FrameFault::Cut), "{piece_bytes}");
        }
    }
}

proptest! {
    #[test]
    fn damaged_frames_are_accepted_exactly_if_the_snap_crate_accepts_them(
        value in proptest::collection::vec(0_u8..4, 0..70_000),
        damages in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        cut in any::<prop::sample::Index>(),
        cuts in any::<bool>(),
    ) {
        let mut stored = snappy_frames(&value);
        for (at, byte) in damages {
            let at = at.index(stored.len().max(1)).min(stored.len().saturating_sub(1));
            if let Some(place) = stored.get_mut(at) {
                *place = byte;
            }
        }
        if cuts {
            stored.truncate(cut.index(stored.len() + 1));
        }
        let wanted = by_snap(&stored);
        prop_assert!(whole(&stored).ok() == wanted);
        prop_assert!(pieces(&stored, 5000).ok() == wanted);
    }
}
