//! Starts the daemon, accepts connections, and shuts down with nothing left to heal.

use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use coldstore::{
    ArchivePipeline, ArchiveWriter, ArchiveWriterOptions, Column, MappedArchive, PipelineOptions,
};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use sd_notify::NotifyState;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;

use super::body::Patience;
use super::ingest::Room;
use super::intake::Intake;
use super::limits::Memory;
use super::metrics::Metrics;
use super::routes::{metrics_router, router};
use super::shared::Daemon;
use super::socket::Socket;
use super::spool::Spools;
use super::states::States;
use crate::open;
use crate::signals;

/// Pause after a failed `accept`, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long clients may take to read the last answers, once everything is durable.
const FAREWELL: Duration = Duration::from_secs(5);

/// Maximum number of concurrent TCP connections for metrics.
const METRICS_CONNECTIONS: usize = 8;

/// Blocking threads in addition to one per connection.
const SPARE_THREADS: usize = 16;

#[derive(Debug)]
pub(crate) struct Options {
    /// The archive's directory.
    pub(crate) archive: PathBuf,
    /// How to open its columns, all of them.
    pub(crate) columns: ArchiveWriterOptions,
    pub(crate) socket: PathBuf,
    pub(crate) max_connections: u16,
    /// Maximum time without progress by a client, sending or reading.
    pub(crate) stall: Duration,
    /// Minimum rate in bytes per second for larger values.
    pub(crate) min_rate: u64,
    /// Address for metrics over TCP.
    pub(crate) metrics: Option<SocketAddr>,
    /// Whether any values are taken for `bsd`, as for the other columns.
    pub(crate) raw: bool,
    /// Maximum bytes of request bodies held at once.
    pub(crate) budget_bytes: usize,
}

