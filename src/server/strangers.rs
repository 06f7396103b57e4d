//! Connections on which nobody has said who it is yet. They take no more than a half of the room: beyond that, the oldest of
//! them gives way. Who means to say it needs milliseconds, so that those who never do keep nobody out.

use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// In the order in which they came; some are gone by now, or strangers no more.
pub(super) struct Strangers<T> {
    most: usize,
    queue: Mutex<VecDeque<Weak<T>>>,
}

impl<T> Strangers<T> {
    /// Of so many connections in all.
    pub(super) fn of(connections: usize) -> Self {
        Self { most: connections.div_ceil(2), queue: Mutex::default() }
    }

    /// One more. Returns the one that gives way to it, if there are too many that `are` strangers still.
    pub(super) fn add(&self, one: &Arc<T>, are: impl Fn(&T) -> bool) -> Option<Arc<T>> {
        let mut queue = self.queue.lock();
        queue.push_back(Arc::downgrade(one));
        if queue.len() <= self.most {
            return None;
        }
        queue.retain(|it| it.upgrade().is_some_and(|it| are(&it)));
        if queue.len() > self.most { queue.pop_front()?.upgrade() } else { None }
    }
}

impl<T> fmt::Debug for Strangers<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Strangers").field("most", &self.most).finish_non_exhaustive()
    }
}

/// Where strangers are counted together: an address, or what one customer has of IPv6. This machine is no stranger.
pub(super) fn neighbourhood(address: IpAddr) -> Option<IpAddr> {
    match address.to_canonical() {
        address if address.is_loopback() => None,
        IpAddr::V6(address) => Some(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into()),
        IpAddr::V4(address) => Some(address.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn the_oldest_that_is_still_a_stranger_gives_way() {
        let strangers = Strangers::of(4);
        let [first, second, third, fourth] = [(); 4].map(|()| Arc::new(AtomicBool::new(true)));
        let add = |one: &Arc<AtomicBool>| strangers.add(one, |it: &AtomicBool| it.load(Ordering::Relaxed));
        assert!(add(&first).is_none() && add(&second).is_none());
        first.store(false, Ordering::Relaxed);
        assert!(add(&third).is_none(), "one of them has said who it is");
        assert!(Arc::ptr_eq(&add(&fourth).unwrap(), &second));
        drop((third, fourth));
        assert!(add(&first).is_none(), "those that are gone take no room");
    }
}
