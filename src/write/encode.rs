//! Compresses values before the commit, in parallel if the batch is large enough.

use std::borrow::Cow;
use std::io::{self, Read};

use snap::write::FrameEncoder;

use crate::sync::thread;
use crate::sync::{Mutex, PoisonError};
use crate::write::commit::Record;

/// Minimum size in bytes of a batch that several threads compress.
const PARALLEL_BYTES: usize = 1 << 20;

/// Replaces each value by its snappy frames.
pub(super) fn compress_all(records: &mut [Record<'_>]) -> io::Result<()> {
    let total: usize = records.iter().map(|(_, value)| value.len()).sum();
    let cores = || thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = if total < PARALLEL_BYTES { 1 } else { cores().min(records.len()) };
    let compress = |(_, value): &mut Record<'_>| {
        *value = Cow::Owned(encode_stream(&**value)?);
        Ok(())
    };
    let queue = Mutex::new(records.iter_mut());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || std::iter::from_fn(next).try_for_each(compress);
    thread::scope(|scope| {
        let helpers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let own = work();
        let joined = helpers.into_iter().map(thread::ScopedJoinHandle::join);
        let outcomes =
            joined.map(|outcome| outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        outcomes.fold(own, Result::and)
    })
}

/// Compresses a stream into snappy frames. Errors come from the stream.
pub(super) fn encode_stream(mut value: impl Read) -> io::Result<Vec<u8>> {
    let mut encoder = FrameEncoder::new(Vec::new());
    io::copy(&mut value, &mut encoder)?;
    encoder.into_inner().map_err(snap::write::IntoInnerError::into_error)
}
