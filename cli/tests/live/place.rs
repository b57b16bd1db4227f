//! A directory with a store, the daemon that serves it and its mounts. Whatever was started and mounted is ended and unmounted with it.

use crate::machine::{self, User};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long a daemon may take to answer or to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// A store in live use, in a directory of its own.
pub(crate) struct Place {
    dir: tempfile::TempDir,
    binary: PathBuf,
    user: Option<User>,
    daemon: Option<Child>,
    mounts: Vec<PathBuf>,
}

impl Place {
    /// A new store, with this volume; everything done by whoever runs the test.
    pub(crate) fn with_volume(volume: &str) -> Self {
        let place = Self::empty(None);
        place.run(["init", "store"]);
        place.run(["volume", "create", volume]);
        place
    }

    /// No store yet; everything is done by this user.
    pub(crate) fn empty(user: Option<User>) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        // Others must get through to the mounts.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("ours");
        machine::give(dir.path(), user.as_ref());
        let built = PathBuf::from(env!("CARGO_BIN_EXE_strand"));
        let binary = if user.is_some() {
            // What root has built may lie where others cannot reach it.
            let reachable = dir.path().join("strand");
            // By a program of its own: what this process has open to write, a child of another test may have open too for a moment, and then
            // nobody can run it.
            let copy = Command::new("cp").arg(built).arg(&reachable).status();
            assert!(copy.is_ok_and(|status| status.success()), "copied");
            reachable
        } else {
            built
        };
        Self {
            dir,
            binary,
            user,
            daemon: None,
            mounts: Vec::new(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    pub(crate) fn binary(&self) -> &Path {
        &self.binary
    }

    /// A directory of its own for this user; made where it is missing.
    pub(crate) fn directory(&self, name: &str, user: Option<&User>) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(&path).expect("a directory");
        machine::give(&path, user);
        path
    }

    /// Any program, as this place's user, away from the variables of whoever runs the test.
    pub(crate) fn program(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.path())
            .stdin(Stdio::null())
            .env_remove("STRAND_LOG")
            .env("STRAND_STORE", self.store())
            .env("HOME", self.path())
            .env("TZ", "UTC");
        if let Some(user) = &self.user {
            command.uid(user.uid).gid(user.gid).env("USER", &user.name);
        }
        command
    }

    /// The binary.
    pub(crate) fn strand<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = self.program(&self.binary);
        command.args(arguments);
        command
    }

    /// Runs the binary; it has to go well. Gives what it printed.
    #[track_caller]
    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> String {
        let mut command = self.strand(arguments);
        let output = command.output().expect("the binary runs");
        assert!(
            output.status.success(),
            "{command:?}: {}\n{}{}\nthe daemon said:\n{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
            self.daemon_said()
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs the binary with `--json`; it has to go well.
    #[track_caller]
    pub(crate) fn json<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Value {
        let arguments = arguments.into_iter().map(|a| a.as_ref().to_owned());
        let printed = self.run(arguments.chain(["--json".into()]));
        serde_json::from_str(&printed).unwrap_or_else(|e| panic!("{e}: {printed}"))
    }

    /// Starts the daemon and waits until it answers.
    pub(crate) fn serve(&mut self) {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path().join("serve.log"))
            .expect("a log");
        let child = self
            .strand(["serve"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the daemon starts");
        self.daemon = Some(child);
        machine::wait_for("the daemon's socket", PATIENCE, || {
            if let Some(Ok(Some(status))) = self.daemon.as_mut().map(Child::try_wait) {
                panic!("the daemon ended: {status}\n{}", self.daemon_said());
            }
            UnixStream::connect(self.store().join("control")).is_ok()
        });
    }

    /// What the daemon said so far.
    pub(crate) fn daemon_said(&self) -> String {
        fs::read_to_string(self.path().join("serve.log")).unwrap_or_default()
    }

    /// Mounts a view on a directory of this name, for everybody where the tests run as root; made where it is missing.
    pub(crate) fn mount(&mut self, view: &str, name: &str, flags: &[&str]) -> PathBuf {
        let at = self.path().join(name);
        fs::create_dir_all(&at).ok();
        if !self.mounts.contains(&at) {
            machine::give(&at, self.user.as_ref());
            self.mounts.push(at.clone());
        }
        let mut arguments = vec!["mount".into(), view.into(), at.clone().into_os_string()];
        if machine::is_root() && self.user.is_none() {
            arguments.push("--allow-other".into());
        }
        arguments.extend(flags.iter().map(Into::into));
        self.run(arguments);
        at
    }

    /// Says that something else may mount on the directory of this name, and leave it so when it fails.
    pub(crate) fn may_be_mounted(&mut self, name: &str) {
        self.mounts.push(self.path().join(name));
    }

    /// Unmounts what is mounted on the directory of this name.
    pub(crate) fn unmount(&mut self, name: &str) {
        let at = self.path().join(name);
        self.run([OsStr::new("umount"), at.as_os_str()]);
        self.mounts.retain(|mount| *mount != at);
    }

    /// `kill -9` of the daemon.
    pub(crate) fn kill_daemon(&mut self) {
        let mut daemon = self.daemon.take().expect("it runs");
        assert!(
            matches!(daemon.try_wait(), Ok(None)),
            "the daemon had ended by itself: {}",
            self.daemon_said()
        );
        daemon.kill().expect("ours");
        daemon.wait().expect("ours");
    }

    /// Whether the daemon runs.
    pub(crate) fn is_served(&mut self) -> bool {
        self.daemon
            .as_mut()
            .is_some_and(|daemon| matches!(daemon.try_wait(), Ok(None)))
    }

    /// Stops the daemon in good order: it unmounts, commits and closes.
    pub(crate) fn stop(&mut self) {
        self.run(["stop"]);
        let mut daemon = self.daemon.take().expect("it ran");
        machine::wait_for("the daemon's end", PATIENCE, || {
            matches!(daemon.try_wait(), Ok(Some(_)))
        });
        let status = daemon.wait().expect("ours");
        assert!(status.success(), "{status}: {}", self.daemon_said());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!(
                "the daemon of {} said:\n{}",
                self.path().display(),
                self.daemon_said()
            );
        }
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().ok();
            daemon.wait().ok();
        }
        for at in self.mounts.iter().rev().filter(|at| is_mount_point(at)) {
            let ways: [&[&str]; 2] = [&["umount", "-l"], &["fusermount3", "-u", "-z"]];
            for way in ways {
                let mut command = Command::new(way[0]);
                command
                    .args(&way[1..])
                    .arg(at)
                    .stdout(Stdio::null())
                    .stderr(Stdio::null());
                if command.status().is_ok_and(|status| status.success()) {
                    break;
                }
            }
        }
    }
}

/// Whether something is mounted there; asked of the kernel's list, because a dead mount answers nothing.
pub(crate) fn is_mount_point(at: &Path) -> bool {
    fs::read_to_string("/proc/self/mountinfo").is_ok_and(|mounts| {
        mounts
            .lines()
            .any(|line| line.split(' ').nth(4) == at.to_str())
    })
}
