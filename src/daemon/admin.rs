//! The admin interface: HTTP/1.1 and JSON for operators, their tools and those who watch containers, on a Unix socket and,
//! where it is configured, on a loopback address.
//!
//! It runs on a thread of its own, which answers no query and waits for none, so that it is there when nothing else gets
//! through. What it offers stands in `docs/admin.openapi.json`, which a test holds against it.

mod client;
mod routes;

pub use client::exchange;
pub(super) use routes::{Command, ReloadReport, Service};
pub use routes::{ROUTES, Route};

use super::port_holder::Holders;
use crate::config::AdminSettings;
use crate::dns::reply::Transport;
use crate::udp::sys::try_lock;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, SockAddr, Socket, Type};
use std::collections::VecDeque;
use std::fmt;
use std::fs::{self, File};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

/// Connections that are served at a time at each listener; others wait until one ends.
const CONNECTIONS_MAX: usize = 16;
/// How long a request may take to arrive.
const REQUEST_WITHIN: Duration = Duration::from_secs(2);
/// How long whoever connects may say nothing before others have the seat.
const SILENT_FOR: Duration = Duration::from_millis(100);
/// How long a request may take in all: a reload of a large file.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(120);
/// How long whoever asked may take to read the reply.
const REPLY_TAKEN_WITHIN: Duration = Duration::from_secs(2);
/// Octets of a request's line and headers at most.
const REQUEST_OCTETS_MAX: usize = 16 << 10;
/// Headers of a request at most.
const HEADERS_MAX: usize = 64;
/// How long accepting rests where the system refuses it.
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// The socket's name in the folder that the service manager gives.
pub const SOCKET_NAME: &str = "admin.sock";
/// Its owner and group may connect.
const SOCKET_MODE: u32 = 0o660;
/// Connections that the kernel keeps for the socket until they are accepted.
const BACKLOG: i32 = 128;
/// How long is waited at most for another one that is starting with a socket in the same folder.
const TURN_WITHIN: Duration = Duration::from_secs(1);
/// How often is looked whether it is done.
const TURN_POLL: Duration = Duration::from_millis(10);

/// The admin interface, while it is served.
pub(super) struct Admin {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    socket: Option<SocketFile>,
}

/// Listeners that are bound.
pub(super) struct Listeners {
    unix: Option<(StdUnixListener, SocketFile)>,
    tcp: Option<std::net::TcpListener>,
}

/// Where our socket is; removed with this, if it is still ours. To be dropped while somebody listens there.
struct SocketFile {
    path: PathBuf,
    device_and_inode: (u64, u64),
}

/// Why operators cannot be answered where the file says.
#[derive(Debug)]
pub enum AdminError {
    /// The socket.
    Socket(PathBuf, io::Error),
    /// The loopback address.
    Listen(SocketAddr, io::Error),
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path, error) => write!(
                f,
                "cannot listen on the admin socket {}: {error}; its folder must be there, and writable for the user who \
                 runs plustwo (in the unit: RuntimeDirectory=)",
                path.display()
            ),
            Self::Listen(address, error) => {
                write!(f, "cannot listen on {address} (`[admin] http`): {error}; choose another port")
            }
        }
    }
}

impl std::error::Error for AdminError {}

impl Listeners {
    /// Binds what the settings say; without a socket there, the one in `runtime_directory`.
    /// The errors are all that there are.
    pub(super) fn bind(settings: &AdminSettings, runtime_directory: Option<&Path>) -> Result<Self, Vec<AdminError>> {
        let own = || runtime_directory.map(|folder| folder.join(SOCKET_NAME));
        let unix = settings.socket.clone().or_else(own).map(|path| match bind_unix(&path) {
            Ok(bound) => Ok(bound),
            Err(error) => Err(AdminError::Socket(path, error)),
        });
        let tcp = settings.http.map(|address| bind_tcp(address).map_err(|error| listen_error(address, error)));
        match (unix.transpose(), tcp.transpose()) {
            (Ok(unix), Ok(tcp)) => Ok(Self { unix, tcp }),
            (unix, tcp) => Err(unix.err().into_iter().chain(tcp.err()).collect()),
        }
    }
}

