use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aya::{
    Ebpf, Pod,
    maps::{
        Array, HashMap, Map, MapData, MapError, PerCpuArray,
        lpm_trie::{Key, LpmTrie},
    },
};
use lbfabric_abi::{
    Address, Backend, Endpoint, EndpointPrefix, FlowBucket, Guard, NatCursor, PoolRing, QuicServer,
    Reverse, RingSlot, Settings, SourcePrefix, SourceTokens, Traffic, VipNetwork, VipPort6,
    VipPrefix, VipService, counter_names,
};
use lbfabric_model::{BackendId, PoolId, ServiceId};

use super::{
    LbMaps, ReadMapError, WriteMapError, flow_map::FlowMap, ring_map::RingMap,
    session_map::SessionMap,
};
use crate::neighbor::{LeasedVips, LeasedVipsError};
use crate::plan::{MapOp, Observed, PrefixKey, Rings, SourceKey};

/// A map of the object is missing, or not of the expected shape.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenMapsError {
    #[error("the eBPF object has no map {map}")]
    Missing { map: &'static str },
    #[error("map {map} has another shape than this agent expects")]
    Shape {
        map: &'static str,
        #[source]
        source: MapError,
    },
    #[error("map {map} cannot be shared with the agent")]
    Mapping {
        map: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Leases(#[from] LeasedVipsError),
}

/// The maps of the load balancer's program.
pub(crate) struct AyaMaps {
    pub(super) settings: Array<MapData, Settings>,
    pub(super) filter: Array<MapData, u64>,
    pub(super) vip_ports4: HashMap<MapData, u64, VipService>,
    pub(super) vip_ports6: HashMap<MapData, u64, VipPort6>,
    pub(super) vip_ranges: LpmTrie<MapData, EndpointPrefix, VipService>,
    pub(super) vip_prefixes: LpmTrie<MapData, Address, VipNetwork>,
    pub(super) vip_addresses: HashMap<MapData, Address, u32>,
    quic_servers: HashMap<MapData, QuicServer, u32>,
    pub(super) source_rules: LpmTrie<MapData, SourcePrefix, u32>,
    pub(super) guards: HashMap<MapData, u32, Guard>,
    pools: HashMap<MapData, u32, PoolRing>,
    pub(super) rings: RingMap,
    pub(super) backends: Array<MapData, Backend>,
    pub(super) flows: FlowMap,
    pub(super) sessions: SessionMap,
    nat_cursor: Array<MapData, NatCursor>,
    pub(super) reverse_ports4: HashMap<MapData, u64, Reverse>,
    pub(super) reverse_ports6: HashMap<MapData, Endpoint, Reverse>,
    pub(super) reverse_ranges: LpmTrie<MapData, EndpointPrefix, Reverse>,
    counters: PerCpuArray<MapData, u64>,
    services: PerCpuArray<MapData, Traffic>,
    backend_traffic: PerCpuArray<MapData, Traffic>,
    pub(super) service_tokens: Array<MapData, u64>,
    pub(super) source_tokens: Array<MapData, SourceTokens>,
    pub(super) recent_flows: Array<MapData, FlowBucket>,
    leased_vips: Arc<LeasedVips>,
}

pub(super) fn open<T>(ebpf: &mut Ebpf, map: &'static str) -> Result<T, OpenMapsError>
where
    T: TryFrom<Map, Error = MapError>,
{
    let taken = ebpf.take_map(map).ok_or(OpenMapsError::Missing { map })?;
    T::try_from(taken).map_err(|source| OpenMapsError::Shape { map, source })
}

/// An array and its size: a pinned map may have another one than the object asks for.
fn array<'a>(ebpf: &'a Ebpf, map: &'static str) -> Result<(&'a MapData, u32), OpenMapsError> {
    let Some(Map::Array(data)) = ebpf.map(map) else {
        return Err(OpenMapsError::Missing { map });
    };
    let info = data
        .info()
        .map_err(|source| OpenMapsError::Shape { map, source })?;
    Ok((data, info.max_entries()))
}

fn sessions(ebpf: &Ebpf) -> Result<SessionMap, OpenMapsError> {
    const SESSIONS: &str = "SESSIONS";
    let (tags, lines) = array(ebpf, "SESSION_TAGS")?;
    let (sessions, _) = array(ebpf, SESSIONS)?;
    let (records, _) = array(ebpf, "SESSION_RECORDS")?;
    SessionMap::new(sessions, records, tags, lines).map_err(|source| OpenMapsError::Mapping {
        map: SESSIONS,
        source,
    })
}

pub(super) fn unreadable(map: &'static str) -> impl Fn(MapError) -> ReadMapError {
    move |source| ReadMapError {
        map,
        source: Box::new(source),
    }
}

// === impl AyaMaps ===

impl AyaMaps {
    /// Takes the maps out of a loaded object.
    pub(crate) fn open(ebpf: &mut Ebpf) -> Result<Self, OpenMapsError> {
        const RINGS: &str = "RINGS";
        const FLOWS: &str = "FLOWS";
        let (rings, slots) = array(ebpf, RINGS)?;
        let rings = RingMap::new(rings, slots)
            .map_err(|source| OpenMapsError::Mapping { map: RINGS, source })?;
        let (flows, buckets) = array(ebpf, FLOWS)?;
        let flows = FlowMap::new(flows, buckets)
            .map_err(|source| OpenMapsError::Mapping { map: FLOWS, source })?;
        let sessions = sessions(ebpf)?;
        Ok(Self {
            settings: open(ebpf, "SETTINGS")?,
            filter: open(ebpf, "FILTER")?,
            vip_ports4: open(ebpf, "VIP_PORTS4")?,
            vip_ports6: open(ebpf, "VIP_PORTS6")?,
            vip_ranges: open(ebpf, "VIP_RANGES")?,
            vip_prefixes: open(ebpf, "VIP_PREFIXES")?,
            vip_addresses: open(ebpf, "VIP_ADDRESSES")?,
            quic_servers: open(ebpf, "QUIC_SERVERS")?,
            source_rules: open(ebpf, "SOURCE_RULES")?,
            guards: open(ebpf, "GUARDS")?,
            pools: open(ebpf, "POOLS")?,
            rings,
            flows,
            sessions,
            backends: open(ebpf, "BACKENDS")?,
            nat_cursor: open(ebpf, "NAT_CURSOR")?,
            reverse_ports4: open(ebpf, "REVERSE_PORTS4")?,
            reverse_ports6: open(ebpf, "REVERSE_PORTS6")?,
            reverse_ranges: open(ebpf, "REVERSE_RANGES")?,
            counters: open(ebpf, "COUNTERS")?,
            services: open(ebpf, "SERVICE_COUNTERS")?,
            backend_traffic: open(ebpf, "BACKEND_COUNTERS")?,
            service_tokens: open(ebpf, "SERVICE_TOKENS")?,
            source_tokens: open(ebpf, "SOURCE_TOKENS")?,
            recent_flows: open(ebpf, "RECENT_FLOWS")?,
            leased_vips: Arc::new(LeasedVips::open(ebpf)?),
        })
    }

    /// What the programs answer ARP and neighbor discovery for.
    pub(crate) fn leased_vips(&self) -> &Arc<LeasedVips> {
        &self.leased_vips
    }

    fn read_arrays(&self, observed: &mut Observed) -> Result<(), ReadMapError> {
        observed.settings = Some(self.settings.get(&0, 0).map_err(unreadable("SETTINGS"))?);
        for (index, word) in (0..).zip(self.filter.iter()) {
            let word = word.map_err(unreadable("FILTER"))?;
            if word != 0 {
                observed.filter.insert(index, word);
            }
        }
        for (id, backend) in (0..).zip(self.backends.iter()) {
            let backend = backend.map_err(unreadable("BACKENDS"))?;
            if backend != Backend::default() {
                observed.backends.insert(BackendId(id), backend);
            }
        }
        Ok(())
    }

    fn read_protection(&self, observed: &mut Observed) -> Result<(), ReadMapError> {
        observed.vip_prefixes = entries(self.vip_prefixes.iter(), "VIP_PREFIXES", |(_, it)| {
            (it.prefix, it.flags)
        })?;
        observed.quic_servers = entries(self.quic_servers.iter(), "QUIC_SERVERS", |(key, id)| {
            (key, BackendId(id))
        })?;
        observed.source_rules =
            entries(self.source_rules.iter(), "SOURCE_RULES", |(key, rule)| {
                let (data, bits) = (key.data(), key.prefix_len());
                (SourceKey { data, bits }, rule)
            })?;
        observed.guards = entries(self.guards.iter(), "GUARDS", |(id, guard)| {
            (ServiceId(id), guard)
        })?;
        Ok(())
    }

    fn put(&mut self, op: &MapOp) -> Result<(), MapError> {
        match *op {
            MapOp::PutSettings(ref settings) => self.settings.set(0, **settings, 0),
            MapOp::PutBackend(BackendId(id), backend) => self.backends.set(id, backend, 0),
            MapOp::PutPool(PoolId(id), ring) => self.pools.insert(id, ring, 0),
            MapOp::PutFilterWord(index, word) => self.filter.set(index, word, 0),
            MapOp::PutReversePort(key, reverse) => match key.key4() {
                Some(key) => self.reverse_ports4.insert(key, reverse, 0),
                None => self.reverse_ports6.insert(key, reverse, 0),
            },
            MapOp::PutRing(ring, ref servers) => {
                self.rings.fill(ring, servers);
                Ok(())
            }
            MapOp::PutSlots(ref slots) => {
                for (index, slot) in slots {
                    self.rings.put(*index, *slot);
                }
                Ok(())
            }
            MapOp::PutReverseRange(key, reverse) => {
                self.reverse_ranges.insert(&trie_key(key), reverse, 0)
            }
            MapOp::PutQuicServer(key, BackendId(id)) => self.quic_servers.insert(key, id, 0),
            MapOp::PutSourceRule(SourceKey { data, bits }, rule) => {
                self.source_rules.insert(&Key::new(bits, data), rule, 0)
            }
            MapOp::PutGuard(ServiceId(id), guard) => self.guards.insert(id, guard, 0),
            MapOp::PutVipPort(key, service) => match key.key4() {
                Some(key) => self.vip_ports4.insert(key, service, 0),
                None => self.vip_ports6.insert(
                    key.key6(),
                    VipPort6 {
                        endpoint: key,
                        service,
                    },
                    0,
                ),
            },
            MapOp::PutVipRange(key, service) => self.vip_ranges.insert(&trie_key(key), service, 0),
            MapOp::PutVipPrefix(prefix, flags) => {
                let key = Key::new(prefix.bits, prefix.address);
                self.vip_prefixes
                    .insert(&key, VipNetwork { prefix, flags }, 0)
            }
            MapOp::PutVipAddress(address, flags) => self.vip_addresses.insert(address, flags, 0),
            MapOp::ClearBackend(BackendId(id)) => self.backends.set(id, Backend::default(), 0),
            MapOp::RemoveVipPort(_)
            | MapOp::RemoveVipRange(_)
            | MapOp::RemoveVipPrefix(_)
            | MapOp::RemoveVipAddress(_)
            | MapOp::RemoveGuard(_)
            | MapOp::RemoveSourceRule(_)
            | MapOp::RemoveQuicServer(_)
            | MapOp::RemoveReversePort(_)
            | MapOp::RemoveReverseRange(_)
            | MapOp::RemovePool(_) => absent_is_fine(self.remove(op)),
        }
    }

    /// The other half of [`Self::put`].
    fn remove(&mut self, op: &MapOp) -> Result<(), MapError> {
        match *op {
            MapOp::RemoveVipPort(key) => match key.key4() {
                Some(key) => self.vip_ports4.remove(&key),
                None => self.vip_ports6.remove(&key.key6()),
            },
            MapOp::RemoveVipRange(key) => self.vip_ranges.remove(&trie_key(key)),
            MapOp::RemoveVipPrefix(VipPrefix { address, bits }) => {
                self.vip_prefixes.remove(&Key::new(bits, address))
            }
            MapOp::RemoveVipAddress(address) => self.vip_addresses.remove(&address),
            MapOp::RemoveGuard(ServiceId(id)) => self.guards.remove(&id),
            MapOp::RemoveSourceRule(SourceKey { data, bits }) => {
                self.source_rules.remove(&Key::new(bits, data))
            }
            MapOp::RemoveQuicServer(key) => self.quic_servers.remove(&key),
            MapOp::RemoveReversePort(key) => match key.key4() {
                Some(key) => self.reverse_ports4.remove(&key),
                None => self.reverse_ports6.remove(&key),
            },
            MapOp::RemoveReverseRange(key) => self.reverse_ranges.remove(&trie_key(key)),
            MapOp::RemovePool(PoolId(id)) => self.pools.remove(&id),
            MapOp::PutSettings(_)
            | MapOp::PutFilterWord(..)
            | MapOp::PutBackend(..)
            | MapOp::PutPool(..)
            | MapOp::PutRing(..)
            | MapOp::PutSlots(..)
            | MapOp::PutReversePort(..)
            | MapOp::PutReverseRange(..)
            | MapOp::PutQuicServer(..)
            | MapOp::PutSourceRule(..)
            | MapOp::PutGuard(..)
            | MapOp::PutVipPort(..)
            | MapOp::PutVipRange(..)
            | MapOp::PutVipPrefix(..)
            | MapOp::PutVipAddress(..)
            | MapOp::ClearBackend(_) => Ok(()),
        }
    }
}

impl Rings for AyaMaps {
    fn slot(&self, index: u32) -> RingSlot {
        self.rings.slot(index)
    }
}

impl LbMaps for AyaMaps {
    fn read(&self) -> Result<Observed, ReadMapError> {
        let mut observed = Observed::empty(
            self.rings.capacity(),
            self.flows.buckets(),
            self.sessions.lines(),
        );
        let ports6 = self.vip_ports6.iter();
        let ports6 = ports6.map(|it| it.map(|(_, it)| (it.endpoint, it.service)));
        observed.vip_ports = endpoints(&self.vip_ports4, ports6, "VIP_PORTS")?;
        observed.vip_ranges = prefixes(self.vip_ranges.iter(), "VIP_RANGES")?;
        observed.vip_addresses = entries(self.vip_addresses.iter(), "VIP_ADDRESSES", |it| it)?;
        observed.reverse_ports = endpoints(
            &self.reverse_ports4,
            self.reverse_ports6.iter(),
            "REVERSE_PORTS",
        )?;
        observed.reverse_ranges = prefixes(self.reverse_ranges.iter(), "REVERSE_RANGES")?;
        observed.pools = entries(self.pools.iter(), "POOLS", |(id, ring)| (PoolId(id), ring))?;
        self.read_protection(&mut observed)?;
        self.read_arrays(&mut observed)?;
        Ok(observed)
    }

    fn write(&mut self, op: &MapOp) -> Result<(), WriteMapError> {
        self.put(op).map_err(|source| WriteMapError {
            op: Box::new(op.clone()),
            source: Box::new(source),
        })
    }

    fn sweep_flows(&mut self, alive: &BTreeSet<BackendId>, idle_ticks: u32) -> BTreeSet<BackendId> {
        self.flows.sweep(alive, idle_ticks)
    }

    fn sweep_sessions(&mut self, alive: &BTreeSet<BackendId>) -> BTreeSet<BackendId> {
        self.sessions.sweep(alive)
    }

    fn counters(&self) -> Result<BTreeMap<&'static str, u64>, ReadMapError> {
        named_counters(&self.counters)
    }

    fn nat_cursor(&self, id: BackendId) -> Result<NatCursor, ReadMapError> {
        let cursor = self.nat_cursor.get(&id.0, 0);
        cursor.map_err(unreadable("NAT_CURSOR"))
    }

    fn service_traffic(&self, id: ServiceId) -> Result<Traffic, ReadMapError> {
        traffic(&self.services, id.0, "SERVICE_COUNTERS")
    }

    fn backend_traffic(&self, id: BackendId) -> Result<Traffic, ReadMapError> {
        traffic(&self.backend_traffic, id.0, "BACKEND_COUNTERS")
    }
}

fn trie_key(key: PrefixKey) -> Key<EndpointPrefix> {
    Key::new(key.bits, key.data)
}

pub(super) fn absent_is_fine(removed: Result<(), MapError>) -> Result<(), MapError> {
    match removed {
        Err(MapError::KeyNotFound | MapError::ElementNotFound) => Ok(()),
        Err(MapError::SyscallError(error))
            if error.io_error.raw_os_error() == Some(libc::ENOENT) =>
        {
            Ok(())
        }
        other => other,
    }
}

/// What an iterator over a map gives, each made into what the agent calls it.
fn entries<E, T, C: FromIterator<T>>(
    iter: impl Iterator<Item = Result<E, MapError>>,
    map: &'static str,
    named: impl Fn(E) -> T,
) -> Result<C, ReadMapError> {
    iter.map(|entry| entry.map(&named))
        .collect::<Result<_, _>>()
        .map_err(unreadable(map))
}

/// What the tables of both families hold.
fn endpoints<V: Pod>(
    ipv4: &HashMap<MapData, u64, V>,
    ipv6: impl Iterator<Item = Result<(Endpoint, V), MapError>>,
    map: &'static str,
) -> Result<BTreeMap<Endpoint, V>, ReadMapError> {
    let ipv4 = ipv4
        .iter()
        .map(|entry| entry.map(|(key, value)| (Endpoint::from_key4(key), value)));
    entries(ipv4.chain(ipv6), map, |entry| entry)
}

fn prefixes<V>(
    iter: impl Iterator<Item = Result<(Key<EndpointPrefix>, V), MapError>>,
    map: &'static str,
) -> Result<BTreeMap<PrefixKey, V>, ReadMapError> {
    entries(iter, map, |(key, value)| {
        let (data, bits) = (key.data(), key.prefix_len());
        (PrefixKey { data, bits }, value)
    })
}

pub(super) fn named_counters(
    map: &PerCpuArray<MapData, u64>,
) -> Result<BTreeMap<&'static str, u64>, ReadMapError> {
    counter_names()
        .map(|(index, name)| {
            let values = per_cpu(map, index, "COUNTERS")?;
            Ok((name, values.iter().sum()))
        })
        .collect()
}

fn traffic(
    map: &PerCpuArray<MapData, Traffic>,
    index: u32,
    name: &'static str,
) -> Result<Traffic, ReadMapError> {
    let values = per_cpu(map, index, name)?;
    Ok(values.iter().fold(Traffic::default(), |sum, t| Traffic {
        packets: sum.packets + t.packets,
        bytes: sum.bytes + t.bytes,
    }))
}

fn per_cpu<V: Pod>(
    map: &PerCpuArray<MapData, V>,
    index: u32,
    name: &'static str,
) -> Result<Vec<V>, ReadMapError> {
    let values = map.get(&index, 0).map_err(unreadable(name))?;
    Ok(values.to_vec())
}
