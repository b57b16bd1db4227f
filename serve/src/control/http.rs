//! The metrics for Prometheus on a loopback port: `GET /metrics`, and nothing else. Small on purpose: one request at a time, a bounded
//! one, from this machine.

use rustix::net::Shutdown;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The most bytes of a request.
const MAX_REQUEST: usize = 8 << 10;
/// How long a client may take.
const TIME: Duration = Duration::from_secs(2);

/// An address of this machine that no other machine reaches.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Loopback(SocketAddr);

/// Why an address is none of those.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NotLoopback(String);

impl fmt::Display for NotLoopback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is no loopback address with a port: write 127.0.0.1:9464",
            self.0
        )
    }
}

impl std::error::Error for NotLoopback {}

impl FromStr for Loopback {
    type Err = NotLoopback;

    fn from_str(text: &str) -> Result<Self, NotLoopback> {
        match text.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() => Ok(Loopback(address)),
            _ => Err(NotLoopback(text.to_owned())),
        }
    }
}

impl fmt::Display for Loopback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The open port; closed when it is dropped.
#[derive(Debug)]
pub(crate) struct Port {
    listener: TcpListener,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// Where it listens: with the port that the system chose, where 0 was asked for.
    pub(crate) address: SocketAddr,
}

impl Port {
    /// Opens it; `text` gives the metrics.
    pub(crate) fn open(
        at: Loopback,
        text: impl Fn() -> String + Send + 'static,
    ) -> io::Result<Port> {
        let listener = TcpListener::bind(at.0)?;
        let address = listener.local_addr()?;
        let ending = Arc::new(AtomicBool::new(false));
        let (accepting, ended) = (listener.try_clone()?, Arc::clone(&ending));
        let thread = std::thread::Builder::new()
            .name("metrics".into())
            .spawn(move || {
                loop {
                    let accepted = accepting.accept();
                    if ended.load(Ordering::Acquire) {
                        return;
                    }
                    match accepted {
                        Ok((stream, _)) => {
                            if let Err(error) = answer(&stream, &text) {
                                tracing::debug!(%error, "a reader of the metrics went away");
                            }
                        }
                        Err(_) => std::thread::sleep(Duration::from_millis(100)),
                    }
                }
            })?;
        Ok(Port {
            listener,
            ending,
            thread: Some(thread),
            address,
        })
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Release);
        // On Linux this ends a waiting accept.
        if rustix::net::shutdown(&self.listener, Shutdown::Both).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

fn answer(mut stream: &TcpStream, text: &impl Fn() -> String) -> io::Result<()> {
    let until = Instant::now() + TIME;
    stream.set_write_timeout(Some(TIME))?;
    let mut request = Vec::new();
    let mut piece = [0; 1024];
    while !request.windows(4).any(|w| w == b"\r\n\r\n") {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || request.len() >= MAX_REQUEST {
            return Ok(());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut piece)? {
            0 => return Ok(()),
            n => request.extend_from_slice(&piece[..n]),
        }
    }
    let line = request
        .split(|byte| *byte == b'\r')
        .next()
        .unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let (status, kind, body) = match (words.next(), words.next()) {
        (Some(b"GET"), Some(b"/metrics")) => ("200 OK", "text/plain; version=0.0.4", text()),
        (Some(b"GET"), _) => ("404 Not Found", "text/plain", "GET /metrics\n".to_owned()),
        _ => (
            "405 Method Not Allowed",
            "text/plain",
            "GET /metrics\n".to_owned(),
        ),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_served() {
        assert!("127.0.0.1:0".parse::<Loopback>().is_ok());
        assert!("[::1]:9464".parse::<Loopback>().is_ok());
        for bad in ["0.0.0.0:9464", "10.0.0.1:80", "localhost", "9464", ""] {
            assert!(bad.parse::<Loopback>().is_err(), "{bad}");
        }
    }

    fn ask(port: &Port, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(port.address).expect("connects");
        stream.write_all(request).expect("sent");
        let mut answer = String::new();
        // A request that is too long is cut off.
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    #[test]
    fn the_metrics_are_read_and_nothing_else() {
        let at = "127.0.0.1:0".parse().expect("loopback");
        let port = Port::open(at, || "strand_position 7\n".to_owned()).expect("opens");
        let well = ask(&port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(well.starts_with("HTTP/1.1 200 OK\r\n"), "{well}");
        assert!(well.ends_with("\r\n\r\nstrand_position 7\n"), "{well}");
        assert!(ask(&port, b"GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404"));
        assert!(ask(&port, b"PUT /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405"));
        assert_eq!(ask(&port, &vec![b'x'; MAX_REQUEST + 10]), "");
    }
}
