//! System calls that no safe wrapper covers.

use std::fs::File;
use std::ops::Range;

/// Starts writing these bytes of a file to the medium, if the system supports it.
#[cfg(target_os = "linux")]
pub(crate) fn begin_flush(file: &File, bytes: Range<u64>) {
    use std::os::fd::AsRawFd;

    let (Ok(offset), Ok(byte_len)) =
        (i64::try_from(bytes.start), i64::try_from(bytes.end.saturating_sub(bytes.start)))
    else {
        return;
    };
    let flags = libc::SYNC_FILE_RANGE_WRITE;
    // SAFETY: sync_file_range(2) takes numbers only, and the descriptor is open.
    let status = unsafe { libc::sync_file_range(file.as_raw_fd(), offset, byte_len, flags) };
    if status != 0 {
        // The flush that follows reports whether the bytes reached the medium.
        let error = std::io::Error::last_os_error();
        tracing::debug!(%error, "early write-out was refused");
    }
}

/// Starts writing these bytes of a file to the medium, if the system supports it.
#[cfg(not(target_os = "linux"))]
pub(crate) fn begin_flush(_: &File, _: Range<u64>) {}