/// Binds a socket, in the place of one that nobody listens on any more.
fn bind_unix(path: &Path) -> io::Result<(StdUnixListener, SocketFile)> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    // Or one of two that start at a time would take the other's socket for an old one, before it listens.
    let _turn = turn_in(folder);
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(io::Error::other("something that is no socket is there"));
        }
        Ok(_) if is_listened_at(path)? => {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another program, perhaps another plustwo, answers there",
            ));
        }
        Ok(_) => fs::remove_file(path)?,
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let metadata = fs::symlink_metadata(path)?;
    let file = SocketFile { path: path.to_owned(), device_and_inode: (metadata.dev(), metadata.ino()) };
    // Nobody can connect before it listens, whatever the umask let the mode be until now.
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok((OwnedFd::from(socket).into(), file))
}

/// Our turn among those that bind a socket in a folder, while this is held; none where others do not end theirs, or the
/// file system knows no such thing: then it is gone on without.
fn turn_in(folder: &Path) -> Option<File> {
    let turn = File::open(folder).ok()?;
    let until = Instant::now() + TURN_WITHIN;
    loop {
        match try_lock(&turn) {
            Ok(true) => return Some(turn),
            Ok(false) if Instant::now() < until => std::thread::sleep(TURN_POLL),
            _ => return None,
        }
    }
}

