//! The system calls of the UDP workers: whole batches in, whole batches out, and the socket options std lacks.
//!
//! JUSTIFICATION of `unsafe`, which stands in `udp/` only. std receives and sends one datagram a call, which costs 1.3
//! times the batched path at saturation. Of the safe wrappers, nix costs up to 1.5 % more and restores neither
//! `msg_namelen` nor `msg_controllen` between two calls of its `recvmmsg`, so that with `IP_PKTINFO` the address a
//! query was sent to vanishes from reused slots; quinn-udp switches on time stamps for the whole machine (3 %);
//! rustix has no `recvmmsg`. All three were measured or read in source beside this module.
//!
//! How the proof goes: a [`Batch`] owns one zeroed allocation, made once and reached only through one raw pointer.
//! The headers the kernel reads point into that same allocation, which neither moves nor is freed while the batch
//! lives. Every reference handed out borrows the batch, and both system calls take the batch by `&mut`, so that no
//! reference is alive while the kernel writes. Every octet is initialised from the start and every type in the
//! memory is plain data for which any octets are a value.
#![expect(
    unsafe_code,
    reason = "recvmmsg, sendmmsg and ancillary data have no safe wrapper that is correct and as fast"
)]

#[cfg(not(target_os = "linux"))]
compile_error!("plustwo's UDP workers use recvmmsg, sendmmsg, epoll and IP_PKTINFO as Linux has them");

use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::io;
use std::mem::{offset_of, size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr::{NonNull, addr_of, addr_of_mut, null_mut};

use super::replies::Replies;
use libc::{c_int, c_long, c_uint, c_void, cmsghdr, iovec, mmsghdr, msghdr, sockaddr_in, sockaddr_in6, socklen_t};

/// The most datagrams of one system call: 64 is where the measured cost per query levels out.
pub const BATCH: usize = 64;
/// Octets kept of one received datagram; a longer one is marked truncated.
pub const QUERY_OCTETS: usize = 2048;
/// Octets of one reply buffer: the 1232 of the largest UDP reply, rounded up.
pub const REPLY_OCTETS: usize = 1280;

/// How far threads of `work_in_background` step back (nice(2)): about a tenth of the share of others.
const BACKGROUND_NICE: c_int = 10;

/// Octets from which a block is one of `keep_large_blocks_apart`.
const LARGE_BLOCK_OCTETS: c_int = 256 * 1024;

/// Whether the socket reports, per datagram, the local address it was sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketInfo {
    /// Every door of this batch has one concrete address: replies leave from it by themselves.
    Absent,
    /// Some door is a wildcard: the address asked is received with the query and sent with the reply.
    PerDatagram,
}

/// What [`Batch::receive`] does when nothing has arrived yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Sleeps until a datagram is there, then takes what else is there at once (`MSG_WAITFORONE`).
    Block,
    /// Takes what is there, perhaps nothing (`MSG_DONTWAIT`).
    Poll,
}

/// One received datagram.
#[derive(Clone, Copy, Debug)]
pub struct Received<'b> {
    /// Its octets, at most [`QUERY_OCTETS`].
    pub octets: &'b [u8],
    /// Who sent it, as the kernel says it: an IPv4-mapped address stays one.
    pub client: SocketAddr,
    /// The local address it was sent to, where the socket tells ([`PacketInfo::PerDatagram`], wildcard door).
    pub local: Option<IpAddr>,
    /// Whether it was longer than [`QUERY_OCTETS`] and has lost its end.
    pub truncated: bool,
}

/// What became of the replies of one batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendReport {
    /// Replies the kernel took.
    pub sent: usize,
    /// Replies it did not take: filtered, no route, too large, no room in time.
    pub failed: usize,
}

/// 64 slots for queries and their replies, reused from call to call; allocates nothing after construction.
// Invariant: received <= BATCH; every reply_octets[i] <= REPLY_OCTETS; the headers of `memory` point into it.
pub struct Batch {
    memory: NonNull<Memory>,
    packet_info: PacketInfo,
    /// Slots that hold a datagram of the last receive; also those whose headers the kernel wrote over.
    received: usize,
    /// Octets of each slot's reply; 0 is none.
    reply_octets: [usize; BATCH],
    /// Those that leave with the next send.
    replies: Box<Replies>,
}

