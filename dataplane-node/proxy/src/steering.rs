//! Connections to addresses at which nobody listens: somebody gives them to a worker's listeners on the loopback, with their own local address.
//!
//! ```text
//! connection to 203.0.113.9:8443 ──► listener at 127.0.0.1:P of some worker ── SteeredTable ──► Site of the service
//! ```
//!
//! All workers have the same address, so that the kernel spreads connections over them. Its socket option tells such a listener from others when
//! it is handed over; with it, answers leave from whatever the connection's own address is.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener},
    num::NonZeroU16,
    os::fd::AsFd as _,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use lbfabric_model::Prefix;
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    task::{self, AbortHandle},
    time::sleep,
};

use crate::{
    engine::{EngineService, ServiceKey},
    site::{Current, Site, is_of_one},
    socket::reset,
    worker::listener,
};

/// How long a worker waits that has no room for one more connection.
const FULL_PAUSE: Duration = Duration::from_millis(50);

/// Addresses whose connections are a service's without a listener of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SteeredVip {
    /// All of these.
    pub vip: Prefix,
    /// The port; none: every port that nobody else has there.
    pub port: Option<NonZeroU16>,
}

impl SteeredVip {
    /// Whether what is to an address is of these.
    pub fn contains(&self, at: SocketAddr) -> bool {
        self.vip.contains(at.ip()) && self.port.is_none_or(|port| port.get() == at.port())
    }
}

/// Whose a connection is, by its local address: of those that have its port, the longest prefix's, and there the port's own.
#[derive(Debug, Default)]
pub(crate) struct SteeredTable {
    services: HashMap<SteeredVip, ServiceKey>,
    /// The lengths of prefixes, the longest first: of IPv4, and of IPv6.
    lengths: [Vec<u8>; 2],
}

/// A worker's part.
#[derive(Default)]
pub(crate) struct Steering {
    table: RefCell<Arc<SteeredTable>>,
    sites: RefCell<BTreeMap<ServiceKey, Rc<Site>>>,
    listeners: RefCell<Vec<(Rc<TcpListener>, AbortHandle)>>,
}

/// As many listeners of a family as there are workers.
pub(crate) fn listeners(is_ipv4: bool, count: usize) -> io::Result<Vec<StdListener>> {
    let mut address = if is_ipv4 {
        SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
    } else {
        SocketAddr::from((Ipv6Addr::LOCALHOST, 0))
    };
    let mut all = Vec::new();
    for _ in 0..count {
        let one = listener(address)?;
        let socket = SockRef::from(&one);
        if is_ipv4 {
            socket.set_ip_transparent_v4(true)?;
        } else {
            socket.set_ip_transparent_v6(true)?;
        }
        // The first one has a port that is free.
        address = one.local_addr()?;
        all.push(one);
    }
    Ok(all)
}

/// Whether it is one of [`listeners`], and of IPv4.
pub(crate) fn family(listener: &StdListener) -> Option<bool> {
    let is_ipv4 = listener.local_addr().ok()?.is_ipv4();
    let socket = SockRef::from(listener);
    let is_one = if is_ipv4 {
        socket.ip_transparent_v4()
    } else {
        socket.ip_transparent_v6()
    };
    is_one.ok()?.then_some(is_ipv4)
}

// === impl SteeredTable ===

impl SteeredTable {
    pub(crate) fn new(services: &BTreeMap<ServiceKey, EngineService>) -> Self {
        let mut table = Self::default();
        let mut lengths = [BTreeSet::new(), BTreeSet::new()];
        for (key, service) in services {
            for steered in &service.steered {
                lengths[usize::from(!steered.vip.is_ipv4())].insert(steered.vip.bits());
                // Nobody has what another one has: the API takes care of it.
                table.services.entry(*steered).or_insert(*key);
            }
        }
        table.lengths = lengths.map(|it| it.into_iter().rev().collect());
        table
    }

    /// Whose a connection to this address is.
    pub(crate) fn find(&self, to: SocketAddr) -> Option<ServiceKey> {
        let lengths = &self.lengths[usize::from(to.is_ipv6())];
        lengths.iter().find_map(|bits| {
            let vip = Prefix::around(to.ip(), *bits)?;
            let at = |port| self.services.get(&SteeredVip { vip, port }).copied();
            let own = NonZeroU16::new(to.port()).and_then(|port| at(Some(port)));
            own.or_else(|| at(None))
        })
    }
}

// === impl Steering ===

