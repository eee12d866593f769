//! Longest-prefix maps over client addresses.
//!
//! Prefixes are flattened into intervals that do not overlap, so that a lookup is one search for the last start that
//! is not above the address. With many IPv4 intervals an index by the upper 16 bits narrows the search first.

use ipnet::IpNet;
use std::net::IpAddr;

/// Values by address prefix; the longest prefix that holds an address counts.
#[derive(Clone, Debug)]
pub struct PrefixMap<V> {
    v4: Intervals<u32, V>,
    v6: Intervals<u128, V>,
    /// For each upper half of an IPv4 address, where its starts begin in `v4`; empty where `v4` is short.
    v4_index: Box<[u32]>,
}

/// IPv4 intervals from which on the index pays.
const INDEXED_INTERVALS_MIN: usize = 64;

impl<V: Copy + PartialEq> PrefixMap<V> {
    /// Builds the map. Of two equal prefixes the later one counts; `config` allows them only where that is harmless.
    pub fn new(prefixes: impl IntoIterator<Item = (IpNet, V)>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (prefix, value) in prefixes {
            match prefix.trunc() {
                IpNet::V4(net) => v4.push((u32::from(net.network()), u32::from(net.broadcast()), value)),
                IpNet::V6(net) => v6.push((u128::from(net.network()), u128::from(net.broadcast()), value)),
            }
        }
        let v4 = Intervals::flatten(v4);
        let v4_index = if v4.starts.len() < INDEXED_INTERVALS_MIN { Box::default() } else { index(&v4.starts) };
        Self { v4, v6: Intervals::flatten(v6), v4_index }
    }

    /// The value of the longest prefix that holds the address.
    #[inline]
    pub fn get(&self, address: IpAddr) -> Option<V> {
        match address {
            IpAddr::V4(address) => {
                let address = u32::from(address);
                let upper = (address >> 16) as usize;
                let (low, high) = match self.v4_index.get(upper..upper + 2) {
                    Some(&[low, high]) => (low as usize, high as usize),
                    _ => (0, self.v4.starts.len()),
                };
                self.v4.get_between(address, low, high)
            }
            IpAddr::V6(address) => self.v6.get_between(u128::from(address), 0, self.v6.starts.len()),
        }
    }
}

/// Where the starts of each upper half begin: 65,537 places.
fn index(starts: &[u32]) -> Box<[u32]> {
    let mut index = vec![0u32; (1 << 16) + 1];
    for &start in starts {
        index[(start >> 16) as usize + 1] += 1;
    }
    for at in 1..index.len() {
        index[at] += index[at - 1];
    }
    index.into()
}

/// Intervals that do not overlap: each runs from its start to the next one's.
// Invariant: starts are strictly rising; as many values as starts.
#[derive(Clone, Debug)]
struct Intervals<A, V> {
    starts: Box<[A]>,
    values: Box<[Option<V>]>,
}

/// An unsigned number that addresses are compared as.
trait Address: Copy + Ord {
    /// The address after this one; none after the last.
    fn next(self) -> Option<Self>;
}

impl Address for u32 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Address for u128 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl<A: Address, V: Copy + PartialEq> Intervals<A, V> {
    /// Flattens nested prefixes (first, last, value): inside a longer one its value counts, after it the outer one's.
    fn flatten(mut prefixes: Vec<(A, A, V)>) -> Self {
        prefixes.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
        let mut boundaries: Vec<(A, Option<V>)> = Vec::with_capacity(prefixes.len() * 2);
        let mut open: Vec<(A, V)> = Vec::new();
        let close_until = |open: &mut Vec<(A, V)>, boundaries: &mut Vec<(A, Option<V>)>, before: Option<A>| {
            while let Some(&(last, _)) = open.last() {
                if before.is_some_and(|start| last >= start) {
                    break;
                }
                open.pop();
                if let Some(next) = last.next() {
                    boundaries.push((next, open.last().map(|&(_, value)| value)));
                }
            }
        };
        for (first, last, value) in prefixes {
            close_until(&mut open, &mut boundaries, Some(first));
            boundaries.push((first, Some(value)));
            open.push((last, value));
        }
        close_until(&mut open, &mut boundaries, None);
        // Of several boundaries at one address the last one said is the innermost.
        let (mut starts, mut values): (Vec<A>, Vec<Option<V>>) = (Vec::new(), Vec::new());
        for (start, value) in boundaries {
            if starts.last() == Some(&start) {
                starts.pop();
                values.pop();
            }
            if values.last().copied().flatten() != value {
                starts.push(start);
                values.push(value);
            }
        }
        Self { starts: starts.into(), values: values.into() }
    }

    /// Searches among the starts `low..high`; the one before `low` may still reach in.
    #[inline]
    fn get_between(&self, address: A, low: usize, high: usize) -> Option<V> {
        let after = low + self.starts[low..high].partition_point(|start| *start <= address);
        after.checked_sub(1).and_then(|at| self.values[at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the map must say, the slow way.
    fn longest(prefixes: &[(IpNet, u16)], address: IpAddr) -> Option<u16> {
        let holding = prefixes.iter().rev().filter(|(net, _)| net.contains(&address));
        holding.max_by_key(|(net, _)| net.prefix_len()).map(|&(_, value)| value)
    }

    proptest! {
        #[test]
        fn equals_the_slow_way(
            nets in prop::collection::vec((any::<u32>(), 0u8..=32, any::<u16>()), 0..200),
            asked in prop::collection::vec(any::<u32>(), 0..50),
        ) {
            let mut seen = std::collections::HashSet::new();
            let prefixes: Vec<(IpNet, u16)> = nets
                .into_iter()
                .map(|(bits, length, value)| {
                    (ipnet::Ipv4Net::new((bits & 0x0f0f_ff0f).into(), length).expect("at most 32").trunc().into(), value)
                })
                .filter(|(net, _): &(IpNet, u16)| seen.insert(*net))
                .collect();
            let map = PrefixMap::new(prefixes.iter().copied());
            let edges = prefixes.iter().flat_map(|(net, _)| [net.network(), net.broadcast()]);
            for address in asked.into_iter().map(|bits| IpAddr::V4(bits.into())).chain(edges) {
                prop_assert_eq!(map.get(address), longest(&prefixes, address), "{}", address);
            }
        }
    }

    #[test]
    fn ends_of_the_address_space() {
        let nets = ["0.0.0.0/0", "255.255.255.255/32", "::/0", "ffff::/16"];
        let map = PrefixMap::new(nets.iter().enumerate().map(|(i, net)| (net.parse().expect("a prefix"), i)));
        for (address, value) in [("0.0.0.0", 0), ("255.255.255.255", 1), ("1::", 2), ("ffff::1", 3)] {
            assert_eq!(map.get(address.parse().expect("an address")), Some(value));
        }
    }
}
