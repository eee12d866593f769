//! Lines or frames to whoever listens at a Unix socket. Nothing here waits: what the reader does not take is kept up to a
//! limit, then lost and counted; a connection that breaks is made again, which is tried every second.

use super::counts::{Loss, OutputCounts};
use super::frame_stream::{self, Control};
use socket2::{Domain, SockAddr, Socket, Type};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Octets that wait for a reader at most.
pub(super) const WAITING_OCTETS_MAX: usize = 4 << 20;
/// How often a connection is tried again.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// How long a receiver of frame streams may take to accept what it is offered.
const ACCEPT_WITHIN: Duration = Duration::from_secs(5);
/// How long ending a connection may take in all: a reader that takes a little now and then must not hold up the thread.
const END_WITHIN: Duration = Duration::from_secs(1);
/// How often a reader is tried meanwhile.
const END_TRY_EVERY: Duration = Duration::from_millis(1);

/// What is said before and after what is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// Nothing.
    Lines,
    /// What receivers of frame streams want: READY and ACCEPT, START, STOP and FINISH.
    FrameStream,
}

/// A socket that somebody listens at, or will.
pub(super) struct SocketOutput {
    path: PathBuf,
    framing: Framing,
    connection: Option<Connection>,
    waiting: VecDeque<Chunk>,
    waiting_octets: usize,
    retry_at: Instant,
    /// Whether the log has said that nobody is there.
    is_said: bool,
}

/// Whole lines or frames.
struct Chunk {
    octets: Vec<u8>,
    count: u64,
}

/// A connection to whoever listens.
struct Connection {
    stream: UnixStream,
    /// Octets of the first chunk that have been sent.
    sent: usize,
    /// Until when an ACCEPT must have come; none: it has, or none is needed.
    accept_until: Option<Instant>,
    /// What has come of it.
    received: Vec<u8>,
}

impl SocketOutput {
    /// The socket at a path; connects.
    pub(super) fn open(path: PathBuf, framing: Framing, counts: &OutputCounts) -> Self {
        let (waiting, now) = (VecDeque::new(), Instant::now());
        let mut output =
            Self { path, framing, connection: None, waiting, waiting_octets: 0, retry_at: now, is_said: false };
        output.tick(counts);
        output
    }

    /// Takes lines or frames, so many; sends what is taken.
    pub(super) fn write(&mut self, octets: &[u8], count: u64, counts: &OutputCounts) {
        if self.waiting_octets + octets.len() > WAITING_OCTETS_MAX {
            let is_connected = self.connection.as_ref().is_some_and(|connection| connection.accept_until.is_none());
            counts.lost(count, if is_connected { Loss::ReaderSlow } else { Loss::OutputFailed });
        } else {
            self.waiting_octets += octets.len();
            self.waiting.push_back(Chunk { octets: octets.to_vec(), count });
        }
        self.tick(counts);
    }

    /// Goes on with whatever is at hand: connecting, what the other side says, what waits.
    pub(super) fn tick(&mut self, counts: &OutputCounts) {
        if self.connection.is_none() && Instant::now() >= self.retry_at {
            match self.connect() {
                Ok(connection) => self.connection = Some(connection),
                Err(error) => return self.broke(&error, counts),
            }
        }
        if let Err(error) = self.go_on(counts) {
            self.broke(&error, counts);
        }
    }