impl Steering {
    /// Takes what comes to a listener, too.
    pub(crate) fn listen(self: &Rc<Self>, listener: StdListener) -> io::Result<()> {
        let listener = Rc::new(TcpListener::from_std(listener)?);
        let taking = Rc::clone(self).accept(Rc::clone(&listener));
        let task = task::spawn_local(taking).abort_handle();
        self.listeners.borrow_mut().push((listener, task));
        Ok(())
    }

    /// A service's connections get this from now on.
    pub(crate) fn serve(&self, key: ServiceKey, current: &Rc<Current>) {
        let mut sites = self.sites.borrow_mut();
        match sites.get(&key) {
            Some(site) => site.swap(current),
            None => {
                sites.insert(key, Site::new(Rc::clone(current)));
            }
        }
    }

    /// Connections go by this from now on. The services must have been told of.
    pub(crate) fn follow(&self, table: Arc<SteeredTable>) {
        self.table.replace(table);
    }

    /// Takes the sites out that these services do not have.
    pub(crate) fn leave_except(
        &self,
        services: &BTreeMap<ServiceKey, EngineService>,
    ) -> Vec<Rc<Site>> {
        let is_gone = |key: &ServiceKey, _: &mut Rc<Site>| {
            let service = services.get(key);
            service.is_none_or(|it| it.steered.is_empty())
        };
        let mut sites = self.sites.borrow_mut();
        sites
            .extract_if(.., is_gone)
            .map(|(_, site)| site)
            .collect()
    }

    /// Takes no more connections, and gives what they come by to who does; with the sites.
    pub(crate) fn hand_over(&self) -> io::Result<(Vec<StdListener>, Vec<Rc<Site>>)> {
        let listeners = self.listeners.borrow();
        let copies = listeners.iter().map(|(listener, _)| {
            let copy = listener.as_fd().try_clone_to_owned()?;
            Ok(StdListener::from(copy))
        });
        let copies = copies.collect::<io::Result<_>>()?;
        drop(listeners);
        self.end();
        let sites = std::mem::take(&mut *self.sites.borrow_mut());
        Ok((copies, sites.into_values().collect()))
    }

    /// Takes no more connections.
    pub(crate) fn end(&self) {
        for (_, task) in self.listeners.borrow_mut().drain(..) {
            task.abort();
        }
    }

    async fn accept(self: Rc<Self>, listener: Rc<TcpListener>) {
        loop {
            match listener.accept().await {
                Ok((socket, from)) => self.take(socket, from),
                Err(error) if is_of_one(&error) => {}
                // No descriptor or memory is left: the connection waits in the kernel.
                Err(_) => sleep(FULL_PAUSE).await,
            }
        }
    }

    fn take(&self, socket: TcpStream, from: SocketAddr) {
        let to = socket.local_addr().ok();
        let key = to.and_then(|to| self.table.borrow().find(to));
        let site = key.and_then(|key| self.sites.borrow().get(&key).map(Rc::clone));
        match site {
            Some(site) => site.take(socket, from),
            // The service has gone meanwhile, or somebody has found the listener.
            None => reset(&socket),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_with_the_port_has_a_connection() {
        let service = |vips: &[(&str, u8, u16)]| EngineService {
            listen: Vec::new(),
            steered: vips
                .iter()
                .map(|(address, bits, port)| SteeredVip {
                    vip: Prefix::new(address.parse().unwrap(), *bits).unwrap(),
                    port: NonZeroU16::new(*port),
                })
                .collect(),
            proxy: Arc::default(),
        };
        let key = |id| ServiceKey { id, part: 0 };
        let services = BTreeMap::from([
            (key(1), service(&[("10.0.0.0", 8, 0), ("fd00::", 32, 0)])),
            (key(2), service(&[("10.1.0.0", 16, 443)])),
            (key(3), service(&[("10.1.2.3", 32, 0)])),
            (
                key(4),
                service(&[("10.1.2.3", 32, 80), ("10.0.0.0", 8, 22)]),
            ),
        ]);
        let table = SteeredTable::new(&services);
        for (to, expected) in [
            ("10.0.0.0:1", Some(1)),
            ("10.255.255.255:65535", Some(1)),
            ("10.9.9.9:22", Some(4)),
            ("10.1.0.9:443", Some(2)),
            ("10.1.0.9:80", Some(1)),
            ("10.1.2.3:443", Some(3)),
            ("10.1.2.3:80", Some(4)),
            ("11.0.0.1:80", None),
            ("[fd00:0:1::9]:80", Some(1)),
            ("[fd00:1::9]:80", None),
            ("127.0.0.1:80", None),
        ] {
            let found = table.find(to.parse().unwrap());
            assert_eq!(found, expected.map(key), "{to}");
        }
    }
}
