//! The way of a packet through the programs, from its destination to its service: what `plain.rs`, `general.rs`, `vip.rs` and
//! `martian.rs` of the eBPF side decide, in their order.

use std::net::IpAddr;

use lbfabric_abi::{
    Address, DropReason, Endpoint, EndpointPrefix, FilterRegion, Protocol, Reverse, SOURCES_MAX,
    Settings, SourcePrefix, VIP_PREFIX_LEVELS_MAX, Verdict, VipService,
};

use super::{
    choice, delivery,
    lookup::Lookup,
    protection, session,
    told::{Match, Outcome, Packet, Step, Stop, Told},
};
use crate::maps::ReadMapError;

/// A packet and what is known when it comes.
pub(super) struct Question<'a, M> {
    pub(super) packet: Packet,
    pub(super) maps: &'a M,
    pub(super) settings: Settings,
    /// `CLOCK_MONOTONIC`, in nanoseconds.
    pub(super) now: u64,
}

/// What becomes of a packet at a moment of `CLOCK_MONOTONIC`, in nanoseconds. Nothing is changed by asking.
pub(crate) fn follow<M: Lookup>(
    packet: Packet,
    maps: &M,
    monotonic_ns: u64,
) -> Result<(Told, Outcome), ReadMapError> {
    let question = Question {
        packet,
        maps,
        settings: maps.settings()?,
        now: monotonic_ns,
    };
    let mut told = Told::default();
    match question.follow(&mut told) {
        Ok(verdict) => Ok((told, Outcome::Leaves(verdict))),
        Err(Stop::Outcome(outcome)) => Ok((told, outcome)),
        Err(Stop::Unreadable(error)) => Err(error),
    }
}