// SAFETY: the memory is owned by this value alone, and nothing in it belongs to a thread.
unsafe impl Send for Batch {}

impl Batch {
    /// Allocates the slots and points the headers at them.
    pub fn new(packet_info: PacketInfo) -> Self {
        let layout = Layout::new::<Memory>();
        // SAFETY: `Memory` is not zero-sized.
        let octets = unsafe { alloc_zeroed(layout) };
        let Some(memory) = NonNull::new(octets.cast::<Memory>()) else { handle_alloc_error(layout) };
        let mut batch = Self { memory, packet_info, received: 0, reply_octets: [0; BATCH], replies: Box::default() };
        let m = memory.as_ptr();
        for slot in 0..BATCH {
            // SAFETY: `m` is valid for reads and writes of a whole zeroed `Memory`, which is a value of that type,
            // and `slot` is below the length of each array; no reference into it exists yet.
            unsafe {
                (*m).received_parts[slot] =
                    iovec { iov_base: addr_of_mut!((*m).queries[slot]).cast(), iov_len: QUERY_OCTETS };
                let inward = addr_of_mut!((*m).receive[slot].msg_hdr);
                (*inward).msg_name = addr_of_mut!((*m).clients[slot]).cast();
                (*inward).msg_iov = addr_of_mut!((*m).received_parts[slot]);
                (*inward).msg_iovlen = 1;
                if packet_info == PacketInfo::PerDatagram {
                    (*inward).msg_control = addr_of_mut!((*m).received_controls[slot]).cast();
                }
            }
        }
        batch.refill(BATCH);
        batch
    }

