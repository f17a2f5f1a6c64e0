//! The metrics of `/metrics`, in Prometheus' text format.

use std::time::Duration;

use coldstore::{Column, CommitInfo};
use prometheus::core::Collector;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use super::ingest::Room;
use super::intake::Intake;

/// Buckets in seconds: flushes and requests take from half a millisecond to many seconds.
const SECONDS: [f64; 13] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 20.0];
const COMMIT_JOBS: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    commits: IntCounterVec,
    records: IntCounterVec,
    bytes: IntCounterVec,
    switches: IntCounterVec,
    flush_seconds: HistogramVec,
    commit_seconds: HistogramVec,
    commit_jobs: HistogramVec,
    queue_jobs: IntGaugeVec,
    queue_bytes: IntGaugeVec,
    poisoned: IntGaugeVec,
    highest_slot: IntGaugeVec,
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    refusals: IntCounterVec,
    held_bytes: IntGauge,
    spooled_bytes: IntGauge,
    pub(super) connections: IntGauge,
}

/// The metrics of one column's commits.
pub(super) struct CommitMetrics {
    commits: IntCounter,
    records: IntCounter,
    bytes: IntCounter,
    switches: IntCounter,
    flush_seconds: Histogram,
    commit_seconds: Histogram,
    commit_jobs: Histogram,
}

/// A request and its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered<'a> {
    pub(super) method: &'a str,
    pub(super) route: &'a str,
    pub(super) status: &'a str,
    /// The kind of error, if the request was refused.
    pub(super) refusal: Option<&'a str>,
    pub(super) elapsed: Duration,
}

impl CommitMetrics {
    pub(super) fn count(&self, commit: &CommitInfo) {
        self.commits.inc();
        self.records.inc_by(commit.records);
        self.bytes.inc_by(commit.bytes);
        self.switches.inc_by(u64::from(commit.switched_file));
        self.flush_seconds.observe(commit.flush.as_secs_f64());
        self.commit_seconds.observe(commit.elapsed.as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "a histogram has no exact numbers")]
        self.commit_jobs.observe(commit.jobs as f64);
    }
}

impl Metrics {
    pub(super) fn new() -> prometheus::Result<Self> {
        let registry = Registry::new_custom(Some("coldstore".to_owned()), None)?;
        let label = &["column"];
        let counter = |name: &str, help: &str| {
            registered(&registry, IntCounterVec::new(Opts::new(name, help), label)?)
        };
        let gauge = |name: &str, help: &str| {
            registered(&registry, IntGaugeVec::new(Opts::new(name, help), label)?)
        };
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            registered(&registry, HistogramVec::new(options, label)?)
        };
        let requests = Opts::new("http_requests_total", "Requests that were answered");
        let requests = IntCounterVec::new(requests, &["method", "route", "status"])?;
        let seconds = HistogramOpts::new(
            "http_request_seconds",
            "From the head of a request to that of its answer; a body is received in between",
        );
        let seconds = HistogramVec::new(seconds.buckets(SECONDS.to_vec()), &["method", "route"])?;
        let refusals = Opts::new("refusals_total", "Requests that were refused, by kind of error");
        let refusals = IntCounterVec::new(refusals, &["kind"])?;
        let build = Opts::new("build_info", "1, with the version of the daemon");
        let build = registered(&registry, IntGaugeVec::new(build, &["version"])?)?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let plain = |name: &str, help: &str| registered(&registry, IntGauge::new(name, help)?);
        Ok(Self {
            commits: counter("commits_total", "Durable commits")?,
            records: counter("records_total", "Records written")?,
            bytes: counter("payload_bytes_total", "Bytes of payload written, as stored")?,
            switches: counter(
                "backfill_file_switches_total",
                "Commits after which backfill had moved on to another sealed file",
            )?,
            flush_seconds: histogram(
                "flush_seconds",
                "How long a commit waited for its flushes: data, offsets, checksums, the new conf",
                &SECONDS,
            )?,
            commit_seconds: histogram(
                "commit_seconds",
                "How long a commit took, from its first write to the durable conf",
                &SECONDS,
            )?,
            commit_jobs: histogram(
                "commit_jobs",
                "Jobs that were answered by one commit",
                &COMMIT_JOBS,
            )?,
            queue_jobs: gauge("queue_jobs", "Jobs that wait or are being written")?,
            queue_bytes: gauge("queue_bytes", "Bytes of payload that wait or are being written")?,
            poisoned: gauge("poisoned", "1 when nothing more is written until a restart")?,
            highest_slot: gauge("highest_slot", "The highest slot with a record, -1 without any")?,
            requests: registered(&registry, requests)?,
            request_seconds: registered(&registry, seconds)?,
            refusals: registered(&registry, refusals)?,
            held_bytes: plain("held_bytes", "Bytes of request bodies held at the moment")?,
            spooled_bytes: plain("spooled_bytes", "Bytes of large values in spool files")?,
            connections: plain("connections", "Open connections")?,
            registry,
        })
    }

    /// The metrics of one column, which appear in the text from now on, starting with zeros.
    pub(super) fn of_commits(&self, column: Column) -> CommitMetrics {
        let label = &[column.dir_name()];
        CommitMetrics {
            commits: self.commits.with_label_values(label),
            records: self.records.with_label_values(label),
            bytes: self.bytes.with_label_values(label),
            switches: self.switches.with_label_values(label),
            flush_seconds: self.flush_seconds.with_label_values(label),
            commit_seconds: self.commit_seconds.with_label_values(label),
            commit_jobs: self.commit_jobs.with_label_values(label),
        }
    }

    /// Counts an answered request. Each label has few distinct values.
    pub(super) fn count_request(&self, request: &Answered<'_>) {
        let Answered { method, route, status, refusal, elapsed } = *request;
        self.requests.with_label_values(&[method, route, status]).inc();
        self.request_seconds.with_label_values(&[method, route]).observe(elapsed.as_secs_f64());
        if let Some(kind) = refusal {
            self.refusals.with_label_values(&[kind]).inc();
        }
    }

    /// Renders the text. Makes system calls.
    pub(super) fn text<'a>(
        &self,
        intakes: impl Iterator<Item = &'a Intake>,
        room: &Room,
    ) -> anyhow::Result<Vec<u8>> {
        for intake in intakes {
            let label = &[intake.column.dir_name()];
            let queue = intake.pipeline.queue();
            let highest = intake.view()?.highest_written_slot();
            self.queue_jobs.with_label_values(label).set(signed(queue.jobs));
            self.queue_bytes.with_label_values(label).set(signed(queue.bytes));
            self.poisoned.with_label_values(label).set(intake.pipeline.poisoned().is_some().into());
            let highest = highest.map_or(-1, |slot| signed(slot.0));
            self.highest_slot.with_label_values(label).set(highest);
        }
        self.held_bytes.set(signed(room.memory.held_bytes()));
        self.spooled_bytes.set(signed(room.spools.bytes()));
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    pub(super) fn connection_count(&self) -> u64 {
        u64::try_from(self.connections.get()).unwrap_or_default()
    }
}

fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
