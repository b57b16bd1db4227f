//! Runs the binary.

use serde_json::Value;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;

/// What a run gave.
pub(crate) struct Ran {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: i32,
}

/// The binary, to be run in a directory on a store.
pub(crate) fn command(dir: &Path, store: Option<&Path>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strand"));
    command
        .current_dir(dir)
        .env_remove("STRAND_STORE")
        .env_remove("STRAND_LOG")
        .env_remove("SUDO_USER");
    command
        .env("LOGNAME", "alice")
        .env("TZ", "UTC")
        .env("COLUMNS", "80")
        .stdin(Stdio::null());
    if let Some(store) = store {
        command.env("STRAND_STORE", store);
    }
    command
}

/// Runs a prepared command with these bytes as its input.
pub(crate) fn finish(mut command: Command, input: &[u8]) -> Ran {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    child.stdin.take().expect("piped").write_all(input).ok();
    Ran::of(child.wait_with_output().expect("the binary ends"))
}

impl Ran {
    /// What a run put out.
    pub(crate) fn of(output: Output) -> Ran {
        Ran {
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code().unwrap_or(-1),
        }
    }

    /// It has to have gone well.
    #[track_caller]
    pub(crate) fn well(self) -> Ran {
        assert_eq!(self.code, 0, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// It has to have ended with this code, and said why on standard error.
    #[track_caller]
    pub(crate) fn failed(self, code: i32) -> Ran {
        assert_eq!(
            self.code, code,
            "stdout:\n{}\nstderr:\n{}",
            self.out, self.err
        );
        assert!(!self.err.is_empty());
        self
    }

    /// How it ended, having said why on standard output alone.
    #[allow(dead_code)] // only one of the two test programs asks
    #[track_caller]
    pub(crate) fn failed_in_its_output(self) -> i32 {
        assert!(!self.out.is_empty() && self.err.is_empty(), "{}", self.err);
        self.code
    }

    /// Its output as one JSON object.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let value: Value = serde_json::from_str(&self.out)
            .unwrap_or_else(|e| panic!("{e}: {}{}", self.out, self.err));
        assert_eq!(value["format"], 1);
        value
    }

    /// All of it, for a golden.
    pub(crate) fn whole(&self) -> String {
        let mut text = self.out.clone();
        if !self.err.is_empty() {
            text += &format!("--- stderr\n{}", self.err);
        }
        if self.code != 0 {
            text += &format!("--- exit {}\n", self.code);
        }
        text
    }
}

/// Whether this test program runs its commands through a daemon: `served` does, `cli` does not.
pub(crate) const SERVED: bool = matches!(env!("CARGO_CRATE_NAME").as_bytes(), b"served");

/// What differs for an inherent reason while a daemon serves the store: those goldens are kept twice, with the reason.
const DIFFERS: &[(&str, &str)] = &[
    (
        "out-store",
        "status names the daemon; the epoch counts openings, each with a frame, and a daemon opens once",
    ),
    (
        "json-store",
        "status names the daemon, and counts fewer frames",
    ),
    ("out-verify", "counts frames and epochs"),
    ("out-nodata", "its verify counts frames"),
];

/// A store and a working directory of its own.
pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
    daemon: Mutex<Daemon>,
}

/// Who serves the store of a place.
enum Daemon {
    /// Nobody yet: begins with the first command that finds the store.
    None,
    Running(Child),
    /// Nobody, to the end of the test.
    Never,
}

impl Daemon {
    /// Ends it in good order.
    fn end(&mut self) {
        if let Daemon::Running(child) = self {
            let pid = rustix::process::Pid::from_child(child);
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).ok();
            child.wait().expect("the daemon ends");
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Ok(daemon) = self.daemon.get_mut() {
            daemon.end();
        }
    }
}

impl Place {
    /// An empty working directory.
    pub(crate) fn empty() -> Place {
        Place {
            dir: tempfile::tempdir().expect("a directory"),
            daemon: Mutex::new(if SERVED { Daemon::None } else { Daemon::Never }),
        }
    }

    /// The daemon that serves the store, in the program `served`.
    #[allow(dead_code)] // not every test program asks
    pub(crate) fn daemon(&self) -> Option<rustix::process::Pid> {
        match &*self.daemon.lock().expect("no test panicked here") {
            Daemon::Running(child) => Some(rustix::process::Pid::from_child(child)),
            Daemon::None | Daemon::Never => None,
        }
    }

    /// The store is at rest from now on: its files are looked at or changed past the program.
    pub(crate) fn at_rest(&self) {
        let mut daemon = self.daemon.lock().expect("no test panicked here");
        daemon.end();
        *daemon = Daemon::Never;
    }

