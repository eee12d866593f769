//! Batches on connected sockets: queries to one target out with one `sendmmsg`, its replies in with one `recvmmsg`.
//!
//! The kernel filters by source for a connected socket, so neither side needs addresses, and nothing that it writes into
//! a header has to be restored between two calls.
//!
//! How the proof goes: as in [`super::sys`]. Each of the two owns one zeroed allocation, made once and reached only
//! through one raw pointer; the headers that the kernel reads point into that same allocation. Every reference handed
//! out borrows the owner, and both system calls take it by `&mut`. Every octet is initialised from the start, and every
//! type in the memory is plain data for which any octets are a value.
#![expect(
    unsafe_code,
    reason = "recvmmsg and sendmmsg have no safe wrapper that is correct and as fast: see udp/sys.rs"
)]

use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::io;
use std::net::UdpSocket;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::ptr::{NonNull, addr_of, addr_of_mut, null_mut};

use libc::{c_uint, iovec, mmsghdr};

use super::segment::{self, SegmentControl};
use super::sys::{self, BATCH};

/// Octets of one datagram to be sent at most.
pub const SENT_OCTETS_MAX: usize = 512;
/// Octets kept of one received datagram; what is longer has lost its end.
pub const RECEIVED_OCTETS_MAX: usize = 4096;
/// Octets from one buffer to the next: more than a buffer, by a cache line, so that their first lines, which is all that
/// most datagrams fill, do not all want the same few places of the processor's first cache.
const SENT_STRIDE: usize = SENT_OCTETS_MAX + 64;
/// The same of received ones.
const RECEIVED_STRIDE: usize = RECEIVED_OCTETS_MAX + 64;

/// Datagrams for one connected socket, collected and then sent at once; allocates nothing after construction.
///
/// Those of the same length leave as one message that the kernel, or the network card, cuts into datagrams
/// (`UDP_SEGMENT`, Linux 4.18): the way through the kernel is taken once for all of them. So the shorter ones leave first.
// Invariant: written <= BATCH, and the first `written` parts lead to buffers of this memory, each to its own, and state
// at most SENT_OCTETS_MAX octets.
pub struct Outgoing {
    memory: NonNull<OutgoingMemory>,
    written: usize,
    /// Whether messages are cut by the kernel, once it has been asked; not again once it has refused to.
    is_cut_by_kernel: Option<bool>,
}

/// All that the kernel reads for the datagrams that leave.
#[repr(C)]
struct OutgoingMemory {
    octets: [[u8; SENT_STRIDE]; BATCH],
    parts: [iovec; BATCH],
    /// A header a message; each leads to a run of parts.
    headers: [mmsghdr; BATCH],
    controls: [SegmentControl; BATCH],
}

// SAFETY: the memory is owned by this value alone, and nothing in it belongs to a thread.
unsafe impl Send for Outgoing {}

impl Default for Outgoing {
    fn default() -> Self {
        Self { memory: allocate::<OutgoingMemory>(), written: 0, is_cut_by_kernel: None }
    }
}

impl Outgoing {
    /// Datagrams that are to be sent.
    pub fn len(&self) -> usize {
        self.written
    }

    /// Whether there is nothing to be sent.
    pub fn is_empty(&self) -> bool {
        self.written == 0
    }

    /// Whether there is room for one more.
    pub fn has_room(&self) -> bool {
        self.written < BATCH
    }

    /// Forgets what was collected.
    pub fn clear(&mut self) {
        self.written = 0;
    }

    /// Adds the datagram that `write` writes; it says how many octets it wrote, and 0 adds nothing.
    ///
    /// # Panics
    /// When there is no room, or it says more octets than it was given.
    #[inline]
    pub fn push(&mut self, write: impl FnOnce(&mut [u8; SENT_OCTETS_MAX]) -> usize) {
        assert!(self.has_room(), "the batch has room for one more datagram");
        let place = self.written;
        // SAFETY: `place` is below BATCH. This is the only reference to the buffer, for as long as it borrows `self`; it
        // is that of an array no longer than the one that stands there.
        let octets =
            unsafe { &mut *addr_of_mut!((*self.memory.as_ptr()).octets[place]).cast::<[u8; SENT_OCTETS_MAX]>() };
        let written = write(octets);
        assert!(written <= SENT_OCTETS_MAX, "a datagram fits its buffer");
        if written == 0 {
            return;
        }
        // SAFETY: as above, and the reference to the buffer is gone.
        unsafe {
            let m = self.memory.as_ptr();
            (*m).parts[place] = iovec { iov_base: addr_of_mut!((*m).octets[place]).cast(), iov_len: written };
        }
        self.written += 1;
    }