    fn connect(&self) -> io::Result<Connection> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // One that does not accept must not hold up the thread either.
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(&self.path)?)?;
        let mut stream = UnixStream::from(socket);
        let accept_until = match self.framing {
            Framing::Lines => None,
            Framing::FrameStream => {
                // A new socket has room for it.
                stream.write_all(&frame_stream::control(Control::Ready))?;
                Some(Instant::now() + ACCEPT_WITHIN)
            }
        };
        Ok(Connection { stream, sent: 0, accept_until, received: Vec::new() })
    }

    fn go_on(&mut self, counts: &OutputCounts) -> io::Result<()> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        if !connection.is_accepted()? {
            return Ok(());
        }
        counts.set_up(true);
        if std::mem::take(&mut self.is_said) {
            tracing::info!(socket = %self.path.display(), "somebody takes the log of queries again");
        }
        while let Some(chunk) = self.waiting.front() {
            match connection.stream.write(&chunk.octets[connection.sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(more) => connection.sent += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            if connection.sent == chunk.octets.len() {
                counts.wrote(chunk.count, chunk.octets.len());
                self.waiting_octets -= chunk.octets.len();
                connection.sent = 0;
                self.waiting.pop_front();
            }
        }
        Ok(())
    }

    /// The connection is over, or there is none; says so once.
    fn broke(&mut self, error: &io::Error, counts: &OutputCounts) {
        if self.connection.take().is_some_and(|connection| connection.sent > 0)
            && let Some(begun) = self.waiting.pop_front()
        {
            // Where it broke off is known to nobody: the next reader begins with a whole one.
            self.waiting_octets -= begun.octets.len();
            counts.lost(begun.count, Loss::OutputFailed);
        }
        self.retry_at = Instant::now() + RETRY_EVERY;
        counts.set_up(false);
        if !std::mem::replace(&mut self.is_said, true) {
            tracing::error!(
                socket = %self.path.display(),
                "nobody takes the log of queries: {error}; what does not fit into {} MiB is lost and counted until \
                 somebody does, which is tried every second",
                WAITING_OCTETS_MAX >> 20
            );
        }
    }

    /// Sends what waits and takes leave, for a little while at most.
    pub(super) fn end(mut self, counts: &OutputCounts) {
        let until = Instant::now() + END_WITHIN;
        let mut works = self.go_on(counts).is_ok();
        let is_accepted = self.connection.as_ref().is_some_and(|connection| connection.accept_until.is_none());
        while works && is_accepted && !self.waiting.is_empty() && Instant::now() < until {
            std::thread::sleep(END_TRY_EVERY);
            works = self.go_on(counts).is_ok();
        }
        if works
            && is_accepted
            && self.waiting.is_empty()
            && self.framing == Framing::FrameStream
            && let Some(mut connection) = self.connection.take()
        {
            // All has been sent; whether the receiver says so is its affair.
            let _ = connection.take_leave(until);
        }
        counts.lost(self.waiting.iter().map(|chunk| chunk.count).sum(), Loss::OutputFailed);
    }
}

impl Connection {
    /// Whether what is logged may be sent; a receiver of frame streams has to say so first.
    fn is_accepted(&mut self) -> io::Result<bool> {
        let Some(until) = self.accept_until else { return Ok(true) };
        let mut octets = [0; 512];
        match self.stream.read(&mut octets) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => self.received.extend_from_slice(&octets[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
        match frame_stream::is_accept(&self.received) {
            Some(true) => {
                self.stream.write_all(&frame_stream::control(Control::Start))?;
                self.accept_until = None;
                Ok(true)
            }
            Some(false) => Err(io::Error::other("what listens there does not take dnstap over frame streams")),
            None if Instant::now() >= until => Err(ErrorKind::TimedOut.into()),
            None => Ok(false),
        }
    }

    /// Says STOP, and waits for FINISH.
    fn take_leave(&mut self, until: Instant) -> io::Result<()> {
        let left = || match until.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::Error::from(ErrorKind::TimedOut)),
            left => Ok(Some(left)),
        };
        self.stream.set_nonblocking(false)?;
        self.stream.set_write_timeout(left()?)?;
        self.stream.write_all(&frame_stream::control(Control::Stop))?;
        // FINISH says that all has been read: the receiver closes then, or says nothing.
        self.stream.set_read_timeout(left()?)?;
        self.stream.read(&mut [0; 64]).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader};
    use std::os::unix::net::UnixListener;

    fn lost(counts: &OutputCounts) -> [u64; 2] {
        [Loss::OutputFailed, Loss::ReaderSlow].map(|why| counts.lost_because(why))
    }

