use std::net::IpAddr;

use lbfabric_abi::{
    Address, Affinity, Encapsulation, Endpoint, EndpointPrefix, Guard, Mode, OuterSource, PoolRing,
    Reverse, VipPrefix, VipService,
};
use lbfabric_model::{
    PortRange, Ports, Prefix, ServiceId,
    snapshot::{NodeBackend, NodePool, NodeService},
};

use super::{
    local::Local,
    op::{PrefixKey, SourceKey},
    port_prefixes::port_prefixes,
    protection, quic,
};

/// The map entries of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServiceEntries {
    pub(crate) vip_addresses: Vec<Address>,
    pub(crate) vip_prefixes: Vec<VipPrefix>,
    pub(crate) vip_ports: Vec<(Endpoint, VipService)>,
    pub(crate) vip_ranges: Vec<(PrefixKey, VipService)>,
    pub(crate) source_rules: Vec<(SourceKey, u32)>,
    pub(crate) guard: Option<Guard>,
    pub(crate) reverse_ports: Vec<(Endpoint, Reverse)>,
    pub(crate) reverse_ranges: Vec<(PrefixKey, Reverse)>,
    /// The servers' addresses and ports that answers are rewritten for.
    pub(crate) answers: Vec<(Address, u8, AnswerClaim)>,
}

/// A service's claim to what a server answers in a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AnswerClaim {
    pub(crate) service: ServiceId,
    pub(crate) ports: PortRange,
    /// Sessions tell the flows of several such services apart; the answers of no other can be shared.
    pub(crate) by_session: bool,
}

impl ServiceEntries {
    /// The entries of a service whose pool's ring lies at `ring`, or why this node cannot carry it.
    pub(crate) fn new(
        id: ServiceId,
        service: &NodeService,
        pool: &NodePool,
        ring: PoolRing,
        local: &Local,
    ) -> Result<Self, String> {
        check_sources(service, pool, local)?;
        let backend_port_be = service.backend_port.map_or(0, u16::from).to_be_bytes();
        let gue_port = service.tunnel.and_then(|tunnel| tunnel.gue_port);
        let entry = VipService {
            service: id.0,
            ring_start: ring.start,
            ring_slots: ring.slots,
            backend_port_be,
            mode: service.mode as u8,
            affinity: service.affinity as u8,
            pool: service.pool.0,
            flags: flags(service),
            gue_port_be: gue_port.map_or(0, u16::from).to_be_bytes(),
            guard: id.0,
            quic_id_length: quic::id_length(service, pool),
            ..VipService::default()
        };
        let mut entries = Self {
            source_rules: protection::source_rules(id, &service.source_rules),
            guard: protection::guard(service),
            ..Self::default()
        };
        for vip in &service.vips {
            entries.add_vip(*vip, service, entry);
        }
        if service.mode == Mode::Dnat {
            entries.add_answers(id, service, pool);
        }
        Ok(entries)
    }

    /// The entries of one VIP. Those of a prefix are all in the trie of ranges, a single port as a range of one.
    fn add_vip(&mut self, vip: Prefix, service: &NodeService, entry: VipService) {
        let address = Address::from(vip.address());
        let protocol = service.protocol as u8;
        let mut vip_bits = 0;
        if vip.is_single() {
            self.vip_addresses.push(address);
        } else {
            vip_bits = bits_in_maps(vip);
            self.vip_prefixes.push(VipPrefix {
                address,
                bits: vip_bits.into(),
            });
        }
        let key = EndpointPrefix {
            address,
            protocol,
            vip_bits,
            port_be: [0; 2],
        };
        let ranges = match &service.ports {
            Ports::Any => {
                // Port 0 too, which packets without ports have.
                let bits = EndpointPrefix::PORT_AT;
                self.vip_ranges.push((PrefixKey { data: key, bits }, entry));
                return;
            }
            Ports::Ranges(ranges) => ranges,
        };
        for range in ranges {
            if range.is_single() && vip.is_single() {
                let key = Endpoint::new(address, range.first, protocol);
                self.vip_ports.push((key, entry));
            } else {
                let keys = range_keys(key, *range);
                self.vip_ranges.extend(keys.map(|key| (key, entry)));
            }
        }
    }

    /// The reverse entries of destination NAT: each server's endpoint leads back to the one VIP of its family, or to sessions.
    fn add_answers(&mut self, id: ServiceId, service: &NodeService, pool: &NodePool) {
        for v6 in [false, true] {
            let mut vips = service.vips.iter().filter(|vip| vip.is_ipv4() != v6);
            let Some(vip) = vips.next() else { continue };
            for address in pool.backends.iter().filter_map(|b| address_of(b, v6)) {
                for range in service.ports.ranges() {
                    self.add_answer(id, vip.address(), address.into(), *range, service);
                }
            }
        }
    }