    /// Takes what has arrived, at most [`BATCH`] datagrams; drops replies that were not sent.
    ///
    /// 0 means there is nothing: with [`Wait::Block`] that the socket was shut for receiving
    /// ([`shut_for_receiving`]) and its queue is empty, with [`Wait::Poll`] also that none has arrived.
    pub fn receive(&mut self, socket: &UdpSocket, wait: Wait) -> io::Result<usize> {
        self.refill(self.received);
        self.received = 0;
        let flags = match wait {
            Wait::Block => libc::MSG_WAITFORONE,
            Wait::Poll => libc::MSG_DONTWAIT,
        };
        let m = self.memory.as_ptr();
        let received = loop {
            // SAFETY: `receive` holds BATCH headers whose pointers lead to live, writable parts of `memory` of the
            // lengths they state; `&mut self` means that no reference into it is alive. A null time-out is none.
            let count = unsafe {
                libc::recvmmsg(
                    socket.as_raw_fd(),
                    addr_of_mut!((*m).receive).cast(),
                    BATCH as c_uint,
                    flags as _,
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
        self.received = received;
        // A socket that is shut for receiving yields one message without octets and without a sender; a datagram
        // without octets has a sender.
        // SAFETY: plain reads of the first header, which the call above wrote.
        let shut = received > 0 && unsafe { (*m).receive[0].msg_len == 0 && (*m).receive[0].msg_hdr.msg_namelen == 0 };
        Ok(if shut { 0 } else { received })
    }

    /// The datagram in this slot.
    ///
    /// # Panics
    /// When the last receive did not fill the slot.
    // Always: most callers want a part of it, and the rest is then not computed.
    #[inline(always)]
    pub fn datagram(&self, slot: usize) -> Received<'_> {
        assert!(slot < self.received, "the slot holds a datagram of the last receive");
        let m = self.memory.as_ptr();
        // SAFETY: `slot` is below BATCH; the borrow of `self` keeps the memory alive and keeps the kernel and all
        // writers of `queries`, `clients` and the headers away. The unions are plain data, initialised throughout.
        unsafe {
            let header = addr_of!((*m).receive[slot]);
            let octets = ((*header).msg_len as usize).min(QUERY_OCTETS);
            let query: &[u8; QUERY_OCTETS] = &*addr_of!((*m).queries[slot]);
            Received {
                octets: &query[..octets],
                client: address_of(&*addr_of!((*m).clients[slot])),
                local: if (*header).msg_hdr.msg_controllen != 0 {
                    local_of(&*addr_of!((*m).received_controls[slot]))
                } else {
                    None
                },
                truncated: (*header).msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            }
        }
    }

    /// The datagram in this slot and the buffer for its reply; [`Batch::set_reply`] says how much of that counts.
    ///
    /// # Panics
    /// When the last receive did not fill the slot.
    #[inline]
    pub fn exchange(&mut self, slot: usize) -> (Received<'_>, &mut [u8; REPLY_OCTETS]) {
        assert!(slot < self.received, "the slot holds a datagram of the last receive");
        // SAFETY: `slot` is below BATCH. This is the only reference to the reply buffer, for as long as it borrows
        // `self`, and it overlaps nothing that `datagram` refers to.
        let reply = unsafe { &mut *addr_of_mut!((*self.memory.as_ptr()).replies[slot]) };
        (self.datagram(slot), reply)
    }

    /// Says how many octets of the slot's reply buffer are to be sent; 0 sends nothing.
    ///
    /// # Panics
    /// When the last receive did not fill the slot, or the reply is longer than its buffer.
    #[inline]
    pub fn set_reply(&mut self, slot: usize, octets: usize) {
        assert!(slot < self.received && octets <= REPLY_OCTETS, "a reply fits its buffer");
        self.reply_octets[slot] = octets;
    }

    /// Sends the replies that were set, each to the sender of its query and from the address that was asked.
    ///
    /// A reply the kernel refuses is counted and passed over. While the socket's buffer is full this waits, at
    /// most [`SEND_WAITS_MAX`] times [`SEND_WAIT_MILLISECONDS`]; what has no room then is counted as failed.
    pub fn send(&mut self, socket: &UdpSocket) -> SendReport {
        self.collect_replies();
        // SAFETY: what was just added leads to live parts of `memory`, and `&mut self` means that no reference into it
        // is alive.
        unsafe { self.replies.send(socket) }
    }

    /// Restores what the kernel overwrote in the headers of the first slots, and forgets their replies.
    fn refill(&mut self, slots: usize) {
        let control = match self.packet_info {
            PacketInfo::Absent => 0,
            PacketInfo::PerDatagram => size_of::<Control>(),
        };
        let m = self.memory.as_ptr();
        for slot in 0..slots.min(BATCH) {
            // SAFETY: `slot` is below BATCH and `&mut self` means that no reference into the memory is alive. The
            // lengths are those of the parts the pointers lead to.
            unsafe {
                let header = addr_of_mut!((*m).receive[slot].msg_hdr);
                (*header).msg_namelen = size_of::<Address>() as socklen_t;
                (*header).msg_controllen = control as _;
            }
            self.reply_octets[slot] = 0;
        }
    }

    /// Adds what each slot has as its reply to those that leave, and forgets it.
    fn collect_replies(&mut self) {
        let m = self.memory.as_ptr();
        self.replies.clear();
        for slot in 0..self.received {
            let octets = std::mem::take(&mut self.reply_octets[slot]);
            if octets == 0 {
                continue;
            }
            // SAFETY: `slot` is below BATCH; `&mut self` means that no reference into the memory is alive. The name has
            // the length the kernel gave with the query, at most that of `Address`; the reply's length is within its
            // buffer (`set_reply`). Both stay as they are until `send` has sent them.
            unsafe {
                let query = addr_of!((*m).receive[slot].msg_hdr);
                let received = addr_of!((*m).received_controls[slot]);
                let from = match (*query).msg_controllen {
                    0 => None,
                    _ => local_of(&*received).map(|local| (local, interface_of(&*received))),
                };
                let reply = NonNull::new_unchecked(addr_of_mut!((*m).replies[slot])).cast();
                let client = NonNull::new_unchecked(addr_of_mut!((*m).clients[slot]));
                let client_octets = (*query).msg_namelen.min(size_of::<Address>() as socklen_t);
                self.replies.add((reply, octets as u16), (client, client_octets), from);
            }
        }
    }

    /// Makes the slot's datagram one of another sender.
    #[cfg(test)]
    fn forge_client(&mut self, slot: usize, client: SocketAddr) {
        // SAFETY: the index is checked; `&mut self` means that no reference into the memory is alive.
        unsafe { (*self.memory.as_ptr()).clients[slot] = encode_address(client).0 };
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        // SAFETY: the memory came from the global allocator with this layout, which is what `Box` frees with, and
        // is freed once, here. Its type needs no drop.
        drop(unsafe { Box::from_raw(self.memory.as_ptr()) });
    }
}

/// Sends one reply outside a batch, from `local` where that is given; does not wait for room.
pub fn send_one(socket: &UdpSocket, client: SocketAddr, local: Option<IpAddr>, octets: &[u8]) -> io::Result<()> {
    let (mut name, name_octets) = encode_address(client);
    // SAFETY: all octets zero are a value of these two plain types.
    let (mut control, mut header): (Control, msghdr) = unsafe { (zeroed(), zeroed()) };
    let mut part = iovec { iov_base: octets.as_ptr().cast_mut().cast(), iov_len: octets.len() };
    header.msg_name = addr_of_mut!(name).cast();
    header.msg_namelen = name_octets;
    header.msg_iov = addr_of_mut!(part);
    header.msg_iovlen = 1;
    if let Some(local) = local {
        header.msg_controllen = reply_control(&mut control, local, 0) as _;
        header.msg_control = addr_of_mut!(control).cast();
    }
    loop {
        // SAFETY: the header leads to locals of this function and to `octets`, all alive, of the lengths it states;
        // sendmsg only reads them.
        let sent =
            unsafe { libc::sendmsg(socket.as_raw_fd(), addr_of!(header), libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
        if sent >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Sends messages with one system call, as sendmmsg(2) says: how many, or −1 and the reason in `errno`. The call itself,
/// because the function of that name in musl makes one call a message.
///
/// # Safety
///
/// `messages` leads to as many headers, and these to parts and controls of the lengths they state, all alive. The kernel
/// reads them, and writes each header's `msg_len`.
#[inline]
pub(super) unsafe fn sendmmsg(socket: &UdpSocket, messages: *mut mmsghdr, count: usize) -> c_long {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the caller's promise is what the call asks for.
    unsafe { libc::syscall(libc::SYS_sendmmsg, socket.as_raw_fd(), messages, count as c_uint, flags) }
}

/// Has the kernel drop what arrives at a door's socket from now on: what is queued by then has an end.
///
/// [`shut_for_receiving`] does not do that: datagrams are queued at a socket that is shut, too.
pub fn refuse_arrivals(socket: &UdpSocket) -> io::Result<()> {
    // One instruction: of each datagram, keep no octet.
    let keep_nothing = libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: 0 };
    let filter = libc::sock_fprog { len: 1, filter: addr_of!(keep_nothing).cast_mut() };
    let octets = size_of::<libc::sock_fprog>() as socklen_t;
    // SAFETY: the kernel reads `octets` octets of a live local, and the one instruction that it leads to.
    outcome(unsafe {
        let filter = addr_of!(filter).cast::<c_void>();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, filter, octets)
    })
}

/// Shuts a door's socket for receiving and wakes the thread that sleeps in [`Batch::receive`] or [`super::events::Events::wait`].
///
/// Datagrams that are queued already are still received; sending goes on. The kernel answers ENOTCONN for a socket
/// without a peer and wakes its sleepers all the same (`inet_shutdown` says so in its own comment).
pub fn shut_for_receiving(socket: &UdpSocket) -> io::Result<()> {
    // SAFETY: a call without pointers on a descriptor that is open.
    match outcome(unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_RD) }) {
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        result => result,
    }
}

/// Datagrams that the kernel dropped at this socket because its receive buffer was full, or memory scarce. The number
/// begins anew after 2^32.
pub fn receive_drops(socket: &impl AsRawFd) -> io::Result<u32> {
    let mut figures = [0u32; MEMINFO_FIGURES];
    let mut octets = size_of_val(&figures) as socklen_t;
    // SAFETY: the kernel writes `octets` octets at most, which is what the live local has, and reads and writes the length.
    let result = unsafe {
        let figures = addr_of_mut!(figures).cast::<c_void>();
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_MEMINFO, figures, addr_of_mut!(octets))
    };
    outcome(result).map(|()| figures[MEMINFO_DROPS])
}

/// What `SO_MEMINFO` tells of a socket: so many numbers, of which this is the one of drops (linux/sock_diag.h).
const MEMINFO_FIGURES: usize = 9;
const MEMINFO_DROPS: usize = 8;

/// Whether there is something to take from this socket now: a datagram, or a connection at a listener.
pub fn is_readable(socket: &impl AsRawFd) -> bool {
    let mut wanted = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one live local that poll reads and writes.
    unsafe { libc::poll(&mut wanted, 1, 0) == 1 }
}

/// Keeps large blocks apart from small ones from now on, so that each goes back to the system when it is freed.
///
/// It stands here because it is a foreign call. glibc else raises the bound with every large block that is freed, up to
/// 32 MiB: then the columns of the next configuration lie among small blocks that stay. With 1M records, after some
/// reloads, that was a third more memory; and a sixth more at most.
pub fn keep_large_blocks_apart() {
    #[cfg(target_env = "gnu")]
    // SAFETY: `mallopt` takes numbers and sets one of the allocator's, under its lock.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BLOCK_OCTETS);
    }
}

