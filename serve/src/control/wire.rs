//! Frames on the socket: four bytes of length (little-endian), then a message in postcard. A descriptor may come with a frame.
//! What a peer may make us hold is bounded, and so is the time that half a frame may take.

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// The longest frame: a payload of 1 MiB, and what names it.
pub(crate) const MAX_FRAME: usize = (1 << 20) + (128 << 10);
/// What is read, and made room for, at once.
const PIECE: usize = 64 << 10;
/// Once the first byte of a frame is here, the rest has to come within this time.
pub(crate) const FRAME_TIME: Duration = Duration::from_secs(10);
/// A peer that does not take an answer within this time is gone.
pub(crate) const SEND_TIME: Duration = Duration::from_secs(30);

/// A frame with what came along.
#[derive(Debug)]
pub(crate) struct Received {
    bytes: Vec<u8>,
    /// A descriptor that was passed.
    pub(crate) passed: Option<OwnedFd>,
}

impl Received {
    /// The message.
    pub(crate) fn message<T: DeserializeOwned>(&self) -> io::Result<T> {
        match postcard::take_from_bytes(&self.bytes) {
            Ok((message, [])) => Ok(message),
            Ok(_) => Err(io::Error::new(
                ErrorKind::InvalidData,
                "bytes behind the message",
            )),
            Err(error) => Err(io::Error::new(ErrorKind::InvalidData, error)),
        }
    }
}

/// A message as a frame; an error where it is too long for one.
pub(crate) fn frame<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let bytes = postcard::to_extend(message, vec![0; 4])
        .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
    let length = bytes.len() - 4;
    if length > MAX_FRAME {
        return Err(io::Error::new(
            ErrorKind::FileTooLarge,
            format!("a message of {length} bytes"),
        ));
    }
    let mut bytes = bytes;
    bytes[..4].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(bytes)
}

/// Sends a frame, with a descriptor if there is one.
pub(crate) fn send(
    stream: &UnixStream,
    frame: &[u8],
    passed: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut rest = frame;
    if let Some(fd) = passed {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = [fd];
        if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
            return Err(io::Error::other("no room to pass a descriptor"));
        }
        let sent = sendmsg(
            stream,
            &[IoSlice::new(rest)],
            &mut control,
            SendFlags::NOSIGNAL,
        )?;
        rest = &rest[sent..];
    }
    let mut stream = stream;
    stream.write_all(rest)
}

/// Waits for a frame, for at most `idle`, and reads it; `None` where the peer has gone between two frames.
///
/// # Errors
/// `TimedOut`, also for half a frame; `FileTooLarge` for a length beyond the limit, of which nothing is read; `UnexpectedEof`.
pub(crate) fn receive(stream: &UnixStream, idle: Option<Duration>) -> io::Result<Option<Received>> {
    let mut passed = None;
    let mut head = [0; 4];
    let mut got = 0;
    let mut deadline = idle.map(|idle| Instant::now() + idle);
    while got < head.len() {
        match read(stream, &mut head[got..], deadline, &mut passed)? {
            0 if got == 0 => return Ok(None),
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            n => {
                if got == 0 {
                    deadline = Some(Instant::now() + FRAME_TIME);
                }
                got += n;
            }
        }
    }
    let length = u32::from_le_bytes(head) as usize;
    if length > MAX_FRAME {
        return Err(io::Error::new(
            ErrorKind::FileTooLarge,
            format!("a frame of {length} bytes"),
        ));
    }
    let mut bytes = Vec::new();
    while bytes.len() < length {
        // Room is made for what comes, not for what was announced.
        let at = bytes.len();
        bytes.resize(length.min(at + PIECE), 0);
        let mut filled = at;
        while filled < bytes.len() {
            match read(stream, &mut bytes[filled..], deadline, &mut passed)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                n => filled += n,
            }
        }
    }
    Ok(Some(Received { bytes, passed }))
}

/// One read; a descriptor that comes along takes the place of one before.
fn read(
    stream: &UnixStream,
    buffer: &mut [u8],
    deadline: Option<Instant>,
    passed: &mut Option<OwnedFd>,
) -> io::Result<usize> {
    loop {
        let left = match deadline {
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(ErrorKind::TimedOut.into());
                }
                Some(left)
            }
            None => None,
        };
        stream.set_read_timeout(left)?;
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = recvmsg(
            stream,
            &mut [IoSliceMut::new(buffer)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        );
        let got = match got {
            Ok(got) => got,
            Err(rustix::io::Errno::INTR) => continue,
            Err(rustix::io::Errno::AGAIN) => return Err(ErrorKind::TimedOut.into()),
            Err(errno) => return Err(errno.into()),
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                *passed = fds.last().or(passed.take());
            }
        }
        return Ok(got.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::message::{Payload, Request};
    use std::os::fd::AsFd;

    fn pair() -> (UnixStream, UnixStream) {
        UnixStream::pair().expect("a pair of sockets")
    }

    #[test]
    fn a_message_comes_out_as_it_went_in_with_its_descriptor() {
        let (a, b) = pair();
        let request = Request::Write {
            volume: strand_engine::VolumeId(3),
            ino: strand_engine::Ino(7),
            offset: 9,
            bytes: Payload((0..1_000_000_u32).map(|n| n as u8).collect()),
        };
        let bytes = frame(&request).expect("fits");
        let sender = std::thread::spawn(move || {
            let file = std::fs::File::open("/dev/null").expect("there");
            send(&a, &bytes, Some(file.as_fd())).expect("sent");
        });
        let got = receive(&b, None).expect("read").expect("a frame");
        sender.join().expect("ends");
        assert!(got.passed.is_some());
        match got.message::<Request>().expect("a request") {
            Request::Write { bytes, offset, .. } => {
                assert_eq!(
                    (bytes.0.len(), bytes.0[999_999], offset),
                    (1_000_000, 63, 9)
                );
            }
            other => panic!("{other:?}"),
        }
        assert!(
            receive(&b, None).expect("read").is_none(),
            "the peer is gone"
        );
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_anything_is_held() {
        let (mut a, b) = pair();
        a.write_all(&u32::MAX.to_le_bytes()).expect("written");
        let error = receive(&b, None).expect_err("too long");
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
    }

    #[test]
    fn half_a_frame_and_silence_end() {
        let (mut a, b) = pair();
        let none = receive(&b, Some(Duration::from_millis(20))).expect_err("nothing came");
        assert_eq!(none.kind(), ErrorKind::TimedOut);
        a.write_all(&[100, 0, 0, 0, 1, 2]).expect("written");
        drop(a);
        let half = receive(&b, None).expect_err("half a frame");
        assert_eq!(half.kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn garbage_is_an_error_and_no_panic() {
        for seed in 0..2000_u32 {
            let bytes: Vec<u8> = (0..40)
                .map(|i| (seed.wrapping_mul(2_654_435_761).rotate_left(i) >> 7) as u8)
                .collect();
            let received = Received {
                bytes,
                passed: None,
            };
            let _ = received.message::<Request>();
        }
    }
}
