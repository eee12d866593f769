//! The admin interface: HTTP/1.1 and JSON for operators, their tools and those who watch containers, on a Unix socket and,
//! where it is configured, on a loopback address.
//!
//! It runs on a thread of its own, which answers no query and waits for none, so that it is there when nothing else gets
//! through. What it offers stands in `docs/admin.openapi.json`, which a test holds against it.

mod routes;

pub(super) use routes::{Command, ReloadReport, Service};
pub use routes::{ROUTES, Route};

use crate::config::AdminSettings;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, oneshot};

/// Connections that are served at a time at each listener; others wait until one ends.
const CONNECTIONS_MAX: usize = 16;
/// How long a request may take to arrive.
const REQUEST_WITHIN: Duration = Duration::from_secs(5);
/// How long a connection may take in all: a reload of a large file, and a reader that is slow.
const CONNECTION_WITHIN: Duration = Duration::from_secs(120);
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

/// The admin interface, while it is served.
pub(super) struct Admin {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    socket: Option<OwnSocket>,
}

/// A socket of ours, as the file system knows it.
struct OwnSocket {
    path: PathBuf,
    /// Device and number: what another program has put in its place is not ours to remove.
    identity: Option<(u64, u64)>,
}

impl OwnSocket {
    fn new(path: PathBuf) -> Self {
        Self { identity: identity(&path), path }
    }

    /// Removes it, if it is still there.
    fn remove(&self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            // One that is left is replaced at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// What tells a file from any other, itself and not what it may lead to.
fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Listeners that are bound.
pub(super) struct Listeners {
    unix: Option<(StdUnixListener, PathBuf)>,
    tcp: Option<std::net::TcpListener>,
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
    pub(super) fn bind(settings: &AdminSettings, runtime_directory: Option<&Path>) -> Result<Self, AdminError> {
        let own = || runtime_directory.map(|folder| folder.join(SOCKET_NAME));
        let unix = settings.socket.clone().or_else(own).map(|path| match bind_unix(&path) {
            Ok(listener) => Ok((listener, path)),
            Err(error) => Err(AdminError::Socket(path, error)),
        });
        let tcp = settings.http.map(|address| bind_tcp(address).map_err(|error| AdminError::Listen(address, error)));
        Ok(Self { unix: unix.transpose()?, tcp: tcp.transpose()? })
    }
}

/// Binds a socket, in the place of one that nobody listens on any more.
fn bind_unix(path: &Path) -> io::Result<StdUnixListener> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(io::Error::other("something that is no socket is there"));
        }
        Ok(_) if StdUnixStream::connect(path).is_ok() => {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another program, perhaps another plustwo, answers there",
            ));
        }
        Ok(_) => fs::remove_file(path)?,
    }
    let listener = StdUnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
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
        let (unix, socket) = unix.map_or((None, None), |(listener, path)| (Some(listener), Some(OwnSocket::new(path))));
        let (unix, tcp) = {
            let _entered = runtime.enter();
            (unix.map(UnixListener::from_std).transpose()?, tcp.map(TcpListener::from_std).transpose()?)
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let service = Arc::new(service);
        let thread = std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
            runtime.block_on(async {
                if let Some(listener) = unix {
                    tokio::spawn(accept_unix(listener, Arc::clone(&service)));
                }
                if let Some(listener) = tcp {
                    tokio::spawn(accept_tcp(listener, Arc::clone(&service)));
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
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if let Some(socket) = &self.socket {
            socket.remove();
        }
    }
}

async fn accept_unix(listener: UnixListener, service: Arc<Service>) {
    let seats = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // The semaphore is never closed.
        let Ok(seat) = Arc::clone(&seats).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let service = Arc::clone(&service);
                tokio::spawn(async move {
                    serve(stream, service, Peer::Socket).await;
                    drop(seat);
                });
            }
            Err(_) => tokio::time::sleep(ACCEPT_REST).await,
        }
    }
}

async fn accept_tcp(listener: TcpListener, service: Arc<Service>) {
    let seats = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // The semaphore is never closed.
        let Ok(seat) = Arc::clone(&seats).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let service = Arc::clone(&service);
                tokio::spawn(async move {
                    serve(stream, service, Peer::Loopback).await;
                    drop(seat);
                });
            }
            Err(_) => tokio::time::sleep(ACCEPT_REST).await,
        }
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

/// Answers one request, and closes.
async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, service: Arc<Service>, peer: Peer) {
    let answer = service_fn(move |request| {
        let service = Arc::clone(&service);
        async move { Ok::<_, std::convert::Infallible>(service.answer(&request, peer).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_WITHIN)
        .keep_alive(false)
        .max_buf_size(REQUEST_OCTETS_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), answer);
    // A client that breaks off, or says what is no HTTP, has nothing to be told.
    let _ = tokio::time::timeout(CONNECTION_WITHIN, connection).await;
}