/// Serves until a signal arrives.
///
/// 1. lock and heal all existing columns, create missing ones, open all for reading, bind the socket;
///    an error up to here leaves the archive unchanged,
/// 2. turn backfill on where requested; clients that connect meanwhile wait,
/// 3. serve until a signal arrives,
/// 4. remove the socket, stop accepting connections and values,
/// 5. wait for the answers in flight,
/// 6. finish the queued jobs and release the locks.
pub(crate) fn run(options: &Options) -> Result<()> {
    let metrics = Metrics::new();
    let mut archive = ArchiveWriter::open(&options.archive, options.columns.deferred(true))?;
    // A client that sees the socket may already send a signal.
    let signal = signals::stop_signal()?;
    let (readers, metrics_listener, (socket, listener)) = archive.settle_with(|| {
        let readers = open::archive(&options.archive)?;
        Column::ALL.into_iter().try_for_each(|column| readers.column(column).map(drop))?;
        let metrics_listener = options.metrics.map(bind_metrics).transpose()?;
        // Threads start later: binding sets the umask, so no other thread may create files meanwhile.
        anyhow::Ok((readers, metrics_listener, Socket::bind(&options.socket)?))
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(usize::from(options.max_connections) + SPARE_THREADS)
        .thread_name("coldstore-http")
        .build()
        .context("cannot start threads")?;
    let pipeline = ArchivePipeline::start(archive, |column| {
        let commits = metrics.of_commits(column);
        PipelineOptions::default().on_commit(move |commit| commits.count(commit))
    })?;
    let (stopper, stop) = watch::channel(false);
    let daemon = Arc::new(daemon(options, readers, &pipeline, metrics, stop)?);
    let served = runtime.block_on(async {
        let stopped = tokio::spawn(async move {
            let outcome = wait_for(signal).await;
            tracing::info!("stopping");
            notify(NotifyState::Stopping);
            stopper.send_replace(true);
            outcome
        });
        let listener = listen(listener)?;
        tracing::info!(
            archive = %pipeline.root().display(), socket = %options.socket.display(), "listening"
        );
        if let Some(listener) = metrics_listener {
            tokio::spawn(serve_metrics(tokio_listener(listener)?, Arc::clone(&daemon)));
        }
        notify(NotifyState::Ready);
        let recording = tokio::spawn(update_manifest_periodically(pipeline.root().to_owned()));
        serve(options, listener, socket, daemon, &pipeline).await;
        recording.abort();
        stopped.await.context("cannot wait for signals")?.context("cannot wait for signals")
    });
    runtime.shutdown_timeout(FAREWELL);
    pipeline.shutdown();
    tracing::info!("stopped");
    served
}

/// Interval between two updates of the columns' highest slots in the manifest.
const RECORD_EVERY: Duration = Duration::from_secs(60);

/// Commits do not wait for this; after a kill the next opening does it.
async fn update_manifest_periodically(archive: PathBuf) {
    let mut ticks = tokio::time::interval(RECORD_EVERY);
    loop {
        ticks.tick().await;
        let archive = archive.clone();
        let record = move || coldstore::archive::record(&archive, &Column::ALL);
        let recorded = tokio::task::spawn_blocking(record);
        if let Ok(Err(error)) = recorded.await {
            tracing::warn!(%error, "cannot update the highest slots in the manifest");
        }
    }
}

fn daemon(
    options: &Options,
    readers: MappedArchive,
    pipeline: &ArchivePipeline,
    metrics: Metrics,
    stop: watch::Receiver<bool>,
) -> Result<Daemon> {
    let mut intakes = Vec::new();
    for column in Column::ALL {
        let reader = readers.column(column)?.clone();
        intakes.push(Arc::new(Intake::new(column, pipeline.column(column).clone(), reader)));
    }
    Ok(Daemon {
        root: std::fs::canonicalize(pipeline.root())
            .with_context(|| format!("{}: cannot resolve the path", pipeline.root().display()))?,
        intakes: intakes.try_into().unwrap_or_else(|_| unreachable!("one for each column")),
        room: Room {
            memory: Memory::new(options.budget_bytes),
            spools: Spools::new(pipeline.root()),
            states: (!options.raw).then(|| States::new(readers)).transpose()?,
        },
        metrics,
        patience: Patience { stall: options.stall, min_rate: options.min_rate },
        stop,
    })
}

fn listen(listener: UnixListener) -> Result<tokio::net::UnixListener> {
    listener
        .set_nonblocking(true)
        .and_then(|()| tokio::net::UnixListener::from_std(listener))
        .context("cannot listen")
}

fn bind_metrics(address: SocketAddr) -> Result<std::net::TcpListener> {
    let bound = std::net::TcpListener::bind(address);
    bound.with_context(|| format!("{address}: cannot listen for metrics requests"))
}

fn tokio_listener(listener: std::net::TcpListener) -> Result<tokio::net::TcpListener> {
    listener
        .set_nonblocking(true)
        .and_then(|()| tokio::net::TcpListener::from_std(listener))
        .context("cannot listen for metrics requests")
}

/// Serves metrics until shutdown.
async fn serve_metrics(listener: tokio::net::TcpListener, daemon: Arc<Daemon>) {
    let slots = Arc::new(Semaphore::new(METRICS_CONNECTIONS));
    let router = metrics_router(Arc::clone(&daemon));
    let accept = async {
        // The semaphore is never closed.
        while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (router, daemon) = (router.clone(), Arc::clone(&daemon));
                    tokio::spawn(async move {
                        serve_connection(stream, router, &daemon).await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a metrics connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    let mut stop = daemon.stop.clone();
    tokio::select! {
        () = stopped(&mut stop) => {}
        () = accept => {}
    }
}

async fn wait_for(signal: std::os::unix::net::UnixStream) -> std::io::Result<()> {
    signal.set_nonblocking(true)?;
    UnixStream::from_std(signal)?.readable().await
}

/// Steps 3 to 6 of [`run`].
async fn serve(
    options: &Options,
    listener: tokio::net::UnixListener,
    socket: Socket,
    daemon: Arc<Daemon>,
    pipeline: &ArchivePipeline,
) {
    let slots = Arc::new(Semaphore::new(options.max_connections.into()));
    let all = u32::from(options.max_connections);
    let router = router(Arc::clone(&daemon));
    let mut stop = daemon.stop.clone();
    tokio::select! {
        biased;
        () = stopped(&mut stop) => {}
        () = accept(&listener, &slots, &router, &daemon) => {}
    }
    drop(socket);
    drop(listener);
    let ended = timeout(options.stall, slots.acquire_many(all)).await.is_ok();
    // Pending requests are answered while the pipelines drain.
    let draining = pipeline.clone();
    let drained = tokio::task::spawn_blocking(move || draining.shutdown());
    drop(drained.await);
    if !ended && timeout(FAREWELL, slots.acquire_many(all)).await.is_err() {
        tracing::warn!("some clients did not read their answers");
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A dropped sender also means shutdown.
    drop(stop.wait_for(|stop| *stop).await);
}

async fn accept(
    listener: &tokio::net::UnixListener,
    slots: &Arc<Semaphore>,
    router: &Router,
    daemon: &Arc<Daemon>,
) {
    // The semaphore is never closed.
    while let Ok(slot) = Arc::clone(slots).acquire_owned().await {
        let stream = loop {
            match listener.accept().await {
                Ok((stream, _)) => break stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        };
        let (router, daemon) = (router.clone(), Arc::clone(daemon));
        tokio::spawn(async move {
            daemon.metrics.connections.inc();
            serve_connection(stream, router, &daemon).await;
            daemon.metrics.connections.dec();
            drop(slot);
        });
    }
}

async fn serve_connection<S>(stream: S, router: Router, daemon: &Daemon)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    // Reads have their own timeouts, because nothing arrives while a client waits for a commit.
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(daemon.patience.stall));
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(daemon.patience.stall)
        .half_close(true)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    let mut connection = std::pin::pin!(connection);
    let mut stop = daemon.stop.clone();
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

/// Notifies the service manager, if there is one.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "cannot notify the service manager");
    }
}