    /// In the program `served` a daemon serves the store as soon as there is one.
    fn serve(&self) {
        let mut daemon = self.daemon.lock().expect("no test panicked here");
        if !matches!(*daemon, Daemon::None) || !self.store().join("STORE").is_file() {
            return;
        }
        let mut serve = command(self.path(), Some(&self.store()));
        let mut child = serve
            .arg("serve")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("a line");
        assert!(line.starts_with("serving "), "{line:?}");
        *daemon = Daemon::Running(child);
    }

    /// With a new store with small segments, and these volumes.
    pub(crate) fn with_volumes(volumes: &[&str]) -> Place {
        let place = Place::empty();
        place
            .run(["init", "store", "--segment-size", "256KiB"])
            .well();
        for volume in volumes {
            place.run(["volume", "create", volume]).well();
        }
        place
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// The binary on this store.
    pub(crate) fn command<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        self.serve();
        let mut command = command(self.path(), Some(&self.store()));
        command.args(arguments);
        command
    }

    /// Runs it.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ran {
        Ran::of(self.command(arguments).output().expect("the binary runs"))
    }

    /// Begins a line, split at blanks, and does not wait for its end.
    pub(crate) fn begin(&self, line: &str) -> Child {
        self.command(line.split_whitespace())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts")
    }

    /// Runs a line, split at blanks.
    pub(crate) fn line(&self, line: &str) -> Ran {
        self.run(line.split_whitespace())
    }

    /// Runs a line with an input.
    pub(crate) fn feed(&self, line: &str, input: &[u8]) -> Ran {
        finish(self.command(line.split_whitespace()), input)
    }

    /// Writes a file of the working directory.
    pub(crate) fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, content).expect("writable");
        path
    }
}

/// Bytes that look like data: no block is like another, none is zero.
pub(crate) fn data(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |state: &mut u64| {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 32) as u8
    };
    (0..length).map(|_| next(&mut state)).collect()
}

/// Compares with a golden in `snapshots/cli`; times, process numbers, hashes, paths and durations are replaced.
#[track_caller]
pub(crate) fn golden(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../snapshots/cli"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for (pattern, with) in [
        (r#""/[^" ]*/store""#, r#""[STORE]""#),
        (r"/[^\s(:,]*/store\b", "[STORE]"),
        (r"\b[0-9a-f]{64}\b", "[HASH]"),
        (r"\b[0-9a-f]{32}\b", "[ID]"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "[RFC3339]"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)? \+00:00", "[TIME]"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(–(\d\d:)*\d\d)?", "[TIME]"),
        (
            r"(?m)^\d\d:\d\d:\d\d(–(\d\d:)*\d\d)? *  ( *\d+  )",
            "[CLOCK] $3",
        ),
        (r"(?m)^\d{4}-\d\d-\d\d$", "[DAY]"),
        (r"strand\[\d+\]", "strand[PID]"),
        (r#""(pid|uid|gid|started)":\d+"#, r#""$1":[N]"#),
        (r"uid \d+, gid \d+", "uid [N], gid [N]"),
        (r"uid=\d+", "uid=[N]"),
        (
            r#""(seconds|free_bytes|disk_bytes)":[0-9.e-]+"#,
            r#""$1":[N]"#,
        ),
        (r"\b\d+(\.\d+)? (µs|ms|s)\b", "[TAKEN]"),
        (r"\d+(\.\d+)? [KMGT]iB free", "[FREE] free"),
        (r"(?m)^free +.*$", "free        [FREE]"),
        (r"(?m)^on disk +.*$", "on disk     [DISK]"),
        (r#""command":"[^"]*""#, r#""command":"[COMMAND]""#),
        (r"crc [0-9a-f]{8}( … [0-9a-f]{8})?", "crc [CRC]"),
    ] {
        settings.add_filter(pattern, with);
    }
    let differs = SERVED && DIFFERS.iter().any(|(golden, _)| *golden == name);
    if differs {
        // A daemon flushes by the clock too: how many frames the same events took is not for ever.
        for (pattern, with) in [
            (
                r"\d+ events in \d+ frames of \d+ segments?",
                "[EVENTS] in [FRAMES]",
            ),
            (
                r#""(used_bytes|bytes_read|segments|frames)":\d+"#,
                r#""$1":[N]"#,
            ),
            (r"\d+\.\d KiB used", "[USED] used"),
            (r"(?m)^used +.*$", "used        [USED]"),
        ] {
            settings.add_filter(pattern, with);
        }
    }
    let name = if differs {
        format!("{name}-served")
    } else {
        name.to_owned()
    };
    settings.bind(|| insta::assert_snapshot!(name, text));
}
