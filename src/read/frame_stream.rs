//! Decodes snappy frames that arrive in pieces of any size, in memory that does not grow with the value.

use crate::format::frames::{CHUNK_HEADER_BYTES, Chunks, FrameFault, body_len};

/// A decoder for the frames of one value.
#[derive(Debug, Default)]
pub(crate) struct FrameStream {
    /// The start of a chunk that is not complete yet.
    pending: Vec<u8>,
    is_identified: bool,
    /// The decoded bytes of one chunk.
    decoded: Vec<u8>,
}

impl FrameStream {
    /// Takes the next bytes, and passes on the decoded bytes of every chunk that is now complete.
    ///
    /// # Errors
    /// [`FrameFault`]; the stream must not be fed again then.
    pub(crate) fn feed(
        &mut self,
        stored: &[u8],
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<(), FrameFault> {
        self.pending.extend_from_slice(stored);
        let whole = whole_chunks(&self.pending)?;
        if whole == 0 {
            return Ok(());
        }
        let stored = &self.pending[..whole];
        let mut chunks =
            if self.is_identified { Chunks::continued(stored) } else { Chunks::new(stored) };
        loop {
            self.decoded.clear();
            if !chunks.next_into(&mut self.decoded)? {
                break;
            }
            sink(&self.decoded);
        }
        self.is_identified = true;
        self.pending.drain(..whole);
        Ok(())
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// [`FrameFault::Cut`] within a chunk.
    pub(crate) fn finish(&self) -> Result<(), FrameFault> {
        if self.pending.is_empty() { Ok(()) } else { Err(FrameFault::Cut) }
    }
}

/// Total length of the complete chunks at the start.
fn whole_chunks(stored: &[u8]) -> Result<usize, FrameFault> {
    let mut whole = 0;
    while let Some(header) = stored[whole..].first_chunk::<CHUNK_HEADER_BYTES>() {
        let end = whole + CHUNK_HEADER_BYTES + body_len(*header)?;
        if end > stored.len() {
            break;
        }
        whole = end;
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::frames::encoded;

    fn decoded(stored: &[u8], piece_bytes: usize) -> Result<Vec<u8>, FrameFault> {
        let (mut stream, mut value) = (FrameStream::default(), Vec::new());
        for piece in stored.chunks(piece_bytes) {
            stream.feed(piece, &mut |bytes| value.extend_from_slice(bytes))?;
            assert!(stream.pending.len() < 80_000, "{}", stream.pending.len());
        }
        stream.finish().map(|()| value)
    }

    #[test]
    fn frames_in_pieces_of_any_size_come_to_the_same_value() {
        let noise = (0..300_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[2]);
        for value in [Vec::new(), vec![7; 10], vec![0; 200_000], noise.collect()] {
            let stored = encoded(&value);
            for piece_bytes in [1, 3, 4096, 65_536, usize::MAX] {
                assert_eq!(decoded(&stored, piece_bytes).as_ref(), Ok(&value), "{piece_bytes}");
            }
            for piece_bytes in [7, usize::MAX] {
                let cut = stored.len().saturating_sub(1);
                assert!(stored.len() <= 10 || decoded(&stored[..cut], piece_bytes).is_err());
            }
        }
        assert_eq!(decoded(&[1, 0, 0, 0], 1), Err(FrameFault::NoIdentifier(1)));
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff], 9), Err(FrameFault::ChunkLength(0xff_ffff)));
    }
}