    /// Sends what was collected and forgets it; how many the socket's buffer had no room for, which are lost like any
    /// datagram on its way. An error is the socket's: what an earlier datagram met (ICMP), or no way to the peer; what
    /// had not been sent by then is not sent.
    pub fn send(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        let total = std::mem::take(&mut self.written);
        if total > 1 && self.is_cut_by_kernel.is_none() {
            self.is_cut_by_kernel = Some(segment::is_cut_by_kernel(socket));
        }
        self.parts(total).sort_unstable_by_key(|part| part.iov_len);
        let mut sent = 0;
        while sent < total {
            let messages = self.address(sent..total);
            // SAFETY: the first `messages` headers lead to live parts and controls of `memory`, as `address` left them;
            // the kernel only reads them but for each header's `msg_len`; `&mut self` means that no reference is alive.
            let count =
                unsafe { sys::sendmmsg(socket, addr_of_mut!((*self.memory.as_ptr()).headers).cast(), messages) };
            match usize::try_from(count) {
                // Neither progress nor an error is nothing to wait for.
                Ok(0) => return Ok(total - sent),
                Ok(count) => sent += self.datagrams(count),
                Err(_) => match io::Error::last_os_error() {
                    error if error.kind() == io::ErrorKind::Interrupted => {}
                    error if is_want_of_room(&error) => return Ok(total - sent),
                    error if self.datagrams(1) > 1 && segment::is_refusal_to_cut(&error) => {
                        self.is_cut_by_kernel = Some(false)
                    }
                    error => return Err(error),
                },
            }
        }
        Ok(0)
    }

    /// The first parts.
    fn parts(&mut self, count: usize) -> &mut [iovec] {
        // SAFETY: the only reference into `memory`, for as long as it borrows `self`.
        let parts = unsafe { &mut *addr_of_mut!((*self.memory.as_ptr()).parts) };
        &mut parts[..count]
    }

    /// Writes headers that lead to these parts, from the first header on: one for each length where the kernel cuts
    /// messages, else one for each part. Returns how many.
    ///
    /// # Panics
    /// When there are no such parts.
    fn address(&mut self, parts: Range<usize>) -> usize {
        let is_cut_by_kernel = self.is_cut_by_kernel == Some(true);
        let m = self.memory.as_ptr();
        let (mut from, mut messages) = (parts.start, 0);
        while from < parts.end {
            let rest = &self.parts(parts.end)[from..];
            let length = rest[0].iov_len;
            let run = rest.iter().take_while(|part| is_cut_by_kernel && part.iov_len == length).count().max(1);
            // SAFETY: `messages` is not above `from`, which is below BATCH, the length of each array: `rest` is not empty.
            // No reference into the memory is alive.
            unsafe {
                let header = addr_of_mut!((*m).headers[messages].msg_hdr);
                (*header).msg_iov = addr_of_mut!((*m).parts[from]);
                (*header).msg_iovlen = run as _;
                ((*header).msg_control, (*header).msg_controllen) = (null_mut(), 0);
                if run > 1 {
                    let control = addr_of_mut!((*m).controls[messages]);
                    *control = SegmentControl::new(length as u16);
                    (*header).msg_control = control.cast();
                    (*header).msg_controllen = size_of::<SegmentControl>() as _;
                }
            }
            messages += 1;
            from += run;
        }
        messages
    }

    /// How many datagrams the first messages are.
    #[allow(clippy::unnecessary_cast, reason = "the type of a message's number of parts is the C library's")]
    fn datagrams(&self, messages: usize) -> usize {
        // SAFETY: the only reference into `memory`, for as long as it borrows `self`.
        let headers = unsafe { &*addr_of!((*self.memory.as_ptr()).headers) };
        headers[..messages].iter().map(|header| header.msg_hdr.msg_iovlen as usize).sum()
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        // SAFETY: the memory came from `allocate`, which says how it is freed, and is freed once, here.
        drop(unsafe { Box::from_raw(self.memory.as_ptr()) });
    }
}

