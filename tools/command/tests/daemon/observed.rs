//! `/v1/status` and `/metrics`.

use std::io::Write;

use crate::host::Daemon;
use crate::support::{Archive, roots, stream};

#[test]
fn the_status_has_every_column() {
    let archive = Archive::new();
    let daemon = Daemon::start_beside(&archive, &["--raw", "--far", "--backfill"]);
    daemon.ask("PUT", "/v1/bss/77", b"x").exits_with(201);
    daemon.wait_for_connections("1");
    let status = daemon.get("/v1/status").exits_with(200).json();
    assert_eq!(status["pid"], daemon.child.id().to_string());
    assert_eq!(status["archive"], archive.arg());
    let columns = status["columns"].as_array().unwrap();
    let names: Vec<_> = columns.iter().map(|column| column["column"].as_str().unwrap()).collect();
    assert_eq!(names, ["blk", "bbr", "bsr", "bss", "bsd"]);
    let bss = &columns[3];
    assert_eq!((&bss["highest_slot"], &bss["backfill"]), (&"77".into(), &true.into()));
    assert_eq!((&bss["poisoned"], &bss["queued_jobs"]), (&().into(), &"0".into()));
    assert_eq!((&columns[0]["highest_slot"], &columns[0]["backfill"]), (&().into(), &false.into()));
}

#[test]
fn every_metric_is_present_from_the_start_in_prometheus_text() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &[]);
    let reply = daemon.get("/metrics").exits_with(200);
    assert!(reply.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let text = reply.text();
    for line in text.lines() {
        let is_comment = line.starts_with("# HELP ") || line.starts_with("# TYPE ");
        let value = line.rsplit(' ').next().unwrap();
        assert!(is_comment || value.parse::<f64>().is_ok(), "{line}");
    }
    for column in ["blk", "bbr", "bsr", "bss", "bsd"] {
        for name in [
            "commits_total",
            "records_total",
            "payload_bytes_total",
            "backfill_file_switches_total",
            "flush_seconds_count",
            "commit_seconds_count",
            "commit_jobs_sum",
            "queue_jobs",
            "queue_bytes",
            "poisoned",
        ] {
            assert_eq!(daemon.metric(name, column), 0.0, "{name} {column}");
        }
        assert_eq!(daemon.metric("highest_slot", column), -1.0);
    }
    assert!(text.contains("\ncoldstore_connections "), "{text}");
}

#[test]
fn metrics_follow_the_commits() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &["--backfill"]);
    let states = |slots: &[u64]| stream([4, 0], &roots(slots.iter().copied()));
    daemon.ask("POST", "/v1/bss", &states(&[0, 8192, 16_384])).exits_with(200);
    assert_eq!(daemon.metric("records_total", "bss"), 3.0);
    assert_eq!(daemon.metric("payload_bytes_total", "bss"), 96.0);
    assert_eq!(daemon.metric("highest_slot", "bss"), 16_384.0);
    let commits = daemon.metric("commits_total", "bss");
    assert!((1.0..=3.0).contains(&commits));
    daemon.ask("POST", "/v1/bss", &states(&[1, 8193])).exits_with(200);
    assert!(daemon.metric("backfill_file_switches_total", "bss") >= 1.0);
    assert!(daemon.metric("commits_total", "bss") >= commits + 2.0);
    assert_eq!(daemon.metric("commit_jobs_sum", "bss"), commits + 2.0);
    assert_eq!(daemon.metric("flush_seconds_count", "bss"), daemon.metric("commits_total", "bss"));
    let seconds = |name: &str| daemon.metric(&format!("{name}_seconds_sum"), "bss");
    assert!(seconds("flush") > 0.0 && seconds("flush") < seconds("commit"), "a part of it");
    assert_eq!(daemon.metric("commits_total", "bsd"), 0.0);
    // A put of an existing value is not a commit.
    let commits = daemon.metric("commits_total", "bss");
    daemon.ask("POST", "/v1/bss", &states(&[1, 8193])).exits_with(200);
    assert_eq!(daemon.metric("commits_total", "bss"), commits);
}

/// Asserts a line of the metrics, with any labels.
#[track_caller]
fn assert_counts(text: &str, line: &str) {
    let wanted = format!("coldstore_{line}");
    assert!(text.lines().any(|found| found == wanted), "no {wanted} in {text}");
}

