//! Values out of snappy frames, streamed: the memory they take does not grow with the value.

use std::io::{self, Read, Seek};

use snap::read::FrameDecoder;

use super::e2store::{Payload, RecordAt, RecordFile};
use crate::error::{Error, Result};
use crate::format::frames::Chunks;

/// A piece of a value on its way through. It is made for each block anew.
const PIECE_BYTES: usize = 16 * 1024;

/// The start of a value that was decoded to its end.
#[derive(Clone, Debug)]
pub(super) struct Decoded {
    /// The first bytes, as many as were asked for or as there are.
    pub(super) head: Vec<u8>,
    /// Bytes of the whole value.
    pub(super) byte_len: u64,
}

/// Why a record has no value.
#[derive(Debug)]
pub(super) enum Fault {
    /// The bytes are no frames, or the value is too large; the text says what was found.
    Damaged(String),
    /// The file cannot be read.
    File(Error),
}

impl Fault {
    /// The error for the record of `what` ("block record") at `place` ("slot 17").
    pub(super) fn error<R: Read + Seek>(
        self,
        file: &RecordFile<R>,
        record: &RecordAt,
        what: &'static str,
        place: &str,
    ) -> Error {
        match self {
            Fault::File(error) => error,
            Fault::Damaged(found) => {
                file.corrupt(record.offset, what, format!("{place}: whole snappy frames"), found)
            }
        }
    }
}

/// The value of a record as a stream.
pub(super) fn stream<'f, R: Read + Seek>(
    file: &'f mut RecordFile<R>,
    record: &RecordAt,
) -> Result<FrameDecoder<Payload<'f, R>>> {
    Ok(FrameDecoder::new(file.payload(record)?))
}

/// Decodes a record to its end, so that every checksum is checked, and keeps the first
/// `head_len` bytes. A value of more than `limit` bytes is refused as soon as it passes them.
/// `watch` hears after each piece where in the file the decoder is.
pub(super) fn decode<R: Read + Seek>(
    file: &mut RecordFile<R>,
    record: &RecordAt,
    head_len: usize,
    limit: u64,
    watch: &mut dyn FnMut(u64),
) -> Result<Decoded, Fault> {
    let mut decoder = stream(file, record).map_err(Fault::File)?;
    let mut head = Vec::new();
    let mut byte_len = 0_u64;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = match decoder.read(&mut piece) {
            Ok(0) => return Ok(Decoded { head, byte_len }),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(fault(decoder.get_ref(), error)),
        };
        let missing = head_len.saturating_sub(head.len());
        head.extend_from_slice(piece.get(..read.min(missing)).unwrap_or_default());
        byte_len = byte_len.saturating_add(read as u64);
        let position = decoder.get_ref().position();
        if byte_len > limit {
            let found = format!("more than {limit} bytes decoded by byte {position} of the file");
            return Err(Fault::Damaged(found));
        }
        watch(position);
    }
}

/// [`decode`] of a record that was read already: `stored` is its payload.
pub(super) fn decode_stored(
    record: &RecordAt,
    stored: &[u8],
    head_len: usize,
    limit: u64,
) -> Result<Decoded, Fault> {
    let (mut chunks, mut piece) = (Chunks::new(stored), Vec::new());
    let (mut head, mut byte_len) = (Vec::new(), 0_u64);
    loop {
        piece.clear();
        let next = chunks.next_into(&mut piece);
        let position = record.end().saturating_sub(chunks.bytes_left() as u64);
        match next {
            Ok(false) => return Ok(Decoded { head, byte_len }),
            Ok(true) => {}
            Err(fault) => {
                return Err(Fault::Damaged(format!("{fault}, before byte {position} of the file")));
            }
        }
        let missing = head_len.saturating_sub(head.len());
        head.extend_from_slice(piece.get(..piece.len().min(missing)).unwrap_or_default());
        byte_len = byte_len.saturating_add(piece.len() as u64);
        if byte_len > limit {
            let found = format!("more than {limit} bytes decoded by byte {position} of the file");
            return Err(Fault::Damaged(found));
        }
    }
}