/// Gives memory that is free back to the system, after something large has been dropped.
///
/// It stands here because it is a foreign call. Without it the heap of a configuration with 1M records stays at
/// 193 MiB once its model is gone; with it, at what the snapshot takes.
pub fn give_back_free_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: `malloc_trim` only touches the allocator's own free chunks, under its locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Lets other threads of this process go before the calling one, and before those that it makes from now on, wherever both
/// want a core.
///
/// Reading a million records takes a second of a core. A worker that is woken meanwhile must not wait for it: its share
/// is ten times as large, and it gets the core at once.
pub fn work_in_background() {
    // SAFETY: no memory is involved. Linux keeps the value for each thread; lowering one's own is always allowed.
    unsafe { libc::nice(BACKGROUND_NICE) };
}

/// Raises the number of open files of this process as far as the system lets it; how many there may be.
pub fn raise_open_files() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: one live local that the call writes.
    outcome(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    let raised = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
    // SAFETY: one live local that the call reads. A unit that filters the call keeps what it set.
    match outcome(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) }) {
        Ok(()) => Ok(limit.rlim_max),
        Err(_) => Ok(limit.rlim_cur),
    }
}

/// Takes the lock of an open file or folder, if nobody else has it (flock(2)); whether it is ours then, until the last
/// descriptor of it is closed.
pub fn try_lock(file: &impl AsRawFd) -> io::Result<bool> {
    // SAFETY: a call without pointers on a descriptor that is open.
    match outcome(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        result => result.map(|()| true),
    }
}