    fn add_answer(
        &mut self,
        service: ServiceId,
        vip: IpAddr,
        server: Address,
        range: PortRange,
        of: &NodeService,
    ) {
        let protocol = of.protocol as u8;
        let ports = of.backend_port.map_or(range, |port| PortRange {
            first: port.get(),
            last: port.get(),
        });
        let claim = AnswerClaim {
            service,
            ports,
            by_session: of.exact_state,
        };
        self.answers.push((server, protocol, claim));
        let reverse = if of.exact_state {
            Reverse::BY_SESSION
        } else {
            Reverse {
                vip: vip.into(),
                vip_port_be: of.backend_port.map_or(0, |_| range.first).to_be_bytes(),
                flags: if of.clamp_mss { Reverse::CLAMP_MSS } else { 0 },
                service: service.0,
            }
        };
        if ports.is_single() {
            let key = Endpoint::new(server, ports.first, protocol);
            self.reverse_ports.push((key, reverse));
            return;
        }
        let key = EndpointPrefix {
            address: server,
            protocol,
            ..EndpointPrefix::default()
        };
        let keys = range_keys(key, ports);
        self.reverse_ranges.extend(keys.map(|key| (key, reverse)));
    }
}

/// What else there is to do for a service's packets.
fn flags(service: &NodeService) -> u32 {
    let tunnel = service.tunnel;
    let is_gue = tunnel.is_some_and(|it| it.encapsulation == Encapsulation::Gue);
    let is_fixed = tunnel.is_some_and(|it| it.outer_source == OuterSource::Fixed);
    [
        (VipService::GUE, is_gue),
        (VipService::OUTER_SOURCE_FIXED, is_fixed),
        (VipService::CLAMP_MSS, service.clamp_mss),
        (
            VipService::CLIENT_ADDRESS_OPTION,
            service.client_address_option,
        ),
        (VipService::GUARDED, protection::guard(service).is_some()),
        (VipService::EXACT_STATE, service.exact_state),
        (VipService::QUIC, service.affinity == Affinity::QuicCid),
    ]
    .into_iter()
    .filter(|(_, is_set)| *is_set)
    .fold(0, |flags, (flag, _)| flags | flag)
}

/// Modes that send from the node need an address of the family that they send in.
fn check_sources(service: &NodeService, pool: &NodePool, local: &Local) -> Result<(), String> {
    let has = |v6: bool| {
        !(if v6 {
            local.sources6.is_empty()
        } else {
            local.sources4.is_empty()
        })
    };
    let family = |v6: bool| if v6 { "IPv6" } else { "IPv4" };
    match service.mode {
        Mode::Dnat | Mode::Dsr => Ok(()),
        Mode::Fullnat => {
            let missing = service
                .vips
                .iter()
                .map(|vip| !vip.is_ipv4())
                .find(|v6| !has(*v6));
            if let Some(v6) = missing {
                return Err(format!(
                    "l4-fullnat: this node has no {} address to send from; add one to its interface, or \
                     set source_addresses of the node",
                    family(v6)
                ));
            }
            if local.nat_ports.is_none() {
                return Err(
                    "l4-fullnat: net.ipv4.ip_local_port_range leaves no port from 1024 to 65535 free; narrow it"
                        .to_owned(),
                );
            }
            check_is_known(service, local)
        }
        Mode::Tunnel => {
            let unreachable = pool.backends.iter().find(|backend| {
                !(backend.ipv4.is_some() && has(false) || backend.ipv6.is_some() && has(true))
            });
            unreachable.map_or(Ok(()), |backend| {
                Err(format!(
                    "l4-tunnel: this node has no {} address to send to server {} from; add one to its \
                     interface, or set source_addresses of the node",
                    family(backend.ipv4.is_none()),
                    backend.name
                ))
            })
        }
    }
}

/// A server believes what a node tells of clients only if the controller has named the node's addresses to it.
fn check_is_known(service: &NodeService, local: &Local) -> Result<(), String> {
    let is_known = |vip: &Prefix| {
        if vip.is_ipv4() {
            local.is_known4
        } else {
            local.is_known6
        }
    };
    match service.vips.iter().find(|vip| !is_known(vip)) {
        Some(vip) if service.client_address_option => Err(format!(
            "client_address_option: servers believe only the fabric's nodes; set an {} address in source_addresses of this node",
            if vip.is_ipv4() { "IPv4" } else { "IPv6" }
        )),
        _ => Ok(()),
    }
}

fn address_of(backend: &NodeBackend, v6: bool) -> Option<IpAddr> {
    if v6 {
        backend.ipv6.map(IpAddr::V6)
    } else {
        backend.ipv4.map(IpAddr::V4)
    }
}

/// The length of a prefix, in bits of an [`Address`].
pub(crate) fn bits_in_maps(prefix: Prefix) -> u8 {
    if prefix.is_ipv4() {
        prefix.bits() + 96
    } else {
        prefix.bits()
    }
}

/// The keys of a range of ports; `key` has all but the port.
fn range_keys(key: EndpointPrefix, range: PortRange) -> impl Iterator<Item = PrefixKey> {
    port_prefixes(range)
        .into_iter()
        .map(move |prefix| PrefixKey {
            data: EndpointPrefix {
                port_be: prefix.port.to_be_bytes(),
                ..key
            },
            bits: EndpointPrefix::PORT_AT + prefix.bits,
        })
}
