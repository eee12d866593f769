//! Which doors are open, and at which place: a file that names others opens and closes those, and touches no other.

use super::error::ReloadError;
use crate::serve::doors::{Doors, is_wildcard_over};
use crate::serve::open_doors::{DoorsWatch, OpenDoors};
use crate::serve::stream::Streams;
use crate::snapshot::DoorIndex;
use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the sockets of a door that is closed stay, for replies that are still to come: longer than any query of a
/// client waits.
const LINGER: Duration = Duration::from_secs(5);
/// How long closing a door waits for the workers to answer what has arrived there.
const LAST_ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// The doors of a process, by place.
pub(super) struct DoorPlaces {
    places: Vec<Option<Place>>,
    open: OpenDoors,
    workers: NonZeroUsize,
}

/// What is at a place.
struct Place {
    /// The address as the file says it.
    configured: SocketAddr,
    /// The same with a real port.
    address: SocketAddr,
    /// Since when nothing is received there.
    closed: Option<Instant>,
}

/// What becomes of the doors: those that are new are bound, and nobody has noticed yet.
pub(super) struct NextDoors {
    /// Where each door of the file is, in its order.
    pub(super) places: Vec<DoorIndex>,
    opened: Vec<Opened>,
    /// Doors that the file names no more.
    gone: Vec<DoorIndex>,
}

/// A door that is bound and not yet used.
struct Opened {
    door: DoorIndex,
    place: Place,
    /// None: those that are still there from before.
    udp: Option<Vec<Arc<UdpSocket>>>,
    tcp: TcpListener,
}

/// How many doors a file opened and closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DoorChanges {
    pub(super) opened: usize,
    pub(super) closed: usize,
}

impl DoorPlaces {
    /// The doors that a process starts with, at the first places.
    pub(super) fn new(
        configured: &[SocketAddr],
        addresses: &[SocketAddr],
        open: OpenDoors,
        workers: NonZeroUsize,
    ) -> Self {
        let place = |(configured, address): (&SocketAddr, &SocketAddr)| {
            Some(Place { configured: *configured, address: *address, closed: None })
        };
        Self { places: configured.iter().zip(addresses).map(place).collect(), open, workers }
    }

    /// The doors to be looked at.
    pub(super) fn watch(&self) -> DoorsWatch {
        self.open.watch()
    }

    /// Binds what these doors need beside those that are open. An error means that nothing has changed.
    pub(super) fn prepare(&self, wanted: &[SocketAddr]) -> Result<NextDoors, ReloadError> {
        let mut here = self.by_address();
        let mut free = (0..).map(DoorIndex).filter(|door| self.at(*door).is_none());
        let mut places = Vec::new();
        let (mut revived, mut new) = (Vec::new(), Vec::new());
        for &configured in wanted {
            let door = here.get_mut(&configured).and_then(Vec::pop).or_else(|| free.next());
            let Some(door) = door else { continue };
            places.push(door);
            match self.at(door) {
                Some(Place { closed: None, .. }) => {}
                Some(Place { closed: Some(_), address, .. }) => revived.push((door, configured, *address)),
                None => new.push((door, configured)),
            }
        }
        for (_, door) in &new {
            if self.places.iter().flatten().any(|place| is_wildcard_over(*door, place.address)) {
                return Err(ReloadError::WildcardDoor(*door));
            }
        }
        let mut opened = Vec::new();
        for (door, configured, address) in revived {
            let tcp = Doors::listen(address).map_err(|error| ReloadError::Doors(vec![error]))?;
            opened.push(Opened { door, place: Place { configured, address, closed: None }, udp: None, tcp });
        }
        let addresses: Vec<SocketAddr> = new.iter().map(|(_, configured)| *configured).collect();
        let doors = Doors::open(&addresses, self.workers).map_err(ReloadError::Doors)?;
        for ((((door, configured), udp), tcp), address) in
            new.into_iter().zip(doors.udp).zip(doors.tcp).zip(doors.addresses)
        {
            opened.push(Opened { door, place: Place { configured, address, closed: None }, udp: Some(udp), tcp });
        }
        // What is left of those that are here is named no more.
        let is_open = |door: &DoorIndex| self.at(*door).is_some_and(|place| place.closed.is_none());
        let gone = here.into_values().flatten().filter(is_open).collect();
        Ok(NextDoors { places, opened, gone })
    }

