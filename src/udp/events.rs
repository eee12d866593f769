//! Waiting for many sockets and for other threads: epoll, and the bell that they ring (eventfd).
#![expect(unsafe_code, reason = "epoll with time-outs and eventfd are not in std")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::addr_of;

use libc::c_int;

use super::sys::{BATCH, outcome};

/// What a thread waits for: sockets, each known by a number of its owner's choice, and bells (epoll, level-triggered).
pub struct Events {
    epoll: OwnedFd,
    happened: [libc::epoll_event; BATCH],
}

impl Events {
    /// Waits for nothing yet.
    pub fn new() -> io::Result<Self> {
        // SAFETY: a call without pointers.
        let descriptor = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        outcome(descriptor)?;
        // SAFETY: the descriptor was just made and has no other owner.
        let epoll = unsafe { OwnedFd::from_raw_fd(descriptor) };
        Ok(Self { epoll, happened: [libc::epoll_event { events: 0, u64: 0 }; BATCH] })
    }

    /// Waits from now on also for a socket to have something to receive, or an error to tell. When it is closed, that
    /// ends by itself.
    pub fn watch(&self, socket: &impl AsRawFd, number: u64) -> io::Result<()> {
        self.add(socket.as_raw_fd(), libc::EPOLLIN as u32, number)
    }

    /// Waits from now on also for a bell.
    pub fn watch_bell(&self, bell: &Bell, number: u64) -> io::Result<()> {
        // Edge-triggered: each ringing is told once, so that nobody has to read it away.
        self.add(bell.0.as_raw_fd(), (libc::EPOLLIN | libc::EPOLLET) as u32, number)
    }

    fn add(&self, descriptor: c_int, events: u32, number: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events, u64: number };
        // SAFETY: both descriptors are open and the event is a live local that the kernel copies.
        outcome(unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, descriptor, &mut event) })
    }

    /// Sleeps until something happens, or for so many milliseconds; how many numbers [`Events::number`] gives.
    /// Without a bound it sleeps until something happens.
    pub fn wait(&mut self, millis_max: Option<u64>) -> io::Result<usize> {
        let millis = millis_max.map_or(-1, |millis| c_int::try_from(millis).unwrap_or(c_int::MAX));
        let room = self.happened.len() as c_int;
        // SAFETY: the kernel writes at most `room` events, which the array has.
        let count = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), self.happened.as_mut_ptr(), room, millis) };
        match usize::try_from(count) {
            Ok(count) => Ok(count),
            Err(_) => match io::Error::last_os_error() {
                // The caller looks at its clock again.
                error if error.kind() == io::ErrorKind::Interrupted => Ok(0),
                error => Err(error),
            },
        }
    }

    /// The number of something that happened in the last [`Events::wait`].
    #[inline]
    pub fn number(&self, index: usize) -> u64 {
        self.happened[index].u64
    }
}

/// How often a bell is rung until the system does it.
pub const RING_TRIES: usize = 100;

/// What another thread rings to end a thread's [`Events::wait`].
pub struct Bell(OwnedFd);

impl Bell {
    /// A bell that nobody has rung.
    pub fn new() -> io::Result<Self> {
        // SAFETY: a call without pointers.
        let descriptor = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        outcome(descriptor)?;
        // SAFETY: the descriptor was just made and has no other owner.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(descriptor) }))
    }

    /// Rings it. The descriptor is open and the sum of all ringings does not reach 2^64, so that nothing is known to refuse
    /// it; but who waits might wait for ever, and so a refusal is not believed at once.
    pub fn ring(&self) {
        let one = 1u64;
        for _ in 0..RING_TRIES {
            // SAFETY: the kernel reads eight octets of a live local.
            let written = unsafe { libc::write(self.0.as_raw_fd(), addr_of!(one).cast(), size_of::<u64>()) };
            if written > 0 {
                return;
            }
            std::thread::yield_now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    #[test]
    fn each_ringing_is_told_once_and_none_is_lost() {
        let (mut events, bell) = (Events::new().unwrap(), Arc::new(Bell::new().unwrap()));
        events.watch_bell(&bell, 7).unwrap();
        assert_eq!(events.wait(Some(0)).unwrap(), 0);
        for _ in 0..3 {
            bell.ring();
            bell.ring();
            assert_eq!(events.wait(None).unwrap(), 1);
            assert_eq!(events.number(0), 7);
            assert_eq!(events.wait(Some(0)).unwrap(), 0, "told once, though nobody read it");
        }
        let other = Arc::clone(&bell);
        let ringing = std::thread::spawn(move || other.ring());
        assert_eq!(events.wait(None).unwrap(), 1);
        ringing.join().unwrap();
    }

    #[test]
    fn a_socket_is_told_until_it_is_emptied_and_never_once_closed() {
        let mut events = Events::new().unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
        events.watch(&socket, 9).unwrap();
        for _ in 0..2 {
            assert_eq!(events.wait(None).unwrap(), 1);
            assert_eq!(events.number(0), 9);
        }
        drop(socket);
        let began = Instant::now();
        assert_eq!(events.wait(Some(20)).unwrap(), 0);
        assert!(began.elapsed() >= Duration::from_millis(19));
    }
}
