//! The doors that are open, by place: they come and go while the others go on answering.
//!
//! There is one writer, who owns the doors. UDP workers compare a number with every batch, and look at the table where it
//! has changed; lanes look at it where they send.

use crate::snapshot::DoorIndex;
use crate::udp::events::Bell;
use crate::udp::sys::receive_drops;
use arc_swap::{ArcSwap, Cache};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Where the datagram sockets of all doors stand.
#[derive(Clone)]
pub struct OpenDoors(Arc<Shared>);

struct Shared {
    table: Arc<ArcSwap<DoorTable>>,
    /// Raised by every change.
    version: AtomicU64,
    /// One a worker: rung with every change.
    bells: Box<[Bell]>,
    /// The version that each worker has taken up.
    taken_up: Mutex<Box<[u64]>>,
    news: Condvar,
}

/// What looks at the sockets of doors, and keeps none of them open.
#[derive(Clone)]
pub struct DoorsWatch(Weak<Shared>);

impl DoorsWatch {
    /// The datagram sockets of a door, one a worker; none where it is not open.
    pub fn sockets(&self, door: DoorIndex) -> Option<Arc<[Arc<UdpSocket>]>> {
        let table = self.0.upgrade()?.table.load_full();
        Some(Arc::clone(&table.0.get(door.0 as usize)?.as_ref()?.sockets))
    }
}

impl DoorsWatch {
    /// The doors that receive; none when they are all gone.
    pub fn receiving(&self) -> Vec<ReceivingDoor> {
        let Some(shared) = self.0.upgrade() else { return Vec::new() };
        let table = shared.table.load();
        let receiving = table.0.iter().flatten().filter(|door| door.receives);
        let known = |door: &OpenDoor| {
            let address = door.sockets.first()?.local_addr().ok()?;
            Some(ReceivingDoor { address, sockets: Arc::clone(&door.sockets) })
        };
        receiving.filter_map(known).collect()
    }

    /// Wakes every UDP worker: one that is well has made a turn a moment later, or half a second later if it has one door.
    pub fn wake_workers(&self) {
        if let Some(shared) = self.0.upgrade() {
            shared.bells.iter().for_each(Bell::ring);
        }
    }
}

/// A door that receives.
pub struct ReceivingDoor {
    /// Where it is.
    pub address: SocketAddr,
    sockets: Arc<[Arc<UdpSocket>]>,
}

impl ReceivingDoor {
    /// Datagrams that the kernel has dropped there so far; 0 where it does not tell.
    pub fn kernel_drops(&self) -> u64 {
        self.sockets.iter().map(|socket| u64::from(receive_drops(&**socket).unwrap_or(0))).sum()
    }
}

/// The doors by their places.
#[derive(Clone, Default)]
pub struct DoorTable(Vec<Option<OpenDoor>>);

/// The datagram side of a door.
#[derive(Clone)]
struct OpenDoor {
    /// One socket for each worker.
    sockets: Arc<[Arc<UdpSocket>]>,
    /// Whether anything is received there; replies may leave in any case.
    receives: bool,
}

impl DoorTable {
    /// A worker's socket of every door that receives, by place.
    pub(super) fn receiving(&self, worker: usize) -> Vec<Option<Arc<UdpSocket>>> {
        let socket = |door: &OpenDoor| door.receives.then(|| Arc::clone(&door.sockets[worker]));
        self.0.iter().map(|door| door.as_ref().and_then(socket)).collect()
    }

    /// A socket that the replies of a lane may leave by; none where the door is gone.
    pub(super) fn leaving(&self, door: DoorIndex, lane: usize) -> Option<&Arc<UdpSocket>> {
        let sockets = &self.0.get(door.0 as usize)?.as_ref()?.sockets;
        sockets.get(lane % sockets.len())
    }
}