/// The user as whom this process acts, by number.
pub fn effective_user() -> u32 {
    // SAFETY: it takes nothing, touches no memory and always succeeds.
    unsafe { libc::geteuid() }
}

/// Whether something keeps the machine's clock right (adjtimex(2)). Changes nothing.
///
/// It stands here because it is a foreign call.
pub fn is_clock_synchronized() -> io::Result<bool> {
    // SAFETY: the structure is plain numbers, for which zeros are a value; with no mode set the kernel only writes it.
    let state = unsafe {
        let mut clock: libc::timex = zeroed();
        libc::adjtimex(&mut clock)
    };
    outcome(if state < 0 { -1 } else { 0 }).map(|()| state != libc::TIME_ERROR)
}

/// Sets don't-fragment and ignores what strangers say of the path (`IP_PMTUDISC_PROBE`): replies stay at 1232 octets and
/// queries far below, nothing spoofed sticks, and no fragment identifier has to be made (4–5 % of a query).
pub fn probe_path_mtu(socket: &impl AsRawFd, family: Family) -> io::Result<()> {
    match family {
        Family::Ipv4 => set_option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE),
        Family::Ipv6 => set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE),
    }
}

/// Gives a socket room for bursts, in octets: beyond `net.core.rmem_max` where this process may (`CAP_NET_ADMIN`), else up
/// to it. A smaller buffer only tolerates smaller bursts, so a refusal changes nothing.
pub fn set_receive_buffer(socket: &impl AsRawFd, octets: usize) {
    let octets = c_int::try_from(octets).unwrap_or(c_int::MAX);
    if set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, octets).is_err() {
        let _ = set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, octets);
    }
}

