//! From values to what is stored for them: before the commit, and on all cores where a batch is
//! worth it.

use std::io::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering};

use snap::write::FrameEncoder;

use crate::column::Compression;

/// From this many bytes on, a batch is compressed by several threads.
const PARALLEL_BYTES: usize = 1 << 20;

/// The snappy frames of each of the values, in order.
pub(super) fn compress_all(values: &[&[u8]]) -> io::Result<Vec<Vec<u8>>> {
    let total: usize = values.iter().map(|value| value.len()).sum();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = if total < PARALLEL_BYTES { 1 } else { cores.min(values.len()) };
    compress_on(threads, values)
}

fn compress_on(threads: usize, values: &[&[u8]]) -> io::Result<Vec<Vec<u8>>> {
    if threads <= 1 {
        return values.iter().map(|value| encode_stream(*value)).collect();
    }
    let next = AtomicUsize::new(0);
    let work = || -> io::Result<Vec<(usize, Vec<u8>)>> {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            match values.get(index) {
                Some(value) => done.push((index, encode_stream(*value)?)),
                None => return Ok(done),
            }
        }
    };
    let parts = std::thread::scope(|scope| {
        let helpers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut parts = vec![work()];
        for helper in helpers {
            parts.push(helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        parts
    });
    let mut stored = vec![Vec::new(); values.len()];
    for part in parts {
        for (index, bytes) in part? {
            stored[index] = bytes;
        }
    }
    Ok(stored)
}

/// What is stored for one value that is given away.
pub(super) fn encode_owned(value: Vec<u8>, compression: Compression) -> io::Result<Vec<u8>> {
    match compression {
        Compression::None => Ok(value),
        Compression::Snappy => encode_stream(value.as_slice()),
    }
}

/// The snappy frames of a stream. The errors are the stream's own.
pub(super) fn encode_stream(mut value: impl Read) -> io::Result<Vec<u8>> {
    let mut encoder = FrameEncoder::new(Vec::new());
    io::copy(&mut value, &mut encoder)?;
    encoder.into_inner().map_err(snap::write::IntoInnerError::into_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_do_not_change_what_is_stored() {
        let values: Vec<Vec<u8>> = (0..100u8)
            .map(|n| (0..u16::from(n) * 600).map(|i| i.to_le_bytes()[1] ^ n).collect())
            .collect();
        let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        let alone = compress_on(1, &values).unwrap();
        assert!(alone[0].is_empty(), "an empty value is an empty payload");
        for threads in [2, 3, 8] {
            assert!(compress_on(threads, &values).unwrap() == alone);
        }
    }
}
