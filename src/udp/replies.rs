//! Replies on their way out: all of a batch with one `sendmmsg`, and neighbours to one client as one message.
//!
//! A client that forwards for others sends many queries from one port, and its queries stand next to each other in a
//! batch. The replies to them leave as one message that the kernel, or the network card, cuts into datagrams
//! (`UDP_SEGMENT`, Linux 4.18): the way through the kernel is taken once for all of them.
//!
//! How the proof goes: as in [`super::sys`]. The headers that the kernel reads are written at each send, from pointers
//! that the caller vouches for and from places in this value, which is borrowed until the call is over.
#![expect(unsafe_code, reason = "sendmmsg has no safe wrapper that is correct and as fast: see udp/sys.rs")]

use std::io;
use std::mem::{offset_of, zeroed};
use std::net::{IpAddr, UdpSocket};
use std::ptr::{NonNull, addr_of_mut, null_mut};

use libc::{c_uint, iovec, mmsghdr, sockaddr_in, socklen_t};

use super::segment::{self, SegmentControl};
use super::sys::{self, Address, BATCH, Control, SEND_WAITS_MAX, SendReport, reply_control, wait_for_room};

/// Replies that leave together; allocates nothing after construction.
// Invariant: runs <= parts <= BATCH; the runs lead to the first `parts` parts, one after the other, each to one at least.
pub(super) struct Replies {
    runs: usize,
    parts: usize,
    each_run: [Run; BATCH],
    each_part: [iovec; BATCH],
    headers: [mmsghdr; BATCH],
    controls: [RunControl; BATCH],
    cutting: Cutting,
}

/// Replies to one client that leave as one message.
#[derive(Clone, Copy)]
struct Run {
    client: NonNull<Address>,
    client_octets: socklen_t,
    /// The address that they leave from, and the interface, where the socket does not say.
    from: Option<(IpAddr, c_uint)>,
    /// The first of its parts, and how many.
    first: u8,
    parts: u8,
    /// Octets of each part but the last, which may have fewer and is then followed by none.
    octets: u16,
    is_closed: bool,
}

/// What a message says beside its octets: how long the datagrams are that it is cut into, and where they leave from.
/// The second begins where the next control message does, so that both, or only the second, can be told.
#[derive(Clone, Copy)]
#[repr(C)]
struct RunControl {
    segment: SegmentControl,
    from: Control,
}

const _: () = assert!(offset_of!(RunControl, from) == size_of::<SegmentControl>());

/// Whether the kernel cuts messages.
enum Cutting {
    /// Nobody has asked it yet.
    Unknown,
    /// It does, and has refused to so many times since it last did.
    Cuts { refusals: u8 },
    /// It does not, or refused once too often.
    CutsNot,
}

/// Messages in a row that the kernel may refuse to cut before it is asked no more: what refuses is the way out to one
/// client (IPsec, a small MTU), or a network card that all of them are behind.
const REFUSALS_MAX: u8 = 32;

impl Default for Replies {
    fn default() -> Self {
        let run = Run {
            client: NonNull::dangling(),
            client_octets: 0,
            from: None,
            first: 0,
            parts: 0,
            octets: 0,
            is_closed: true,
        };
        Self {
            runs: 0,
            parts: 0,
            each_run: [run; BATCH],
            each_part: [iovec { iov_base: null_mut(), iov_len: 0 }; BATCH],
            // SAFETY: both are plain data, of which all octets zero are a value.
            headers: unsafe { zeroed() },
            // SAFETY: as above.
            controls: unsafe { zeroed() },
            cutting: Cutting::Unknown,
        }
    }
}

