//! Messages that the kernel, or the network card, cuts into datagrams (`UDP_SEGMENT`, Linux 4.18).
#![expect(unsafe_code, reason = "std knows neither the option nor ancillary data: see udp/sys.rs")]

use std::io;
use std::mem::{offset_of, zeroed};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::ptr::addr_of_mut;

use libc::{c_int, c_uint, cmsghdr, socklen_t};

/// Octets of a message that is to be cut at most: below what either family's largest datagram holds.
pub(super) const MESSAGE_OCTETS_MAX: usize = 65_000;

/// The control message that says how long the datagrams are which a message is cut into.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct SegmentControl {
    /// A control message begins and ends at a multiple of a word; musl's header alone is content with less.
    _aligned: [usize; 0],
    header: cmsghdr,
    octets: u16,
}

// The data of a control message starts where `CMSG_DATA` looks for it, and the buffer holds it padded.
const _: () = {
    // SAFETY: arithmetic on lengths.
    let (start, room) = unsafe { (libc::CMSG_LEN(0), libc::CMSG_SPACE(size_of::<u16>() as c_uint)) };
    assert!(start as usize == offset_of!(SegmentControl, octets) && room as usize == size_of::<SegmentControl>());
};

impl SegmentControl {
    /// One for datagrams of so many octets; only the last of a message may have fewer.
    pub(super) fn new(octets: u16) -> Self {
        // SAFETY: all octets zero are a value of this plain type; CMSG_LEN is arithmetic on a length.
        let (mut control, octets_in_all): (Self, _) = unsafe { (zeroed(), libc::CMSG_LEN(size_of::<u16>() as c_uint)) };
        control.header.cmsg_len = octets_in_all as _;
        control.header.cmsg_level = libc::SOL_UDP;
        control.header.cmsg_type = libc::UDP_SEGMENT;
        control.octets = octets;
        control
    }
}

/// Whether the kernel knows of cutting: an older one would overlook the control message, and send all as one datagram.
pub(super) fn is_cut_by_kernel(socket: &UdpSocket) -> bool {
    let mut value: c_int = 0;
    let mut octets = size_of::<c_int>() as socklen_t;
    // SAFETY: the kernel writes at most `octets` octets to a live local, and how many to another.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            addr_of_mut!(value).cast(),
            addr_of_mut!(octets),
        )
    };
    result == 0
}

/// Whether the kernel does not cut this message: it is too old, or the way out cannot.
pub(super) fn is_refusal_to_cut(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE | libc::EOPNOTSUPP))
}
