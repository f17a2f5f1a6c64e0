//! Orderly shutdown on signals.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::low_level::pipe;

use crate::failure;

/// A flag raised by SIGINT and SIGTERM. A second signal ends the process at once.
pub(crate) fn stop_flag() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        let status = i32::from(failure::FAILED);
        // Order matters: on the first signal the shutdown check must run while the flag is still unset.
        flag::register_conditional_shutdown(signal, status, Arc::clone(&stop))
            .and_then(|_| flag::register(signal, Arc::clone(&stop)))
            .context("cannot wait for signals")?;
    }
    Ok(stop)
}

/// A stream that becomes readable on SIGINT or SIGTERM. A second signal ends the process at once.
pub(crate) fn stop_signal() -> Result<UnixStream> {
    drop(stop_flag()?);
    let (ours, handlers) = UnixStream::pair().context("cannot wait for signals")?;
    for signal in [SIGINT, SIGTERM] {
        handlers
            .try_clone()
            .and_then(|handlers| pipe::register(signal, handlers))
            .context("cannot wait for signals")?;
    }
    Ok(ours)
}