/// Decodes the first `head_len` bytes of a record's value, or the whole value when it is shorter.
pub(super) fn decode_head<R: Read + Seek>(
    file: &mut RecordFile<R>,
    record: &RecordAt,
    head_len: usize,
) -> Result<Vec<u8>, Fault> {
    let mut head = Vec::new();
    let mut decoder = stream(file, record).map_err(Fault::File)?.take(head_len as u64);
    match decoder.read_to_end(&mut head) {
        Ok(_) => Ok(head),
        Err(error) => Err(fault(decoder.get_ref().get_ref(), error)),
    }
}

fn fault<R>(payload: &Payload<'_, R>, error: io::Error) -> Fault {
    if is_damage(&error) {
        Fault::Damaged(format!("{error}, before byte {} of the file", payload.position()))
    } else {
        Fault::File(Error::io(payload.path(), "read", error))
    }
}

/// Tells bytes that are no frames from a disk that fails.
fn is_damage(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
        || matches!(error.get_ref(), Some(source) if source.is::<snap::Error>())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::era::e2store::record_type;
    use crate::format::frames::encoded as frames;
    use crate::format::record::RecordHeader;

    fn file(payload: &[u8]) -> (RecordFile<Cursor<Vec<u8>>>, RecordAt) {
        let len = u32::try_from(payload.len()).unwrap();
        let mut bytes = RecordHeader::new(record_type::STATE, len).to_bytes().to_vec();
        bytes.extend(payload);
        bytes.extend(b"another record");
        let mut file = RecordFile::new(Cursor::new(bytes), "test.era").unwrap();
        let record = file.record_at(0).unwrap();
        (file, record)
    }

    #[test]
    fn a_value_is_decoded_to_its_end_and_only_its_head_is_kept() {
        let value: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        let (mut file, record) = file(&frames(&value));
        let mut positions = Vec::new();
        let decoded =
            decode(&mut file, &record, 100_000, 800_000, &mut |at| positions.push(at)).unwrap();
        assert_eq!(decoded.byte_len, 800_000);
        assert_eq!(decoded.head, value[..100_000]);
        assert!(positions.is_sorted());
        assert_eq!(positions.last(), Some(&record.end()));
        assert_eq!(decode_head(&mut file, &record, 48).unwrap(), value[..48]);
    }

    #[test]
    fn a_bomb_is_refused_at_the_limit_with_file_offset_and_slot() {
        let (mut file, record) = file(&frames(&vec![0; 1 << 20]));
        let fault = decode(&mut file, &record, 8, 100_000, &mut |_| {}).unwrap_err();
        let error = fault.error(&file, &record, "state record", "slot 64");
        let text = error.to_string();
        assert!(error.is_corrupt());
        for part in ["test.era at offset 0", "state record", "slot 64", "100000 bytes"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn cut_and_flipped_frames_are_corrupt_and_not_an_io_error() {
        let value = [7; 1000];
        let whole = frames(&value);
        for len in 1..whole.len() {
            let (mut file, record) = file(&whole[..len]);
            let cut = decode(&mut file, &record, 8, 1 << 20, &mut |_| {});
            // The identifier of the stream alone is an empty value.
            assert_eq!(matches!(cut, Err(Fault::Damaged(_))), len != 10, "{len}: {cut:?}");
        }
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            let (mut file, record) = file(&flipped);
            let read = decode_stored(&record, &flipped, 1000, 1 << 20);
            for decoded in [decode(&mut file, &record, 1000, 1 << 20, &mut |_| {}), read] {
                match decoded {
                    Ok(decoded) => assert_eq!(decoded.head, value, "{at}"),
                    Err(fault) => assert!(matches!(fault, Fault::Damaged(_)), "{at}: {fault:?}"),
                }
            }
        }
    }
}