/// Whether a datagram could not be sent for want of memory, which passes.
fn is_want_of_room(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM))
}

/// Room for what one call takes from a connected socket; allocates nothing after construction.
// Invariant: received <= BATCH.
pub struct Incoming {
    memory: NonNull<IncomingMemory>,
    received: usize,
}

/// All that the kernel writes for the datagrams that come in.
#[repr(C)]
struct IncomingMemory {
    octets: [[u8; RECEIVED_STRIDE]; BATCH],
    parts: [iovec; BATCH],
    headers: [mmsghdr; BATCH],
}

// SAFETY: the memory is owned by this value alone, and nothing in it belongs to a thread.
unsafe impl Send for Incoming {}

impl Default for Incoming {
    fn default() -> Self {
        let memory = allocate::<IncomingMemory>();
        let m = memory.as_ptr();
        for place in 0..BATCH {
            // SAFETY: as in `Outgoing::default`.
            unsafe {
                (*m).parts[place] =
                    iovec { iov_base: addr_of_mut!((*m).octets[place]).cast(), iov_len: RECEIVED_OCTETS_MAX };
                (*m).headers[place].msg_hdr.msg_iov = addr_of_mut!((*m).parts[place]);
                (*m).headers[place].msg_hdr.msg_iovlen = 1;
            }
        }
        Self { memory, received: 0 }
    }
}

impl Incoming {
    /// Takes what has arrived, at most [`BATCH`] datagrams; 0 means that there is nothing. An error is the socket's:
    /// what a datagram of ours met (ICMP). It is told once.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.received = 0;
        self.received = loop {
            // SAFETY: `headers` holds BATCH headers whose pointers lead to live, writable parts of `memory` of the
            // lengths they state, and that name neither an address nor ancillary data; `&mut self` means that no
            // reference into it is alive. A null time-out is none.
            let count = unsafe {
                libc::recvmmsg(
                    socket.as_raw_fd(),
                    addr_of_mut!((*self.memory.as_ptr()).headers).cast(),
                    BATCH as c_uint,
                    libc::MSG_DONTWAIT as _,
                    null_mut(),
                )
            };
            match usize::try_from(count) {
                Ok(count) => break count,
                Err(_) => match io::Error::last_os_error() {
                    error if error.kind() == io::ErrorKind::Interrupted => {}
                    error if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                    error => return Err(error),
                },
            }
        };
        Ok(self.received)
    }

    /// The octets of a datagram of the last [`Incoming::receive`].
    ///
    /// # Panics
    /// When it did not fill the slot.
    #[inline]
    pub fn datagram(&self, slot: usize) -> &[u8] {
        assert!(slot < self.received, "the slot holds a datagram of the last receive");
        // SAFETY: `slot` is below BATCH; the borrow of `self` keeps the memory alive and the kernel away.
        unsafe {
            let m = self.memory.as_ptr();
            let octets: &[u8; RECEIVED_STRIDE] = &*addr_of!((*m).octets[slot]);
            &octets[..((*m).headers[slot].msg_len as usize).min(RECEIVED_OCTETS_MAX)]
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // SAFETY: the memory came from `allocate`, which says how it is freed, and is freed once, here.
        drop(unsafe { Box::from_raw(self.memory.as_ptr()) });
    }
}

/// Zeroed memory for a value of a plain type without destructor, from the global allocator and with the layout of `T`:
/// what `Box::from_raw` may free.
pub(super) fn allocate<T>() -> NonNull<T> {
    const { assert!(size_of::<T>() > 0 && !std::mem::needs_drop::<T>()) };
    let layout = Layout::new::<T>();
    // SAFETY: the layout is not zero-sized.
    let octets = unsafe { alloc_zeroed(layout) };
    NonNull::new(octets.cast::<T>()).unwrap_or_else(|| handle_alloc_error(layout))
}

#[cfg(test)]
mod tests;
