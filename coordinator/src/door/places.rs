//! Who holds a place, and who has to go for a newer one.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::Limits;

/// Where a caller comes from. Whoever has an IPv6 network has all of its
/// addresses: they count as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin(IpAddr);

impl Origin {
    /// Of an address: itself, or its IPv6 network of 64 bits.
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = address.to_bits() & !u128::from(u64::MAX);
                IpAddr::V6(Ipv6Addr::from_bits(network))
            }
            address @ IpAddr::V4(_) => address,
        })
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            IpAddr::V4(address) => address.fmt(f),
            IpAddr::V6(network) => write!(f, "{network}/64"),
        }
    }
}

/// The places of a port.
#[derive(Debug)]
pub(super) struct Places {
    limits: Limits,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    /// The oldest first.
    strangers: BTreeMap<u64, Stranger>,
    known: HashMap<Arc<str>, usize>,
    all_known: usize,
}

#[derive(Debug)]
struct Stranger {
    origin: Origin,
    leave: CancellationToken,
}

/// Why a known caller gets no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Full {
    /// It holds too many itself.
    #[error("{caller} has {connections} connections open already")]
    Caller {
        /// Who.
        caller: Arc<str>,
        /// How many it has.
        connections: usize,
    },
    /// All of them do.
    #[error("all {0} places for known callers are taken: raise `connections` in the configuration")]
    All(usize),
}

/// Which place a visit holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// A stranger's.
    Stranger(u64),
    /// That of a caller who is known.
    Known(Arc<str>),
    /// None any more.
    Left,
}

impl Places {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            taken: Mutex::default(),
        }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// A stranger always gets a place: the oldest from its own address, or
    /// the oldest of all, leaves for it.
    pub(super) fn enter(&self, origin: Origin, leave: CancellationToken) -> Place {
        let mut taken = self.taken.lock();
        let from_there = |it: &Stranger| it.origin == origin;
        if taken.strangers.values().filter(|it| from_there(it)).count()
            >= self.limits.strangers_per_origin.max(1)
        {
            taken.dismiss_oldest(from_there);
        }
        if taken.strangers.len() >= self.limits.strangers.max(1) {
            taken.dismiss_oldest(|_| true);
        }
        let id = taken.next;
        taken.next += 1;
        taken.strangers.insert(id, Stranger { origin, leave });
        Place::Stranger(id)
    }

    /// The stranger has proved to be `caller`: it gets a place that nobody
    /// takes from it, if there is one.
    pub(super) fn recognise(&self, place: &mut Place, caller: &str) -> Result<(), Full> {
        let Place::Stranger(id) = *place else {
            return Ok(());
        };
        let mut taken = self.taken.lock();
        taken.strangers.remove(&id);
        *place = Place::Left;
        let room = self
            .limits
            .connections
            .saturating_sub(self.limits.strangers);
        if taken.all_known >= room.max(1) {
            return Err(Full::All(room));
        }
        let caller: Arc<str> = caller.into();
        let connections = taken.known.entry(Arc::clone(&caller)).or_default();
        if *connections >= self.limits.per_caller.max(1) {
            let connections = *connections;
            return Err(Full::Caller {
                caller,
                connections,
            });
        }
        *connections += 1;
        taken.all_known += 1;
        *place = Place::Known(caller);
        Ok(())
    }

    /// The place is free again.
    pub(super) fn leave(&self, place: &mut Place) {
        let mut taken = self.taken.lock();
        match std::mem::replace(place, Place::Left) {
            Place::Stranger(id) => {
                taken.strangers.remove(&id);
            }
            Place::Known(caller) => {
                taken.all_known -= 1;
                if let Some(connections) = taken.known.get_mut(&caller) {
                    *connections -= 1;
                    if *connections == 0 {
                        taken.known.remove(&caller);
                    }
                }
            }
            Place::Left => {}
        }
    }

    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        let taken = self.taken.lock();
        (taken.strangers.len(), taken.all_known)
    }
}

impl Taken {
    fn dismiss_oldest(&mut self, of: impl Fn(&Stranger) -> bool) {
        let oldest = self.strangers.iter().find(|(_, it)| of(it));
        if let Some((id, _)) = oldest.map(|(id, it)| (*id, it))
            && let Some(stranger) = self.strangers.remove(&id)
        {
            stranger.leave.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(connections: usize, strangers: usize) -> Places {
        Places::new(Limits {
            strangers_per_origin: 2,
            per_caller: 2,
            ..Limits::of(connections, strangers)
        })
    }

    fn enter(places: &Places, address: &str) -> (Place, CancellationToken) {
        let leave = CancellationToken::new();
        let origin = Origin::of(address.parse().unwrap());
        (places.enter(origin, leave.clone()), leave)
    }

    #[test]
    fn the_oldest_stranger_of_an_address_gives_way_then_the_oldest_of_all() {
        let places = places(10, 3);
        let (_, first) = enter(&places, "192.0.2.1");
        let (_, other) = enter(&places, "192.0.2.2");
        let (_, second) = enter(&places, "192.0.2.1");
        let (_, third) = enter(&places, "192.0.2.1");
        assert!(first.is_cancelled() && !second.is_cancelled() && !other.is_cancelled());
        let (_, fourth) = enter(&places, "192.0.2.3");
        assert!(other.is_cancelled(), "the oldest of all");
        assert!(!second.is_cancelled() && !third.is_cancelled() && !fourth.is_cancelled());
        assert_eq!(places.counts(), (3, 0));
    }

    #[test]
    fn the_known_are_never_displaced_by_strangers_nor_hold_their_places() {
        let places = places(5, 3);
        let (mut place, leave) = enter(&places, "192.0.2.1");
        places.recognise(&mut place, "agent 1").unwrap();
        assert_eq!(places.counts(), (0, 1));
        for _ in 0..10 {
            enter(&places, "192.0.2.1");
        }
        assert!(!leave.is_cancelled());
        let (mut another, _) = enter(&places, "192.0.2.1");
        places.recognise(&mut another, "agent 2").unwrap();
        let (mut third, _) = enter(&places, "192.0.2.1");
        assert_eq!(
            places.recognise(&mut third, "agent 3"),
            Err(Full::All(2)),
            "three of five are kept for strangers"
        );
        places.leave(&mut place);
        let (mut third, _) = enter(&places, "192.0.2.1");
        places.recognise(&mut third, "agent 3").unwrap();
    }

    #[test]
    fn one_caller_does_not_take_all_places() {
        let places = places(100, 3);
        let mut held = Vec::new();
        for _ in 0..2 {
            let (mut place, _) = enter(&places, "192.0.2.1");
            places.recognise(&mut place, "greedy").unwrap();
            held.push(place);
        }
        let (mut place, _) = enter(&places, "192.0.2.1");
        let full = places.recognise(&mut place, "greedy").unwrap_err();
        assert!(full.to_string().contains("greedy has 2"), "{full}");
        let (mut place, _) = enter(&places, "192.0.2.1");
        places.recognise(&mut place, "modest").unwrap();
        for place in &mut held {
            places.leave(place);
        }
        places.leave(&mut place);
        assert_eq!(places.counts(), (0, 0));
        places.leave(&mut place);
        assert_eq!(places.counts(), (0, 0), "leaving twice frees once");
    }

    #[test]
    fn an_ipv6_network_is_one_origin() {
        let of = |text: &str| Origin::of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_eq!(of("2001:db8::1").to_string(), "2001:db8::/64");
        assert_eq!(of("192.0.2.1").to_string(), "192.0.2.1");
    }
}
