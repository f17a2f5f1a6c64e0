//! Runs the shell blocks of the README and the guide as a reader would paste them.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Timeout for a block, with a wide margin for a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// A `sh` block, and the `text` block that follows it with the expected output.
struct Block {
    line: usize,
    script: String,
    prints: Option<String>,
}

fn blocks(readme: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut lines = readme.lines().enumerate();
    let mut is_output = false;
    while let Some((number, line)) = lines.next() {
        let Some(language) = line.strip_prefix("```") else {
            is_output &= line.is_empty();
            continue;
        };
        let body: Vec<&str> =
            lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
        let body = body.join("\n") + "\n";
        match language {
            "sh" => blocks.push(Block { line: number + 1, script: body, prints: None }),
            "text" if is_output => blocks.last_mut().unwrap().prints = Some(body),
            _ => {}
        }
        is_output = language == "sh";
    }
    blocks
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Replaces cargo: the README's builds are already done.
const CARGO: &str = r#"#!/bin/bash
case "$1" in
build | test) ;;
run)
    while [ "$1" != -- ]; do shift; done
    shift
    exec coldstore "$@"
    ;;
*)
    echo "cargo $1 is not known to the test of the README" >&2
    exit 1
    ;;
esac
"#;

/// A directory with only the files that the blocks need, in place of /tmp and the checkout.
struct Place {
    scratch: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { scratch: tempfile::tempdir().unwrap() };
        let [tools, checkout] = ["bin", "checkout"].map(|name| place.scratch.path().join(name));
        fs::create_dir(&tools).unwrap();
        fs::create_dir(&checkout).unwrap();
        symlink(repository().join("tests"), checkout.join("tests")).unwrap();
        symlink(env!("CARGO_BIN_EXE_coldstore"), tools.join("coldstore")).unwrap();
        fs::write(tools.join("cargo"), CARGO).unwrap();
        fs::set_permissions(tools.join("cargo"), fs::Permissions::from_mode(0o755)).unwrap();
        place
    }

    /// Runs a block of `document` to its end and returns what it printed.
    fn run(&self, document: &str, block: &Block) -> String {
        let scratch = self.scratch.path().to_str().unwrap();
        let script = block.script.replace("/tmp/", &format!("{scratch}/"));
        let path = format!("{scratch}/bin:{}", std::env::var("PATH").unwrap());
        let said = self.scratch.path().join("stderr");
        let mut child = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &script])
            .current_dir(format!("{scratch}/checkout"))
            .env("PATH", path)
            .env_remove("COLDSTORE_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&said).unwrap())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let printed = thread::spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).unwrap();
            text
        });
        let group = rustix::process::Pid::from_child(&child);
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break Some(status),
                None if Instant::now() > deadline => break None,
                None => thread::sleep(Duration::from_millis(20)),
            }
        };
        // A process left by a block would hold the pipe open.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let printed = printed.join().unwrap();
        let ended = match status {
            Some(status) if status.success() => return printed,
            Some(status) => status.to_string(),
            None => "the block hangs".to_owned(),
        };
        let said = fs::read_to_string(said).unwrap();
        panic!("{document}, line {}: {ended}\n{said}\n{printed}", block.line);
    }
}

/// README.md, the chapters of the guide, and tools/README.md.
fn documents() -> Vec<String> {
    let chapters = fs::read_dir(repository().join("src/docs")).unwrap();
    let mut documents: Vec<_> = chapters
        .map(|entry| format!("src/docs/{}", entry.unwrap().file_name().to_str().unwrap()))
        .filter(|name| name.ends_with(".md"))
        .collect();
    documents.sort_unstable();
    documents.extend(["README.md", "tools/README.md"].map(str::to_owned));
    documents
}

fn run_blocks(document: &str) -> usize {
    let text = fs::read_to_string(repository().join(document)).unwrap();
    let blocks = blocks(&text);
    let place = Place::new();
    for block in &blocks {
        let printed = place.run(document, block);
        if let Some(wanted) = &block.prints {
            assert_eq!(&printed, wanted, "{document}, line {}", block.line);
        }
    }
    blocks.len()
}

#[test]
fn every_shell_block_of_the_documents_runs_to_its_end_and_prints_what_it_says() {
    for tool in ["bash", "curl", "tar", "zstd"] {
        let found = Command::new(tool).arg("--version").stdout(Stdio::null()).status();
        assert!(found.is_ok_and(|status| status.success()), "{tool} is required");
    }
    let mut blocks_by_document = Vec::new();
    for document in documents() {
        blocks_by_document.push((run_blocks(&document), document));
    }
    let readme = blocks_by_document.iter().find(|(_, document)| document == "README.md");
    assert!(readme.is_some_and(|(blocks, _)| *blocks >= 4), "{blocks_by_document:?}");
}

#[test]
fn the_readme_reads_as_blocks_with_what_they_print() {
    let text =
        "a\n```sh\none\n```\n\n```text\nout\n```\nb\n```sh\ntwo\nthree\n```\nc\n```text\nno\n```\n";
    let blocks = blocks(text);
    let read: Vec<_> =
        blocks.iter().map(|block| (block.line, &*block.script, block.prints.as_deref())).collect();
    assert_eq!(read, [(2, "one\n", Some("out\n")), (10, "two\nthree\n", None)]);
}