/// Whether somebody listens at a socket, also where they do not let us in, or have no room for one more.
fn is_listened_at(path: &Path) -> io::Result<bool> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
        _ => Ok(true),
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = |found: fs::Metadata| (found.dev(), found.ino()) == self.device_and_inode;
        if fs::symlink_metadata(&self.path).is_ok_and(is_ours) {
            // One that is left is replaced at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Why a loopback address cannot be listened on, with who has it.
fn listen_error(address: SocketAddr, error: io::Error) -> AdminError {
    let holders = match error.kind() {
        io::ErrorKind::AddrInUse => Holders::look().of(address, &[Transport::Tcp]),
        _ => Vec::new(),
    };
    let error = match holders.first() {
        Some(holder) => io::Error::new(error.kind(), format!("{error}: {holder} holds {}", holder.address)),
        None => error,
    };
    AdminError::Listen(address, error)
}

fn bind_tcp(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

impl Admin {
    /// Serves what was bound; none where nothing was.
    pub(super) fn start(listeners: Listeners, service: Service) -> io::Result<Option<Self>> {
        let Listeners { unix, tcp } = listeners;
        if unix.is_none() && tcp.is_none() {
            return Ok(None);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (unix, socket) = unix.map_or((None, None), |(listener, file)| (Some(listener), Some(file)));
        let (unix, tcp) = {
            let _entered = runtime.enter();
            (unix.map(UnixListener::from_std).transpose()?, tcp.map(TcpListener::from_std).transpose()?)
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let service = Arc::new(service);
        let thread = std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
            runtime.block_on(async {
                if let Some(listener) = unix {
                    let next =
                        move |context: &mut Context<'_>| listener.poll_accept(context).map_ok(|(stream, _)| stream);
                    tokio::spawn(accept(next, Arc::clone(&service), Peer::Socket));
                }
                if let Some(listener) = tcp {
                    let next =
                        move |context: &mut Context<'_>| listener.poll_accept(context).map_ok(|(stream, _)| stream);
                    tokio::spawn(accept(next, Arc::clone(&service), Peer::Loopback));
                }
                // Whether it is told or dropped is the same.
                let _ = stopped.await;
            });
            // What is being answered may be: a moment is enough for what is already said.
            runtime.shutdown_timeout(Duration::from_millis(100));
        })?;
        Ok(Some(Self { stop: Some(stop), thread: Some(thread), socket }))
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        // Before the listener goes: while it is there, its inode is nobody else's.
        drop(self.socket.take());
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Serves those who connect, as many at a time as may be. Where there is no seat for one more, whoever has been silent
/// longest goes; where nobody is silent, it waits for one who is being answered.
async fn accept<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    mut next: impl FnMut(&mut Context<'_>) -> Poll<io::Result<S>> + Send,
    service: Arc<Service>,
    peer: Peer,
) {
    let seats = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // Who has asked nothing yet, the oldest first: as many as there are seats at most.
    let mut silent: VecDeque<(Instant, oneshot::Sender<()>)> = VecDeque::new();
    loop {
        let Ok(stream) = poll_fn(&mut next).await else {
            sleep(ACCEPT_REST).await;
            continue;
        };
        let seat = loop {
            silent.retain(|(_, leave)| !leave.is_closed());
            let patience = silent.front().map(|(since, _)| SILENT_FOR.saturating_sub(since.elapsed()));
            match timeout(patience.unwrap_or(ANSWER_WITHIN), Arc::clone(&seats).acquire_owned()).await {
                Ok(Ok(seat)) => break seat,
                // The semaphore is never closed.
                Ok(Err(_)) => return,
                Err(_) => {
                    // What has arrived by now is looked at first: it may be we who were busy.
                    yield_now().await;
                    yield_now().await;
                    silent.retain(|(_, leave)| !leave.is_closed());
                    if let Some((since, leave)) = silent.pop_front() {
                        if since.elapsed() < SILENT_FOR {
                            silent.push_front((since, leave));
                        } else {
                            let _ = leave.send(());
                        }
                    }
                }
            }
        };
        let (leave, told_to_leave) = oneshot::channel();
        silent.push_back((Instant::now(), leave));
        let service = Arc::clone(&service);
        tokio::spawn(async move {
            serve(stream, service, peer, told_to_leave).await;
            drop(seat);
        });
    }
}

/// By which way somebody came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// The socket, whose mode says who may.
    Socket,
    /// A loopback address, which also a browser on this machine reaches, on behalf of any page.
    Loopback,
}

/// Answers one request, and closes; closes also when it is told to leave before the request has come.
async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    service: Arc<Service>,
    peer: Peer,
    told_to_leave: oneshot::Receiver<()>,
) {
    let (asked, answered) = (Notify::new(), Notify::new());
    let answer = service_fn(|request| {
        asked.notify_one();
        let (service, answered) = (&service, &answered);
        async move {
            let reply = service.answer(&request, peer).await;
            answered.notify_one();
            Ok::<_, std::convert::Infallible>(reply)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_WITHIN)
        .keep_alive(false)
        .max_buf_size(REQUEST_OCTETS_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), answer);
    let patience = async {
        tokio::select! {
            Ok(()) = told_to_leave => return,
            () = asked.notified() => {}
        }
        tokio::select! {
            () = answered.notified() => sleep(REPLY_TAKEN_WITHIN).await,
            () = sleep(ANSWER_WITHIN) => {}
        }
    };
    tokio::select! {
        // A client that breaks off, or says what is no HTTP, has nothing to be told.
        _ = connection => {}
        () = patience => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_socket_is_replaced_only_where_nobody_listens_and_removed_only_by_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin");
        let (listener, file) = bind_unix(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, SOCKET_MODE);
        let taken = || bind_unix(&path).err().map(|error| error.kind());
        assert_eq!(taken(), Some(io::ErrorKind::AddrInUse));
        // One that hangs takes in nobody, and is still there.
        let connect = || {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            socket.set_nonblocking(true)?;
            socket.connect(&SockAddr::unix(&path)?).map(|()| socket)
        };
        let waiting: Vec<Socket> = std::iter::repeat_with(connect).map_while(Result::ok).collect();
        assert!(waiting.len() > 1);
        assert_eq!(taken(), Some(io::ErrorKind::AddrInUse), "while {} wait", waiting.len());
        // Somebody makes room by hand.
        fs::remove_file(&path).unwrap();
        let (next, next_file) = bind_unix(&path).unwrap();
        drop(file);
        assert!(path.exists(), "it is another's by now");
        drop((listener, waiting, next_file));
        assert!(!path.exists());
        // One that was left behind is replaced.
        drop((next, StdUnixListener::bind(&path).unwrap()));
        drop(bind_unix(&path).unwrap());
        fs::write(&path, "precious").unwrap();
        assert!(bind_unix(&path).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn of_several_that_start_at_a_time_one_has_the_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin");
        for round in 0..20 {
            drop(StdUnixListener::bind(&path).unwrap());
            let bound: Vec<_> = std::thread::scope(|scope| {
                let starting: Vec<_> = (0..4).map(|_| scope.spawn(|| bind_unix(&path))).collect();
                starting.into_iter().filter_map(|one| one.join().unwrap().ok()).collect()
            });
            assert_eq!(bound.len(), 1, "round {round}");
            UnixStream::connect(&path).unwrap();
        }
    }
}