    #[test]
    fn lines_wait_for_a_reader_and_go_on_to_the_next_one() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (path, told) = (folder.path().join("socket"), OutputCounts::default());
        told.set_on(true);
        let mut output = SocketOutput::open(path.clone(), Framing::Lines, &told);
        output.write(b"a\n", 1, &told);
        assert_eq!((told.written(), told.is_up(), output.is_said), (0, Some(false), true));
        for line in ["a\n", "b\n"] {
            let listener = UnixListener::bind(&path).expect("a socket");
            output.retry_at = Instant::now();
            output.write(b"b\n", 1, &told);
            let mut read = String::new();
            BufReader::new(listener.accept().expect("a connection").0).read_line(&mut read).expect("a line");
            assert_eq!((&*read, told.is_up()), (line, Some(true)));
            std::fs::remove_file(&path).expect("it is there");
            // The reader is gone; the next write says so, and nothing of it had been sent.
            output.write(b"b\n", 1, &told);
            assert!(output.connection.is_none());
        }
        assert_eq!(lost(&told), [0, 0]);
    }

    #[test]
    fn a_reader_that_stops_costs_lines_and_bounded_memory() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (path, told) = (folder.path().join("socket"), OutputCounts::default());
        let listener = UnixListener::bind(&path).expect("a socket");
        let mut output = SocketOutput::open(path, Framing::Lines, &told);
        let chunk = "0123456\n".repeat(8192);
        let mut given = 0;
        while told.lost_because(Loss::ReaderSlow) < 3 * 8192 {
            output.write(chunk.as_bytes(), 8192, &told);
            given += 8192;
            assert!(output.waiting_octets <= WAITING_OCTETS_MAX);
        }
        // Whoever reads on has whole lines.
        let reader = listener.accept().expect("a connection").0;
        let read = std::thread::spawn(move || BufReader::new(reader).lines().map_while(Result::ok).count() as u64);
        output.end(&told);
        let read = read.join().expect("it does not panic");
        assert_eq!(read, told.written());
        assert_eq!(given, told.written() + lost(&told).iter().sum::<u64>());
    }

    #[test]
    fn a_reader_that_takes_a_little_now_and_then_does_not_hold_up_the_end() {
        const CHUNKS: u64 = 60;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (path, told) = (folder.path().join("socket"), OutputCounts::default());
        let listener = UnixListener::bind(&path).expect("a socket");
        let mut output = SocketOutput::open(path, Framing::Lines, &told);
        let chunk = "0123456\n".repeat(8192);
        for _ in 0..CHUNKS {
            output.write(chunk.as_bytes(), 8192, &told);
        }
        let mut reader = listener.accept().expect("a connection").0;
        let read = std::thread::spawn(move || {
            // All of it would take three seconds.
            let mut octets = [0; 32 << 10];
            while reader.read(&mut octets).is_ok_and(|count| count > 0) {
                std::thread::sleep(Duration::from_millis(25));
            }
        });
        let began = Instant::now();
        output.end(&told);
        assert!(began.elapsed() < 2 * END_WITHIN, "{:?}", began.elapsed());
        assert!(told.lost_because(Loss::OutputFailed) > 0);
        assert_eq!(told.written() + lost(&told).iter().sum::<u64>(), CHUNKS * 8192);
        read.join().expect("it does not panic");
    }

    #[test]
    fn a_receiver_that_does_not_accept_is_told_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (path, told) = (folder.path().join("socket"), OutputCounts::default());
        let listener = UnixListener::bind(&path).expect("a socket");
        let mut output = SocketOutput::open(path, Framing::FrameStream, &told);
        output.write(b"frame", 1, &told);
        let mut receiver = listener.accept().expect("a connection").0;
        let mut said = [0; 128];
        let count = receiver.read(&mut said).expect("READY");
        assert_eq!(said[..count], frame_stream::control(Control::Ready));
        receiver.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").expect("it is open");
        output.tick(&told);
        assert!(output.connection.is_none() && output.is_said);
        assert_eq!((told.written(), output.waiting.len()), (0, 1));
        assert_eq!(receiver.read(&mut said).expect("the end"), 0);
    }
}