    /// Closes what is to be closed: what has arrived there is answered from what is still served.
    pub(super) fn close(&mut self, next: &NextDoors, streams: &mut Streams, drain: Duration) {
        for &door in &next.gone {
            if let Some(Some(place)) = self.places.get_mut(door.0 as usize) {
                place.closed = Some(Instant::now());
            }
            streams.close_door(door, drain);
        }
        if next.gone.is_empty() {
            return;
        }
        self.open.close(&next.gone);
        if !self.open.wait_until_taken_up(LAST_ANSWERS_WITHIN) {
            tracing::warn!("a UDP worker is slow to close a door: what it had not answered there is refused");
        }
    }

    /// Opens what is to be opened; what is served now knows it.
    pub(super) fn open(&mut self, next: NextDoors, streams: &mut Streams) -> DoorChanges {
        let changes = DoorChanges { opened: next.opened.len(), closed: next.gone.len() };
        let mut sockets = Vec::with_capacity(next.opened.len());
        for Opened { door, place, udp, tcp } in next.opened {
            let index = door.0 as usize;
            if self.places.len() <= index {
                self.places.resize_with(index + 1, || None);
            }
            let address = place.address;
            self.places[index] = Some(place);
            sockets.push((door, udp));
            if let Err(error) = streams.open_door(door, tcp) {
                tracing::error!(%address, %error, "the door is open over UDP only: the system refuses to watch its TCP side");
            }
        }
        if !sockets.is_empty() {
            self.open.open(sockets);
        }
        changes
    }

    /// Lets go of the sockets of doors that closed long enough ago; how many are left to go. A place is free for another
    /// door only when no worker receives there any more: one that the system refused what it takes to look at other doors
    /// would answer the old door's queries as the new one's.
    pub(super) fn sweep(&mut self, now: Instant) -> usize {
        let is_seen = self.open.is_taken_up();
        let (mut left, mut over) = (0, Vec::new());
        for (door, place) in (0..).map(DoorIndex).zip(&mut self.places) {
            let Some(closed) = place.as_ref().and_then(|place| place.closed) else { continue };
            if !is_seen || now.saturating_duration_since(closed) < LINGER {
                left += 1;
            } else {
                *place = None;
                over.push(door);
            }
        }
        if !over.is_empty() {
            self.open.forget(&over);
        }
        left
    }

    /// Wakes every UDP worker.
    pub(super) fn ring(&self) {
        self.open.ring();
    }

    /// The real address of a door that is open.
    pub(super) fn address(&self, door: DoorIndex) -> Option<SocketAddr> {
        self.at(door).map(|place| place.address)
    }

    fn at(&self, door: DoorIndex) -> Option<&Place> {
        self.places.get(door.0 as usize)?.as_ref()
    }

    /// Where the doors of each address of the file are; the last one is to be used first: one that is open before one that
    /// is closing, and those in front before those behind.
    fn by_address(&self) -> HashMap<SocketAddr, Vec<DoorIndex>> {
        let mut doors: HashMap<SocketAddr, Vec<DoorIndex>> = HashMap::new();
        for is_open in [false, true] {
            for (index, place) in self.places.iter().enumerate().rev() {
                if let Some(place) = place.as_ref().filter(|place| place.closed.is_none() == is_open) {
                    doors.entry(place.configured).or_default().push(DoorIndex(index as u32));
                }
            }
        }
        doors
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::stream::{StreamAnswer, StreamLimits};

    #[test]
    fn a_place_is_not_free_before_every_worker_has_left_it() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _entered = runtime.enter();
        let patience = Duration::from_secs(1);
        let limits = StreamLimits {
            connections: 1,
            connections_per_client: 1,
            connections_per_prefix: 1,
            idle: patience,
            write: patience,
        };
        let mut streams = Streams::start(Vec::new(), Arc::new(|_, _, _| StreamAnswer::Silent), limits).unwrap();
        let (workers, configured) = (NonZeroUsize::MIN, ["127.0.0.1:0".parse().unwrap()]);
        let Doors { udp, addresses, .. } = Doors::open(&configured, workers).unwrap();
        let open = OpenDoors::new(udp, workers.get()).unwrap();
        let mut places = DoorPlaces::new(&configured, &addresses, open.clone(), workers);
        let next = places.prepare(&[]).unwrap();
        // Nobody works there, so that the door is closed without its worker.
        places.close(&next, &mut streams, Duration::ZERO);
        assert_eq!(places.open(next, &mut streams), DoorChanges { opened: 0, closed: 1 });
        let later = Instant::now() + 2 * LINGER;
        assert_eq!(places.sweep(later), 1, "its worker still receives there");
        open.taken_up(0, open.version());
        assert_eq!(places.sweep(Instant::now()), 1, "replies may still leave there");
        assert_eq!(places.sweep(later), 0);
    }
}
