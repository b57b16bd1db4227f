//! A daemon on a store of its own, in this process, and a client that says what it likes.

use serde::Serialize;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use strand_engine::*;
use strand_journal::FileDisk;
use strand_serve::control::message::{PROTOCOL, Reply, Request};
use strand_serve::control::{CONTROL, Client};
use strand_serve::daemon::{Daemon, DaemonOptions};

pub(crate) fn me() -> Actor {
    Actor {
        grade: Grade::Command,
        command: "a test".into(),
        ..Actor::program()
    }
}

pub(crate) struct Served {
    dir: tempfile::TempDir,
    end: Arc<AtomicBool>,
    daemon: Option<JoinHandle<()>>,
    pub(crate) metrics: Option<std::net::SocketAddr>,
}

impl Served {
    pub(crate) fn new() -> Served {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("store");
        let options = InitOptions {
            segment_size: 256 << 10,
            capacity: None,
            store: StoreId([5; 16]),
        };
        let disk = Arc::new(FileDisk::create(&store).unwrap());
        Store::init(disk, Arc::new(SystemClock::default()), options, &me())
            .unwrap()
            .close()
            .unwrap();
        let mut served = Served {
            dir,
            end: Arc::default(),
            daemon: None,
            metrics: None,
        };
        served.start();
        served
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    pub(crate) fn disk(&self) -> Arc<FileDisk> {
        Arc::new(FileDisk::open(self.store()).unwrap())
    }

    fn start(&mut self) {
        let store = Store::open(
            self.disk(),
            Arc::new(SystemClock::default()),
            OpenOptions::read_write(),
        )
        .unwrap();
        let options = DaemonOptions {
            metrics: Some("127.0.0.1:0".parse().unwrap()),
            ..DaemonOptions::default()
        };
        let daemon = Daemon::start(store, &self.store(), options).unwrap();
        self.metrics = daemon.metrics_at();
        let end = Arc::clone(&self.end);
        self.daemon = Some(std::thread::spawn(move || {
            daemon.serve(&|| end.load(Ordering::Relaxed)).unwrap();
        }));
    }

    /// A client as the program has it.
    pub(crate) fn client(&self) -> Client {
        let client = Client::connect(&self.store()).unwrap().unwrap();
        client.begin(&me()).unwrap();
        client
    }

    /// The store as a reader beside the daemon sees it.
    pub(crate) fn beside(&self, client: &Client) -> Store {
        Store::open_beside(
            self.disk(),
            Arc::new(SystemClock::default()),
            OpenOptions::read_only(),
            &client.position().unwrap(),
        )
        .unwrap()
    }

    /// A client that says what it likes.
    pub(crate) fn raw(&self) -> Raw {
        let stream = UnixStream::connect(self.store().join(CONTROL)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        Raw(stream)
    }

    /// Waits for the daemon, which was asked to end.
    pub(crate) fn ended(&mut self) {
        self.daemon.take().unwrap().join().unwrap();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(daemon) = self.daemon.take() {
            let ended = daemon.join();
            assert!(ended.is_ok() || std::thread::panicking());
        }
    }
}

pub(crate) struct Raw(pub(crate) UnixStream);

impl Raw {
    pub(crate) fn say(&mut self, message: &impl Serialize) {
        let body = postcard::to_stdvec(message).unwrap();
        let mut frame = (body.len() as u32).to_le_bytes().to_vec();
        frame.extend(body);
        // A daemon that has closed the connection already is what some tests are about.
        let _ = self.0.write_all(&frame);
    }

    /// The next answer; `None` where the daemon closed the connection.
    pub(crate) fn hear(&mut self) -> Option<Reply> {
        let mut head = [0; 4];
        self.0.read_exact(&mut head).ok()?;
        let mut body = vec![0; u32::from_le_bytes(head) as usize];
        self.0.read_exact(&mut body).ok()?;
        Some(postcard::from_bytes(&body).unwrap())
    }

    pub(crate) fn hello(&mut self, version: u32) -> Option<Reply> {
        self.say(&Request::Hello {
            version,
            program: "strand of a test".into(),
        });
        self.hear()
    }

    pub(crate) fn greeted(mut self) -> Raw {
        match self.hello(PROTOCOL) {
            Some(Reply::Hello { version, .. }) => assert_eq!(version, PROTOCOL),
            other => panic!("{other:?}"),
        }
        self
    }
}

#[track_caller]
pub(crate) fn refused(reply: Option<Reply>) -> Refusal {
    match reply {
        Some(Reply::Refused(refused)) => refused.into(),
        other => panic!("{other:?}"),
    }
}