/// Asks for the local address of every datagram; wildcard doors only, for it costs 3–4 % of a query.
pub fn receive_packet_info(socket: &impl AsRawFd, family: Family) -> io::Result<()> {
    match family {
        Family::Ipv4 => set_option(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1),
        Family::Ipv6 => set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1),
    }
}

/// The address family of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `AF_INET`.
    Ipv4,
    /// `AF_INET6`.
    Ipv6,
}

/// How long one wait for room in a full socket buffer lasts, in milliseconds.
pub const SEND_WAIT_MILLISECONDS: u16 = 5;
/// How often one batch waits for room before it gives up its remaining replies.
pub const SEND_WAITS_MAX: u32 = 4;

/// All that the kernel reads and writes for a batch.
#[repr(C)]
struct Memory {
    queries: [[u8; QUERY_OCTETS]; BATCH],
    replies: [[u8; REPLY_OCTETS]; BATCH],
    clients: [Address; BATCH],
    received_controls: [Control; BATCH],
    received_parts: [iovec; BATCH],
    receive: [mmsghdr; BATCH],
}

/// A socket address of either family as the kernel has it.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) union Address {
    family: libc::sa_family_t,
    v4: sockaddr_in,
    v6: sockaddr_in6,
}

/// One control message with packet information of either family.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) union Control {
    /// A control message begins and ends at a multiple of a word; musl's header alone is content with less.
    _aligned: [usize; 0],
    header: cmsghdr,
    v4: Control4,
    v6: Control6,
}

/// `IP_PKTINFO` with its header.
#[repr(C)]
#[derive(Clone, Copy)]
struct Control4 {
    header: cmsghdr,
    info: libc::in_pktinfo,
}

/// `IPV6_PKTINFO` with its header.
#[repr(C)]
#[derive(Clone, Copy)]
struct Control6 {
    header: cmsghdr,
    info: libc::in6_pktinfo,
}

// The data of a control message starts where `CMSG_DATA` looks for it, and the buffer holds the larger kind padded.
const _: () = {
    // SAFETY: arithmetic on lengths.
    let (start, room) = unsafe { (libc::CMSG_LEN(0), libc::CMSG_SPACE(size_of::<libc::in6_pktinfo>() as c_uint)) };
    assert!(offset_of!(Control4, info) == start as usize);
    assert!(offset_of!(Control6, info) == start as usize);
    assert!(size_of::<Control>() == room as usize);
    assert!(offset_of!(sockaddr_in, sin_family) == offset_of!(sockaddr_in6, sin6_family));
};

/// The address in the form of std; one of no known family is 0.0.0.0:0, to which nothing can be sent.
#[inline]
fn address_of(address: &Address) -> SocketAddr {
    // SAFETY: the union is plain data, initialised throughout; the family says which view of it the kernel wrote.
    unsafe {
        match c_int::from(address.family) {
            libc::AF_INET => {
                let ip = Ipv4Addr::from(address.v4.sin_addr.s_addr.to_ne_bytes());
                SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(address.v4.sin_port)))
            }
            libc::AF_INET6 => {
                let v6 = &address.v6;
                let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                let (port, flow) = (u16::from_be(v6.sin6_port), u32::from_be(v6.sin6_flowinfo));
                SocketAddr::V6(SocketAddrV6::new(ip, port, flow, v6.sin6_scope_id))
            }
            _ => SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)),
        }
    }
}