/// Dashboards and alerts depend on these.
const METRICS: [(&str, &str, &str); 18] = [
    (
        "backfill_file_switches_total",
        "counter",
        "Commits after which backfill had moved on to another sealed file",
    ),
    ("build_info", "gauge", "1, with the version of the daemon"),
    ("commit_jobs", "histogram", "Jobs that were answered by one commit"),
    (
        "commit_seconds",
        "histogram",
        "How long a commit took, from its first write to the durable conf",
    ),
    ("commits_total", "counter", "Durable commits"),
    ("connections", "gauge", "Open connections"),
    (
        "flush_seconds",
        "histogram",
        "How long a commit waited for its flushes: data, offsets, checksums, the new conf",
    ),
    ("held_bytes", "gauge", "Bytes of request bodies held at the moment"),
    ("highest_slot", "gauge", "The highest slot with a record, -1 without any"),
    (
        "http_request_seconds",
        "histogram",
        "From the head of a request to that of its answer; a body is received in between",
    ),
    ("http_requests_total", "counter", "Requests that were answered"),
    ("payload_bytes_total", "counter", "Bytes of payload written, as stored"),
    ("poisoned", "gauge", "1 when nothing more is written until a restart"),
    ("queue_bytes", "gauge", "Bytes of payload that wait or are being written"),
    ("queue_jobs", "gauge", "Jobs that wait or are being written"),
    ("records_total", "counter", "Records written"),
    ("refusals_total", "counter", "Requests that were refused, by kind of error"),
    ("spooled_bytes", "gauge", "Bytes of large values in spool files"),
];

#[test]
fn metrics_keep_their_names_types_help_and_bucket_labels() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &[]);
    daemon.ask("PUT", "/v1/bbr/5", &[1; 32]).exits_with(201);
    daemon.get("/v1/bbr/6").refuses(404, "NoRecord");
    let text = daemon.get("/metrics").exits_with(200).text();
    let heads: Vec<&str> = text.lines().filter(|line| line.starts_with('#')).collect();
    for (name, kind, help) in METRICS {
        let (help, kind) =
            (format!("# HELP coldstore_{name} {help}"), format!("# TYPE coldstore_{name} {kind}"));
        assert!(heads.windows(2).any(|pair| pair == [&help, &kind]), "no {help}, {kind} in {text}");
    }
    assert_eq!(heads.len(), 2 * METRICS.len(), "{text}");
    for bound in ["0.0005", "0.1", "1", "20", "+Inf"] {
        assert!(text.contains(&format!("flush_seconds_bucket{{column=\"bbr\",le=\"{bound}\"}} ")));
    }
    for bound in ["1", "1024", "+Inf"] {
        assert_counts(&text, &format!("commit_jobs_bucket{{column=\"bbr\",le=\"{bound}\"}} 1"));
    }
}

#[test]
fn requests_and_refusals_are_counted_by_route_status_and_kind() {
    let archive = Archive::new();
    let daemon = Daemon::start(&archive, &[]);
    for status in [201, 200] {
        daemon.ask("PUT", "/v1/bbr/5", &[1; 32]).exits_with(status);
    }
    daemon.ask("PUT", "/v1/bbr/9", &[1; 32]).refuses(422, "RootGap");
    daemon.get("/v1/bbr/6").refuses(404, "NoRecord");
    daemon.get("/anything/else").refuses(404, "NotFound");
    daemon.ask("BREW", "/v1/status", b"").refuses(405, "MethodNotAllowed");
    let text = daemon.get("/metrics").exits_with(200).text();
    let requests =
        |labels: &str| assert_counts(&text, &format!("http_requests_total{{{labels}}} 1"));
    for status in [200, 201, 422] {
        requests(&format!(r#"method="PUT",route="/v1/{{column}}/{{slot}}",status="{status}""#));
    }
    requests(r#"method="GET",route="/v1/{column}/{slot}",status="404""#);
    requests(r#"method="GET",route="other",status="404""#);
    requests(r#"method="other",route="/v1/status",status="405""#);
    for kind in ["RootGap", "NoRecord", "NotFound", "MethodNotAllowed"] {
        assert_counts(&text, &format!("refusals_total{{kind=\"{kind}\"}} 1"));
    }
    let route = r#"method="PUT",route="/v1/{column}/{slot}""#;
    assert_counts(&text, &format!("http_request_seconds_count{{{route}}} 3"));
    let version = env!("CARGO_PKG_VERSION");
    assert_counts(&text, &format!("build_info{{version=\"{version}\"}} 1"));
}

#[test]
fn only_metrics_are_served_over_tcp() {
    let archive = Archive::new();
    // A recently free port.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let daemon = Daemon::start(&archive, &["--metrics", &port.to_string()]);
    daemon.ask("PUT", "/v1/bbr/5", &[1; 32]).exits_with(201);
    let ask = |method: &str, path: &str| {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(crate::host::PATIENCE)).unwrap();
        stream.write_all(&crate::host::head(method, path, 0)).unwrap();
        crate::host::read_reply(stream, method == "HEAD")
    };
    let text = ask("GET", "/metrics").exits_with(200).text();
    assert_counts(&text, "records_total{column=\"bbr\"} 1");
    for (method, path) in [("GET", "/v1/status"), ("GET", "/v1/bbr/5"), ("PUT", "/v1/bbr/6")] {
        ask(method, path).refuses(404, "NotFound");
    }
    daemon.stop();
    for wrong in ["nonsense", "localhost", "127.0.0.1", "99999"] {
        crate::support::coldstore(&["write", "a", "--socket", "s", "--metrics", wrong]).exits(2);
    }
}
