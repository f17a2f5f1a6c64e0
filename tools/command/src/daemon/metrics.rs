//! The metrics of `/metrics`, in Prometheus' text format.

use std::fmt;
use std::time::Duration;

use coldstore::{Column, CommitInfo};
use coldstore_client::wire::RefusalKind;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use super::ingest::Room;
use super::intake::Intake;

/// Content type of [`Metrics::text`].
pub(super) const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

/// Buckets in seconds: flushes and requests take from half a millisecond to many seconds.
const SECONDS: [f64; 13] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 20.0];
const COMMIT_JOBS: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// Names and values of a metric's labels.
type Labels<const N: usize, V> = [(&'static str, V); N];
type ByColumn<M> = Family<Labels<1, &'static str>, M, fn() -> M>;

#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    commits: ByColumn<Counter>,
    records: ByColumn<Counter>,
    bytes: ByColumn<Counter>,
    switches: ByColumn<Counter>,
    flush_seconds: ByColumn<Histogram>,
    commit_seconds: ByColumn<Histogram>,
    commit_jobs: ByColumn<Histogram>,
    queue_jobs: ByColumn<Gauge>,
    queue_bytes: ByColumn<Gauge>,
    poisoned: ByColumn<Gauge>,
    highest_slot: ByColumn<Gauge>,
    requests: Family<Labels<3, String>, Counter>,
    request_seconds: Family<Labels<2, String>, Histogram, fn() -> Histogram>,
    refusals: Family<Labels<1, String>, Counter>,
    held_bytes: Gauge,
    spooled_bytes: Gauge,
    pub(super) connections: Gauge,
}

/// The metrics of one column's commits.
pub(super) struct CommitMetrics {
    commits: Counter,
    records: Counter,
    bytes: Counter,
    switches: Counter,
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
    pub(super) refusal: Option<&'a RefusalKind>,
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
    pub(super) fn new() -> Self {
        let mut registry = Registry::with_prefix("coldstore");
        let to = &mut registry;
        let build: Family<_, Gauge> = add(to, "build_info", "1, with the version of the daemon");
        build.get_or_create(&[("version", env!("CARGO_PKG_VERSION"))]).set(1);
        let seconds = || Histogram::new(SECONDS);
        Self {
            commits: add(to, "commits", "Durable commits"),
            records: add(to, "records", "Records written"),
            bytes: add(to, "payload_bytes", "Bytes of payload written, as stored"),
            switches: add(
                to,
                "backfill_file_switches",
                "Commits after which backfill had moved on to another sealed file",
            ),
            flush_seconds: add_metric(
                to,
                "flush_seconds",
                "How long a commit waited for its flushes: data, offsets, checksums, the new conf",
                Family::new_with_constructor(seconds),
            ),
            commit_seconds: add_metric(
                to,
                "commit_seconds",
                "How long a commit took, from its first write to the durable conf",
                Family::new_with_constructor(seconds),
            ),
            commit_jobs: add_metric(
                to,
                "commit_jobs",
                "Jobs that were answered by one commit",
                Family::new_with_constructor(|| Histogram::new(COMMIT_JOBS)),
            ),
            queue_jobs: add(to, "queue_jobs", "Jobs that wait or are being written"),
            queue_bytes: add(to, "queue_bytes", "Bytes of payload that wait or are being written"),
            poisoned: add(to, "poisoned", "1 when nothing more is written until a restart"),
            highest_slot: add(to, "highest_slot", "The highest slot with a record, -1 without any"),
            requests: add(to, "http_requests", "Requests that were answered"),
            request_seconds: add_metric(
                to,
                "http_request_seconds",
                "From the head of a request to that of its answer; a body is received in between",
                Family::new_with_constructor(seconds),
            ),
            refusals: add(to, "refusals", "Requests that were refused, by kind of error"),
            held_bytes: add(to, "held_bytes", "Bytes of request bodies held at the moment"),
            spooled_bytes: add(to, "spooled_bytes", "Bytes of large values in spool files"),
            connections: add(to, "connections", "Open connections"),
            registry,
        }
    }

    /// The metrics of one column, which appear in the text from now on, starting with zeros.
    pub(super) fn of_commits(&self, column: Column) -> CommitMetrics {
        CommitMetrics {
            commits: of(&self.commits, column),
            records: of(&self.records, column),
            bytes: of(&self.bytes, column),
            switches: of(&self.switches, column),
            flush_seconds: of(&self.flush_seconds, column),
            commit_seconds: of(&self.commit_seconds, column),
            commit_jobs: of(&self.commit_jobs, column),
        }
    }

    /// Counts an answered request. Each label has few distinct values.
    pub(super) fn count_request(&self, request: &Answered<'_>) {
        let Answered { method, route, status, refusal, elapsed } = *request;
        let label = |name, value: &str| (name, value.to_owned());
        let (method, route) = (label("method", method), label("route", route));
        let of_answer = [method.clone(), route.clone(), label("status", status)];
        self.requests.get_or_create(&of_answer).inc();
        self.request_seconds.get_or_create(&[method, route]).observe(elapsed.as_secs_f64());
        if let Some(kind) = refusal {
            self.refusals.get_or_create(&[("kind", kind.to_string())]).inc();
        }
    }

    /// Renders the text. Makes system calls.
    pub(super) fn text<'a>(
        &self,
        intakes: impl Iterator<Item = &'a Intake>,
        room: &Room,
    ) -> anyhow::Result<String> {
        for intake in intakes {
            let column = intake.column;
            let queue = intake.pipeline.queue();
            let highest = intake.view()?.highest_written_slot();
            of(&self.queue_jobs, column).set(signed(queue.jobs));
            of(&self.queue_bytes, column).set(signed(queue.bytes));
            of(&self.poisoned, column).set(intake.pipeline.poisoned().is_some().into());
            of(&self.highest_slot, column).set(highest.map_or(-1, |slot| signed(slot.0)));
        }
        self.held_bytes.set(signed(room.memory.held_bytes()));
        self.spooled_bytes.set(signed(room.spools.bytes()));
        let mut text = String::new();
        prometheus_text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    pub(super) fn connection_count(&self) -> u64 {
        u64::try_from(self.connections.get()).unwrap_or_default()
    }
}

fn of<M: Clone>(family: &ByColumn<M>, column: Column) -> M {
    family.get_or_create_owned(&[("column", column.dir_name())])
}

/// A metric and its help. (`Registry::register` would end the help with a full stop.)
#[derive(Debug)]
struct Described<M> {
    name: &'static str,
    help: &'static str,
    metric: M,
}

impl<M: Metric> Collector for Described<M> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Self { name, help, metric } = self;
        metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
    }
}

/// Adds a metric. (Of a counter's name, the encoder adds `_total`.)
fn add_metric<M>(registry: &mut Registry, name: &'static str, help: &'static str, metric: M) -> M
where
    M: Metric + Clone,
{
    registry.register_collector(Box::new(Described { name, help, metric: metric.clone() }));
    metric
}

fn add<M>(registry: &mut Registry, name: &'static str, help: &'static str) -> M
where
    M: Metric + Clone + Default,
{
    add_metric(registry, name, help, M::default())
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
