//! Replies to clients that were not received with the same batch: collected, then sent through a door with one
//! `sendmmsg`, each to its client and from the address that was asked.
//!
//! How the proof goes: as in [`super::sys`] and [`super::connected`].
#![expect(unsafe_code, reason = "sendmmsg has no safe wrapper that is correct and as fast: see udp/sys.rs")]

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ptr::{NonNull, addr_of_mut, null_mut};

use libc::{iovec, mmsghdr, socklen_t};

use super::connected::allocate;
use super::sys::{Address, BATCH, Control, REPLY_OCTETS, SendReport, encode_address, reply_control, send_all};

/// Replies that are to leave by one door; allocates nothing after construction.
// Invariant: written <= BATCH, and the headers of the first `written` replies lead to what `push` wrote for each.
pub struct Answers {
    memory: NonNull<Memory>,
    written: usize,
}

/// All that the kernel reads for the replies.
#[repr(C)]
struct Memory {
    octets: [[u8; REPLY_OCTETS]; BATCH],
    clients: [Address; BATCH],
    controls: [Control; BATCH],
    parts: [iovec; BATCH],
    headers: [mmsghdr; BATCH],
}

// SAFETY: the memory is owned by this value alone, and nothing in it belongs to a thread.
unsafe impl Send for Answers {}

impl Default for Answers {
    fn default() -> Self {
        let memory = allocate::<Memory>();
        let m = memory.as_ptr();
        for place in 0..BATCH {
            // SAFETY: `m` is valid for reads and writes of a whole zeroed `Memory`, which is a value of that type, and
            // `place` is below the length of each array; no reference into it exists yet.
            unsafe {
                (*m).parts[place] = iovec { iov_base: addr_of_mut!((*m).octets[place]).cast(), iov_len: 0 };
                let header = addr_of_mut!((*m).headers[place].msg_hdr);
                (*header).msg_name = addr_of_mut!((*m).clients[place]).cast();
                (*header).msg_iov = addr_of_mut!((*m).parts[place]);
                (*header).msg_iovlen = 1;
            }
        }
        Self { memory, written: 0 }
    }
}

impl Answers {
    /// Whether there is nothing to be sent.
    pub fn is_empty(&self) -> bool {
        self.written == 0
    }

    /// Whether there is room for one more.
    pub fn has_room(&self) -> bool {
        self.written < BATCH
    }

    /// Adds the reply that `write` writes, for this client and from `local` where that is given; it says how many
    /// octets it wrote, and 0 adds nothing.
    ///
    /// # Panics
    /// When there is no room, or it says more octets than it was given.
    #[inline]
    pub fn push(
        &mut self,
        client: SocketAddr,
        local: Option<IpAddr>,
        write: impl FnOnce(&mut [u8; REPLY_OCTETS]) -> usize,
    ) {
        assert!(self.has_room(), "the batch has room for one more reply");
        let (m, place) = (self.memory.as_ptr(), self.written);
        // SAFETY: `place` is below BATCH. This is the only reference to the buffer, for as long as it borrows `self`.
        let octets = unsafe { &mut *addr_of_mut!((*m).octets[place]) };
        let written = write(octets);
        assert!(written <= REPLY_OCTETS, "a reply fits its buffer");
        if written == 0 {
            return;
        }
        let (name, name_octets): (Address, socklen_t) = encode_address(client);
        // SAFETY: as above, and the reference to the buffer is gone. The lengths are those of what was just written.
        unsafe {
            (*m).clients[place] = name;
            (*m).parts[place].iov_len = written;
            let header = addr_of_mut!((*m).headers[place].msg_hdr);
            (*header).msg_namelen = name_octets;
            (*header).msg_control = null_mut();
            (*header).msg_controllen = 0;
            if let Some(local) = local {
                let control = addr_of_mut!((*m).controls[place]);
                (*header).msg_controllen = reply_control(&mut *control, local, 0) as _;
                (*header).msg_control = control.cast();
            }
        }
        self.written += 1;
    }

    /// Sends what was collected and forgets it; waits for room as [`super::sys::Batch::send`] does.
    pub fn send(&mut self, socket: &UdpSocket) -> SendReport {
        let total = std::mem::take(&mut self.written);
        // SAFETY: the first `total` headers lead to live parts of `memory`, filled in by `push`; `&mut self` means that
        // no reference into it is alive.
        unsafe { send_all(socket, addr_of_mut!((*self.memory.as_ptr()).headers).cast(), total) }
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        // SAFETY: the memory came from `allocate`, which says how it is freed, and is freed once, here.
        drop(unsafe { Box::from_raw(self.memory.as_ptr()) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// A socket that waits a while.
    fn client(address: &str) -> UdpSocket {
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket
    }

    #[test]
    fn each_reply_goes_to_its_client_whole_and_once() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let clients = [client(address), client(address)];
            let door = client(address);
            let mut answers = Answers::default();
            for round in 0..2 {
                for number in 0..BATCH {
                    let to = clients[number % 2].local_addr().unwrap();
                    answers.push(to, None, |octets| {
                        octets[..2].copy_from_slice(&[round, number as u8]);
                        2 + number
                    });
                }
                assert!(!answers.has_room());
                assert_eq!(answers.send(&door), SendReport { sent: BATCH, failed: 0 });
                assert!(answers.is_empty());
            }
            assert_eq!(answers.send(&door), SendReport::default());
            let mut octets = [0; 256];
            for round in 0..2 {
                for number in 0..BATCH {
                    let (count, from) = clients[number % 2].recv_from(&mut octets).unwrap();
                    assert_eq!((count, from), (2 + number, door.local_addr().unwrap()));
                    assert_eq!(octets[..2], [round, number as u8]);
                }
            }
        }
    }

    #[test]
    fn a_reply_leaves_from_the_address_that_was_asked() {
        let (door, client) = (client("0.0.0.0:0"), client("127.0.0.1:0"));
        let port = door.local_addr().unwrap().port();
        let mut answers = Answers::default();
        let locals: Vec<Option<IpAddr>> = vec![Some([127, 0, 0, 9].into()), None, Some([127, 0, 0, 8].into())];
        // Twice, so that places are used again, by others.
        for locals in [locals.clone(), locals.into_iter().rev().chain([None]).collect()] {
            for local in &locals {
                answers.push(client.local_addr().unwrap(), *local, |octets| {
                    octets[0] = 7;
                    1
                });
            }
            assert_eq!(answers.send(&door), SendReport { sent: locals.len(), failed: 0 });
            for local in locals {
                let from = client.recv_from(&mut [0; 8]).unwrap().1;
                assert_eq!(from, (local.unwrap_or_else(|| [127, 0, 0, 1].into()), port).into());
            }
        }
    }

    #[test]
    fn no_octets_are_no_reply_and_a_bad_address_costs_only_itself() {
        let (door, client) = (client("127.0.0.1:0"), client("127.0.0.1:0"));
        let mut answers = Answers::default();
        answers.push(client.local_addr().unwrap(), None, |_| 0);
        assert!(answers.is_empty());
        answers.push("[2001:db8::1]:53".parse().unwrap(), None, |_| 1);
        answers.push(client.local_addr().unwrap(), None, |_| 3);
        assert_eq!(answers.send(&door), SendReport { sent: 1, failed: 1 });
        assert_eq!(client.recv_from(&mut [0; 8]).unwrap().0, 3);
    }
}