impl<M: Lookup> Question<'_, M> {
    fn follow(&self, told: &mut Told) -> Result<Verdict, Stop> {
        let (service, found) = match self.find(told)? {
            Ok(found) => found,
            Err(otherwise) => return self.not_served(otherwise, told),
        };
        told.service = Some(service);
        told.step(Step::Service(found));
        self.check_source(told)?;
        if service.flags & VipService::GUARDED != 0 {
            protection::check(self, &service, told)?;
        }
        let (server, hash) = choice::server(self, &service, told)?;
        told.server = Some(server);
        delivery::deliver(self, &service, server, hash, told)
    }

    /// The service, or the verdict on what has none.
    fn find(&self, told: &mut Told) -> Result<Result<(VipService, Match), Verdict>, ReadMapError> {
        let Packet { flow, is_ipv6, .. } = self.packet;
        let is_mapped = is_ipv6 && flow.destination.ipv4_word().is_some();
        if is_mapped || !self.passes_first_look()? {
            told.step(Step::Filtered);
            return Ok(Err(Verdict::PassNotVip));
        }
        let endpoint = Endpoint {
            address: flow.destination,
            port_be: flow.destination_port_be,
            protocol: flow.protocol,
            zero: 0,
        };
        if let Some(service) = self.maps.vip_port(&endpoint)? {
            return Ok(Ok((service, Match::Port)));
        }
        let is_address = self.maps.is_vip_address(&flow.destination)?;
        if is_address && let Some((service, any_protocol)) = self.in_ranges(flow.destination, 0)? {
            return Ok(Ok((service, Match::Range { any_protocol })));
        }
        let may_be_in_prefix =
            self.passes_filter(FilterRegion::Prefix, flow.destination)? && !self.is_to_node();
        if may_be_in_prefix && let Some(found) = self.in_prefixes()? {
            return Ok(Ok(found));
        }
        let is_in_prefix = may_be_in_prefix
            && (self.maps)
                .vip_prefix(&flow.destination, Address::BITS)?
                .is_some();
        if is_address || is_in_prefix {
            told.step(Step::NotServed);
            return Ok(Err(Verdict::PassNotServed));
        }
        told.step(Step::NotVip);
        Ok(Err(Verdict::PassNotVip))
    }

    /// Whether the first program looks any further for the sake of the destination.
    fn passes_first_look(&self) -> Result<bool, ReadMapError> {
        let destination = self.packet.flow.destination;
        for region in [FilterRegion::Vip, FilterRegion::Own, FilterRegion::Prefix] {
            if self.passes_filter(region, destination)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn in_prefixes(&self) -> Result<Option<(VipService, Match)>, ReadMapError> {
        let mut bits = Address::BITS;
        for _ in 0..VIP_PREFIX_LEVELS_MAX {
            let destination = &self.packet.flow.destination;
            let Some(prefix) = self.maps.vip_prefix(destination, bits)? else {
                return Ok(None);
            };
            if let Some((service, any_protocol)) = self.in_ranges(prefix.address, prefix.bits)? {
                let found = Match::Prefix {
                    prefix,
                    any_protocol,
                };
                return Ok(Some((service, found)));
            }
            bits = prefix.bits.wrapping_sub(1);
        }
        Ok(None)
    }

    /// The service of a VIP, called by its address and length; and whether it is one for any protocol.
    fn in_ranges(
        &self,
        address: Address,
        vip_bits: u32,
    ) -> Result<Option<(VipService, bool)>, ReadMapError> {
        let flow = self.packet.flow;
        let mut endpoint = EndpointPrefix {
            address,
            protocol: flow.protocol,
            vip_bits: u8::try_from(vip_bits).unwrap_or(u8::MAX),
            port_be: flow.destination_port_be,
        };
        if let Some(service) = self.maps.vip_range(&endpoint)? {
            return Ok(Some((service, false)));
        }
        endpoint.protocol = Protocol::Any as u8;
        let service = self.maps.vip_range(&endpoint)?;
        Ok(service.map(|service| (service, true)))
    }

    /// What is not for a service is for the node, a server's answer, or of no concern.
    fn not_served(&self, otherwise: Verdict, told: &mut Told) -> Result<Verdict, Stop> {
        if self.is_to_node() {
            if is_tcp_or_udp(self.packet.flow.protocol)
                && let Some((session, record)) = session::of_server(self)?
            {
                told.step(Step::SessionAnswer(session, record));
                return Ok(Verdict::FullnatAnswer);
            }
            told.step(Step::OwnAddress);
            return Ok(otherwise);
        }
        let flow = self.packet.flow;
        let has_ports = is_tcp_or_udp(flow.protocol);
        if otherwise != Verdict::PassNotVip
            || !has_ports
            || !self.passes_filter(FilterRegion::Server, flow.source)?
            || self.is_from_nowhere()
        {
            return Ok(otherwise);
        }
        let endpoint = Endpoint {
            address: flow.source,
            port_be: flow.source_port_be,
            protocol: flow.protocol,
            zero: 0,
        };
        let reverse = match self.maps.reverse_port(&endpoint)? {
            Some(reverse) => Some(reverse),
            None => self.maps.reverse_range(&EndpointPrefix {
                address: flow.source,
                protocol: flow.protocol,
                vip_bits: 0,
                port_be: flow.source_port_be,
            })?,
        };
        let Some(reverse) = reverse else {
            return Ok(otherwise);
        };
        if reverse.flags & Reverse::EXACT != 0 {
            if let Some((session, record)) = session::of_exact_server(self, &flow)? {
                told.step(Step::ExactAnswer(session, record));
                return Ok(Verdict::DnatAnswer);
            }
            if !reverse.has_vip() {
                told.step(Step::UnknownAnswer);
                return Ok(otherwise);
            }
        }
        told.step(Step::Answer(reverse));
        Ok(Verdict::DnatAnswer)
    }

    fn check_source(&self, told: &mut Told) -> Result<(), Stop> {
        let flow = self.packet.flow;
        if flow.source == flow.destination {
            return Err(told.stop(Step::Land, DropReason::Land));
        }
        let is_vip = self.passes_filter(FilterRegion::Vip, flow.source)?
            && self.maps.is_vip_address(&flow.source)?;
        if is_vip {
            return Err(told.stop(Step::VipSource, DropReason::Martian));
        }
        if self.is_from_nowhere() {
            return Err(told.stop(Step::MartianSource, DropReason::Martian));
        }
        Ok(())
    }

    pub(super) fn passes_filter(
        &self,
        region: FilterRegion,
        address: Address,
    ) -> Result<bool, ReadMapError> {
        let bit = region.bit_of(address);
        Ok(bit.is_in(self.maps.filter_word(bit.word)?))
    }

    /// Whether the node sends from the packet's destination.
    fn is_to_node(&self) -> bool {
        let sources = sources(&self.settings, !self.packet.is_ipv6);
        sources.contains(&self.packet.flow.destination)
    }

    /// Whether no packet may come from where this one does.
    fn is_from_nowhere(&self) -> bool {
        let Address(bytes) = self.packet.flow.source;
        if self.packet.is_ipv6 {
            let address = std::net::Ipv6Addr::from(bytes);
            return address.is_unspecified()
                || address.is_loopback()
                || address.is_multicast()
                || address.to_ipv4_mapped().is_some();
        }
        let first = bytes[12];
        first == 0 || first == 127 || first >= 224
    }

    /// The client, to a service with this guard.
    pub(super) fn client(&self, guard: u32) -> SourcePrefix {
        SourcePrefix::new(guard, self.packet.flow.source)
    }
}

pub(super) const fn is_tcp_or_udp(protocol: u8) -> bool {
    protocol == Protocol::Tcp as u8 || protocol == Protocol::Udp as u8
}

/// The addresses of one family that the node sends from.
pub(super) fn sources(settings: &Settings, is_ipv4: bool) -> Vec<Address> {
    if is_ipv4 {
        let count = settings.source4_count as usize;
        let counted = settings.source4.iter().take(count.min(SOURCES_MAX));
        return counted.map(|it| Address::from_ipv4(*it)).collect();
    }
    let count = settings.source6_count as usize;
    let counted = settings.source6.iter().take(count.min(SOURCES_MAX));
    counted.map(|it| Address(*it)).collect()
}

/// An address as people write it.
pub(super) fn ip(address: Address) -> IpAddr {
    address.into()
}