impl Replies {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.parts
    }

    /// Forgets them.
    pub(super) fn clear(&mut self) {
        (self.runs, self.parts) = (0, 0);
    }

    /// Adds a reply: its octets, whom it is for, and the address and the interface that it leaves from where the socket
    /// does not say.
    ///
    /// # Panics
    /// When there are [`BATCH`] already.
    ///
    /// # Safety
    /// Until [`Replies::send`] or [`Replies::clear`], `octets` leads to `count` octets and `client` to an address of
    /// which `client_octets` count; nobody writes to either.
    #[inline]
    pub(super) unsafe fn add(
        &mut self,
        (octets, count): (NonNull<u8>, u16),
        (client, client_octets): (NonNull<Address>, socklen_t),
        from: Option<(IpAddr, c_uint)>,
    ) {
        self.each_part[self.parts] = iovec { iov_base: octets.as_ptr().cast(), iov_len: usize::from(count) };
        let first = self.parts as u8;
        self.parts += 1;
        if let Some(last) = self.each_run[..self.runs].last_mut()
            && !last.is_closed
            && count <= last.octets
            && usize::from(last.octets) * usize::from(last.parts + 1) <= segment::MESSAGE_OCTETS_MAX
            && last.from == from
            && last.client_octets == client_octets
            // SAFETY: the caller's promise for both.
            && unsafe { is_same(last.client, client, client_octets) }
        {
            last.parts += 1;
            last.is_closed = count < last.octets;
            return;
        }
        let is_closed = matches!(self.cutting, Cutting::CutsNot);
        self.each_run[self.runs] = Run { client, client_octets, from, first, parts: 1, octets: count, is_closed };
        self.runs += 1;
    }

    /// Sends them and forgets them. One that the kernel refuses is counted and passed over. While the socket's buffer is
    /// full this waits, at most [`SEND_WAITS_MAX`] times; what has no room then is counted as failed.
    ///
    /// # Safety
    /// What was added is still as it was promised.
    pub(super) unsafe fn send(&mut self, socket: &UdpSocket) -> SendReport {
        if matches!(self.cutting, Cutting::Unknown) {
            let cuts = segment::is_cut_by_kernel(socket);
            self.cutting = if cuts { Cutting::Cuts { refusals: 0 } } else { Cutting::CutsNot };
            if !cuts {
                self.split(0..self.runs);
            }
        }
        self.write_headers(0);
        let mut report = SendReport::default();
        let (mut sent, mut waits) = (0, 0);
        while sent < self.runs {
            // SAFETY: the headers from `sent` to `runs` were written by `write_headers`: they lead to parts and controls
            // of this value, which nobody else can reach, and to what the caller vouches for. The kernel only reads
            // that, but for each header's `msg_len`.
            let count = unsafe { sys::sendmmsg(socket, self.headers.as_mut_ptr().add(sent), self.runs - sent) };
            // A call that stops half-way returns the count before the stop; the next call meets the error itself.
            match usize::try_from(count) {
                Ok(0) => {
                    report.failed += self.parts_of(sent..sent + 1);
                    sent += 1;
                }
                Ok(count) => {
                    report.sent += self.parts_of(sent..sent + count);
                    self.note_cut(sent..sent + count);
                    sent += count;
                }
                Err(_) => match io::Error::last_os_error() {
                    error if error.kind() == io::ErrorKind::Interrupted => {}
                    error if error.kind() == io::ErrorKind::WouldBlock => {
                        if waits >= SEND_WAITS_MAX || !wait_for_room(socket) {
                            report.failed += self.parts_of(sent..self.runs);
                            break;
                        }
                        waits += 1;
                    }
                    // A firewall sees a message before it is cut, and may let the replies pass one by one.
                    error if self.each_run[sent].parts > 1 => {
                        if segment::is_refusal_to_cut(&error) {
                            self.note_refusal();
                        }
                        self.split(sent..sent + 1);
                        self.write_headers(sent);
                    }
                    _ => {
                        report.failed += self.parts_of(sent..sent + 1);
                        sent += 1;
                    }
                },
            }
        }
        self.clear();
        report
    }

    /// Writes the headers from this run on.
    fn write_headers(&mut self, from: usize) {
        for index in from..self.runs {
            let (run, control) = (self.each_run[index], &mut self.controls[index]);
            let (mut begin, mut octets) = (null_mut(), 0);
            if let Some((address, interface)) = run.from {
                octets = reply_control(&mut control.from, address, interface);
                begin = addr_of_mut!(control.from).cast();
            }
            if run.parts > 1 {
                control.segment = SegmentControl::new(run.octets);
                octets += size_of::<SegmentControl>();
                begin = addr_of_mut!(*control).cast();
            }
            let header = &mut self.headers[index].msg_hdr;
            header.msg_name = run.client.as_ptr().cast();
            header.msg_namelen = run.client_octets;
            header.msg_iov = addr_of_mut!(self.each_part[usize::from(run.first)]);
            header.msg_iovlen = run.parts as _;
            header.msg_control = begin;
            header.msg_controllen = octets as _;
        }
    }

    /// Makes of each of these runs one run a reply.
    fn split(&mut self, runs: std::ops::Range<usize>) {
        for index in runs.rev() {
            let run = self.each_run[index];
            let parts = usize::from(run.parts);
            self.each_run.copy_within(index + 1..self.runs, index + parts);
            for place in 0..parts {
                self.each_run[index + place] = Run { first: run.first + place as u8, parts: 1, ..run };
            }
            self.runs += parts - 1;
        }
    }

    /// The replies of these runs.
    fn parts_of(&self, runs: std::ops::Range<usize>) -> usize {
        self.each_run[runs].iter().map(|run| usize::from(run.parts)).sum()
    }

    /// The kernel has taken these runs.
    #[inline]
    fn note_cut(&mut self, runs: std::ops::Range<usize>) {
        if let Cutting::Cuts { refusals } = &mut self.cutting
            && *refusals > 0
            && self.each_run[runs].iter().any(|run| run.parts > 1)
        {
            *refusals = 0;
        }
    }

    /// The kernel has refused to cut a message.
    fn note_refusal(&mut self) {
        if let Cutting::Cuts { refusals } = &mut self.cutting {
            *refusals += 1;
            if *refusals >= REFUSALS_MAX {
                self.cutting = Cutting::CutsNot;
            }
        }
    }
}

/// Whether two addresses of which so many octets count are the same. Behind those of the shorter kind stands what an
/// address of the longer kind has left, where a worker serves doors of both.
///
/// # Safety
/// Both lead to an address.
#[inline]
unsafe fn is_same(one: NonNull<Address>, other: NonNull<Address>, octets: socklen_t) -> bool {
    const SHORT: usize = size_of::<sockaddr_in>();
    const WHOLE: usize = size_of::<Address>();
    // SAFETY: the caller's promise; every octet of an address here is initialised.
    unsafe {
        if octets as usize == SHORT {
            one.cast::<[u8; SHORT]>().read() == other.cast::<[u8; SHORT]>().read()
        } else {
            one.cast::<[u8; WHOLE]>().read() == other.cast::<[u8; WHOLE]>().read()
        }
    }
}

#[cfg(test)]
mod tests;