/// The address in the form of the kernel, and its length.
pub(super) fn encode_address(address: SocketAddr) -> (Address, socklen_t) {
    // SAFETY: all octets zero are a value of these plain types.
    let mut encoded: Address = unsafe { zeroed() };
    match address {
        SocketAddr::V4(address) => {
            // SAFETY: as above.
            let mut v4: sockaddr_in = unsafe { zeroed() };
            v4.sin_family = libc::AF_INET as _;
            v4.sin_port = address.port().to_be();
            v4.sin_addr.s_addr = u32::from_ne_bytes(address.ip().octets());
            encoded.v4 = v4;
            (encoded, size_of::<sockaddr_in>() as socklen_t)
        }
        SocketAddr::V6(address) => {
            // SAFETY: as above.
            let mut v6: sockaddr_in6 = unsafe { zeroed() };
            v6.sin6_family = libc::AF_INET6 as _;
            v6.sin6_port = address.port().to_be();
            v6.sin6_flowinfo = address.flowinfo().to_be();
            v6.sin6_addr.s6_addr = address.ip().octets();
            v6.sin6_scope_id = address.scope_id();
            encoded.v6 = v6;
            (encoded, size_of::<sockaddr_in6>() as socklen_t)
        }
    }
}

/// The local address that received packet information names; none for a group, which no reply can come from.
#[inline]
fn local_of(control: &Control) -> Option<IpAddr> {
    // SAFETY: the union is plain data, initialised throughout; level and type say which view the kernel wrote.
    let address = unsafe {
        match (control.header.cmsg_level, control.header.cmsg_type) {
            // `ipi_spec_dst` is the address asked, or the interface's own where that was a broadcast address.
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                IpAddr::V4(Ipv4Addr::from(control.v4.info.ipi_spec_dst.s_addr.to_ne_bytes()))
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => IpAddr::V6(Ipv6Addr::from(control.v6.info.ipi6_addr.s6_addr)),
            _ => return None,
        }
    };
    (!address.is_multicast() && !address.is_unspecified()).then_some(address)
}

/// The interface a reply must name: the one a link-local address was asked on; 0 leaves it to the routes.
#[inline]
fn interface_of(control: &Control) -> c_uint {
    // SAFETY: as in `local_of`.
    unsafe {
        if control.header.cmsg_level != libc::IPPROTO_IPV6 {
            return 0;
        }
        let info = &control.v6.info;
        if Ipv6Addr::from(info.ipi6_addr.s6_addr).is_unicast_link_local() { info.ipi6_ifindex as c_uint } else { 0 }
    }
}

/// Writes the control message that makes a reply leave from `local`, and returns its length.
pub(super) fn reply_control(control: &mut Control, local: IpAddr, interface: c_uint) -> usize {
    // SAFETY: writes to views of a plain union that is initialised throughout; CMSG_LEN is arithmetic on a length.
    unsafe {
        match local {
            IpAddr::V4(local) => {
                let octets = libc::CMSG_LEN(size_of::<libc::in_pktinfo>() as c_uint) as usize;
                control.v4.header.cmsg_len = octets as _;
                control.v4.header.cmsg_level = libc::IPPROTO_IP;
                control.v4.header.cmsg_type = libc::IP_PKTINFO;
                control.v4.info.ipi_ifindex = 0;
                control.v4.info.ipi_spec_dst.s_addr = u32::from_ne_bytes(local.octets());
                control.v4.info.ipi_addr.s_addr = 0;
                octets
            }
            IpAddr::V6(local) => {
                let octets = libc::CMSG_LEN(size_of::<libc::in6_pktinfo>() as c_uint) as usize;
                control.v6.header.cmsg_len = octets as _;
                control.v6.header.cmsg_level = libc::IPPROTO_IPV6;
                control.v6.header.cmsg_type = libc::IPV6_PKTINFO;
                control.v6.info.ipi6_addr.s6_addr = local.octets();
                control.v6.info.ipi6_ifindex = interface as _;
                octets
            }
        }
    }
}

/// Waits a little for room in the socket's send buffer; says whether there is some.
pub(super) fn wait_for_room(socket: &UdpSocket) -> bool {
    let mut wanted = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: one live local that poll reads and writes.
    unsafe { libc::poll(&mut wanted, 1, c_int::from(SEND_WAIT_MILLISECONDS)) == 1 }
}

/// Sets one whole-number socket option.
fn set_option(socket: &impl AsRawFd, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    let octets = size_of::<c_int>() as socklen_t;
    // SAFETY: the kernel reads `octets` octets of a live local.
    outcome(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, addr_of!(value).cast::<c_void>(), octets) })
}

/// The error that a system call left behind, if it failed.
pub(super) fn outcome(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
