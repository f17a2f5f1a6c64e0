//! Runs the daemon, and sends it plain HTTP requests.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

pub(crate) use crate::support::PATIENCE;
use crate::support::{Archive, Run, command};

/// A daemon, killed on drop.
pub(crate) struct Daemon {
    pub(crate) child: Child,
    pub(crate) socket: String,
}

impl Daemon {
    /// Starts a daemon of the archive on a socket beside it, and waits until it listens.
    pub(crate) fn start(archive: &Archive, more: &[&str]) -> Self {
        Self::start_by(command(&["write", &archive.arg()]), archive, more)
    }

    /// Starts it in the archive's parent directory, with a relative path.
    pub(crate) fn start_beside(archive: &Archive, more: &[&str]) -> Self {
        let path = archive.path();
        let mut command = command(&["write", path.file_name().unwrap().to_str().unwrap()]);
        command.current_dir(path.parent().unwrap());
        Self::start_by(command, archive, more)
    }

    fn start_by(mut command: Command, archive: &Archive, more: &[&str]) -> Self {
        let socket = archive.beside("socket");
        command.args(["--socket", &socket]).args(more).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut daemon = Self { child: command.spawn().unwrap(), socket };
        daemon.wait_until_listening();
        daemon
    }

    /// A daemon that accepts any values at any slots; other tests cover its checks.
    pub(crate) fn raw(archive: &Archive, more: &[&str]) -> Self {
        Self::start(archive, &[&["--raw", "--far"], more].concat())
    }

    fn wait_until_listening(&mut self) {
        let started = Instant::now();
        while UnixStream::connect(&self.socket).is_err() {
            if self.child.try_wait().unwrap().is_some() {
                let mut stderr = String::new();
                self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
                panic!("the daemon ended: {stderr}");
            }
            assert!(started.elapsed() < PATIENCE, "the daemon does not listen");
            sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn ask(&self, method: &str, path: &str, body: &[u8]) -> Reply {
        ask(Path::new(&self.socket), method, path, body)
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, b"")
    }

    /// Waits until this many connections are open, including its own.
    pub(crate) fn wait_for_connections(&self, count: &str) {
        let started = Instant::now();
        while self.get("/v1/status").json()["connections"] != count {
            assert!(started.elapsed() < PATIENCE, "there are not {count} connections");
            sleep(Duration::from_millis(5));
        }
    }

    /// Waits until at least this many bytes of unanswered values are held; returns the number.
    pub(crate) fn wait_for_held_bytes(&self, at_least: u64) -> u64 {
        let started = Instant::now();
        loop {
            let status = self.get("/v1/status").json();
            let held = status["held_bytes"].as_str().unwrap().parse().unwrap();
            if held >= at_least {
                return held;
            }
            assert!(started.elapsed() < PATIENCE, "{held} bytes are held, not {at_least}");
            sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the daemon accepts no more connections.
    pub(crate) fn wait_until_stopping(&self) {
        let started = Instant::now();
        while Path::new(&self.socket).exists() {
            assert!(started.elapsed() < PATIENCE, "the socket stays");
            sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// The value of a metric of a column.
    pub(crate) fn metric(&self, name: &str, column: &str) -> f64 {
        let text = self.get("/metrics").exits_with(200).text();
        let wanted = format!("coldstore_{name}{{column=\"{column}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&wanted));
        line.unwrap_or_else(|| panic!("no {wanted} in {text}")).parse().unwrap()
    }

    /// The value of a metric without labels.
    pub(crate) fn plain_metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").exits_with(200).text();
        let wanted = format!("coldstore_{name} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&wanted));
        line.unwrap_or_else(|| panic!("no {wanted} in {text}")).parse().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the requested end.
    pub(crate) fn wait(mut self) -> Run {
        let started = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < PATIENCE, "the daemon does not end");
            sleep(Duration::from_millis(5));
        }
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        let code = self.child.wait().unwrap().code();
        Run { code, stdout: Vec::new(), stderr }
    }

    /// Stops the daemon and waits for its end.
    pub(crate) fn stop(self) -> Run {
        self.signal(Signal::TERM);
        self.wait().exits(0)
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The reply to a request.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// False if the connection broke before the end of the body.
    pub(crate) is_whole: bool,
}

impl Reply {
    #[track_caller]
    pub(crate) fn exits_with(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self
    }

    /// Asserts an error of this kind; returns its JSON.
    #[track_caller]
    pub(crate) fn refuses(self, status: u16, kind: &str) -> Value {
        let json = self.exits_with(status).json();
        assert_eq!(json["error"], kind, "{json}");
        assert!(!json["message"].as_str().unwrap().is_empty(), "{json}");
        json
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str())
    }
}

pub(crate) fn head(method: &str, path: &str, length: impl std::fmt::Display) -> Vec<u8> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    head.into_bytes()
}

pub(crate) fn ask(socket: &Path, method: &str, path: &str, body: &[u8]) -> Reply {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&head(method, path, body.len())).unwrap();
    // The daemon may answer before it has read everything.
    let _ = stream.write_all(body);
    read_reply(stream, method == "HEAD")
}

/// Reads an answer; written from the HTTP specification alone.
pub(crate) fn read_reply(stream: impl Read, is_head: bool) -> Reply {
    let mut stream = BufReader::new(stream);
    let mut line = || {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    };
    let status = line();
    let status = status.split(' ').nth(1).unwrap_or_else(|| panic!("no answer: {status:?}"));
    let status = status.parse().unwrap();
    let mut headers = Vec::new();
    loop {
        let line = line();
        let Some((name, value)) = line.split_once(": ") else { break };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let mut reply = Reply { status, headers, body: Vec::new(), is_whole: true };
    if is_head {
        return reply;
    }
    if reply.header("transfer-encoding") == Some("chunked") {
        reply.is_whole = read_chunks(&mut stream, &mut reply.body);
    } else {
        let length = reply.header("content-length").map_or(0, |text| text.parse().unwrap());
        stream.take(length).read_to_end(&mut reply.body).unwrap();
        reply.is_whole = reply.body.len() as u64 == length;
    }
    reply
}

/// False if the connection ends before the last chunk.
fn read_chunks(stream: &mut impl BufRead, body: &mut Vec<u8>) -> bool {
    loop {
        let mut line = String::new();
        if !matches!(stream.read_line(&mut line), Ok(1..)) {
            return false;
        }
        let length = u64::from_str_radix(line.trim_end(), 16).unwrap();
        let mut chunk = Vec::new();
        let read = stream.by_ref().take(length + 2).read_to_end(&mut chunk);
        if read.is_err() || chunk.len() as u64 != length + 2 {
            return false;
        }
        if length == 0 {
            return true;
        }
        body.extend_from_slice(&chunk[..chunk.len() - 2]);
    }
}