impl OpenDoors {
    /// These doors at the first places; `sockets[d][w]` is worker `w`'s socket of door `d`.
    pub fn new(sockets: Vec<Vec<Arc<UdpSocket>>>, workers: usize) -> io::Result<Self> {
        let door = |sockets: Vec<Arc<UdpSocket>>| Some(OpenDoor { sockets: sockets.into(), receives: true });
        Ok(Self(Arc::new(Shared {
            table: Arc::new(ArcSwap::from_pointee(DoorTable(sockets.into_iter().map(door).collect()))),
            version: AtomicU64::new(1),
            bells: (0..workers).map(|_| Bell::new()).collect::<io::Result<_>>()?,
            taken_up: Mutex::new(vec![0; workers].into()),
            news: Condvar::new(),
        })))
    }

    /// Receives at these doors too: those that come with the sockets of all workers, at a place where no door is, and those
    /// that are here and received nothing.
    pub fn open(&self, doors: Vec<(DoorIndex, Option<Vec<Arc<UdpSocket>>>)>) {
        self.change(|table| {
            for (door, sockets) in doors {
                let place = door.0 as usize;
                if table.0.len() <= place {
                    table.0.resize(place + 1, None);
                }
                match (sockets, &mut table.0[place]) {
                    (Some(sockets), place) => *place = Some(OpenDoor { sockets: sockets.into(), receives: true }),
                    (None, Some(door)) => door.receives = true,
                    (None, None) => {}
                }
            }
        });
    }

    /// Receives nothing more at these doors: what has arrived there is answered, and replies leave by them as before.
    pub fn close(&self, doors: &[DoorIndex]) {
        self.change(|table| {
            for door in doors {
                if let Some(Some(door)) = table.0.get_mut(door.0 as usize) {
                    door.receives = false;
                }
            }
        });
    }

    /// Lets go of the sockets of doors that receive nothing.
    pub fn forget(&self, doors: &[DoorIndex]) {
        self.change(|table| {
            for door in doors {
                if let Some(door) = table.0.get_mut(door.0 as usize) {
                    *door = None;
                }
            }
        });
    }

    /// Waits until every worker has taken up the last change, but no longer than this; whether they have.
    pub fn wait_until_taken_up(&self, within: Duration) -> bool {
        let version = self.version();
        let until = Instant::now() + within;
        let mut taken_up = self.0.taken_up.lock().unwrap_or_else(PoisonError::into_inner);
        while taken_up.iter().any(|taken_up| *taken_up < version) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            taken_up = self.0.news.wait_timeout(taken_up, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Whether every worker has taken up the last change.
    pub fn is_taken_up(&self) -> bool {
        self.wait_until_taken_up(Duration::ZERO)
    }

    /// What looks at the sockets.
    pub fn watch(&self) -> DoorsWatch {
        DoorsWatch(Arc::downgrade(&self.0))
    }

    /// Wakes every worker that waits for its bell.
    pub fn ring(&self) {
        self.0.bells.iter().for_each(Bell::ring);
    }

    /// A worker's bell.
    pub(super) fn bell(&self, worker: usize) -> &Bell {
        &self.0.bells[worker]
    }

    /// The number of the last change.
    #[inline]
    pub fn version(&self) -> u64 {
        self.0.version.load(Ordering::Acquire)
    }

    /// The doors as they are.
    pub(super) fn table(&self) -> Arc<DoorTable> {
        self.0.table.load_full()
    }

    /// The doors for a thread that looks often.
    pub(super) fn reader(&self) -> Cache<Arc<ArcSwap<DoorTable>>, Arc<DoorTable>> {
        Cache::new(Arc::clone(&self.0.table))
    }

    /// Says that a worker has taken up a change.
    pub fn taken_up(&self, worker: usize, version: u64) {
        self.0.taken_up.lock().unwrap_or_else(PoisonError::into_inner)[worker] = version;
        self.0.news.notify_all();
    }

    /// Changes the table and tells the workers.
    fn change(&self, change: impl FnOnce(&mut DoorTable)) {
        let mut table = DoorTable::clone(&self.table());
        change(&mut table);
        self.0.table.store(Arc::new(table));
        self.0.version.fetch_add(1, Ordering::Release);
        self.ring();
    }
}
