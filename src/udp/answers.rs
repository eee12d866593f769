//! Replies to clients that were not received with the same batch: collected, then sent through a door with one
//! `sendmmsg`, each to its client and from the address that was asked.
//!
//! How the proof goes: as in [`super::sys`] and [`super::connected`].
#![expect(unsafe_code, reason = "sendmmsg has no safe wrapper that is correct and as fast: see udp/sys.rs")]

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ptr::{NonNull, addr_of_mut};

use super::connected::allocate;
use super::replies::Replies;
use super::sys::{Address, BATCH, REPLY_OCTETS, SendReport, encode_address};

/// Replies that are to leave by one door; allocates nothing after construction.
// Invariant: what `replies` holds leads to the first places of `memory`, as `push` wrote them.
pub struct Answers {
    memory: NonNull<Memory>,
    replies: Box<Replies>,
}

/// The replies and whom they are for.
#[repr(C)]
struct Memory {
    octets: [[u8; REPLY_OCTETS]; BATCH],
    clients: [Address; BATCH],
}

// SAFETY: the memory is owned by this value alone, and nothing in it belongs to a thread.
unsafe impl Send for Answers {}

impl Default for Answers {
    fn default() -> Self {
        Self { memory: allocate::<Memory>(), replies: Box::default() }
    }
}

impl Answers {
    /// Whether there is nothing to be sent.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many replies there are.
    pub fn len(&self) -> usize {
        self.replies.len()
    }

    /// Whether there is room for one more.
    pub fn has_room(&self) -> bool {
        self.replies.len() < BATCH
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
        let (m, place) = (self.memory.as_ptr(), self.replies.len());
        // SAFETY: `place` is below BATCH. This is the only reference to the buffer, for as long as it borrows `self`.
        let octets = unsafe { &mut *addr_of_mut!((*m).octets[place]) };
        let written = write(octets);
        assert!(written <= REPLY_OCTETS, "a reply fits its buffer");
        if written == 0 {
            return;
        }
        let (name, name_octets) = encode_address(client);
        // SAFETY: as above, and the reference to the buffer is gone. Both places stay as they are until `send` has sent
        // them: only `push` writes to them, and to the next ones.
        unsafe {
            (*m).clients[place] = name;
            let reply = NonNull::new_unchecked(addr_of_mut!((*m).octets[place])).cast();
            let client = NonNull::new_unchecked(addr_of_mut!((*m).clients[place]));
            self.replies.add((reply, written as u16), (client, name_octets), local.map(|local| (local, 0)));
        }
    }

    /// Sends what was collected and forgets it; waits for room as [`super::sys::Batch::send`] does.
    pub fn send(&mut self, socket: &UdpSocket) -> SendReport {
        // SAFETY: what was added leads to live parts of `memory`, filled in by `push`; `&mut self` means that no reference
        // into it is alive.
        unsafe { self.replies.send(socket) }
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
