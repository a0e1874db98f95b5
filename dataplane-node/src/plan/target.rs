use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use lbfabric_abi::{
    Address, Backend, ENDPOINT_PREFIXES_MAX, ENDPOINTS_MAX, Endpoint, FilterRegion, FlowKey,
    FlowTick, Guard, QuicServer, Reverse, SOURCE_PREFIXES_MAX, SOURCES_MAX, Settings,
    VIP_ADDRESSES_MAX, VIP_PREFIX_LEVELS_MAX, VIP_PREFIXES_MAX, VipFlags, VipPrefix, VipService,
};
use lbfabric_model::{BackendId, ObjectKey, ObjectKind, PoolId, ServiceId};

use super::{
    Inputs, Memory, Observed,
    filter::Filter,
    local::in_their_places,
    nesting,
    op::{PrefixKey, SourceKey},
    pools::{HoldTimes, PlacedRing},
    quic,
    service::{AnswerClaim, ServiceEntries},
};

/// What the maps have to hold.
#[derive(Debug, Default)]
pub(crate) struct Target {
    pub(crate) settings: Settings,
    pub(crate) filter: Filter,
    pub(crate) backends: BTreeMap<BackendId, Backend>,
    pub(crate) pools: BTreeMap<PoolId, PlacedRing>,
    pub(crate) reverse_ports: BTreeMap<Endpoint, Reverse>,
    pub(crate) reverse_ranges: BTreeMap<PrefixKey, Reverse>,
    pub(crate) vip_ports: BTreeMap<Endpoint, VipService>,
    pub(crate) vip_ranges: BTreeMap<PrefixKey, VipService>,
    /// VIPs with their flags.
    pub(crate) vip_prefixes: BTreeMap<VipPrefix, u32>,
    pub(crate) vip_addresses: BTreeMap<Address, u32>,
    pub(crate) quic_servers: BTreeMap<QuicServer, BackendId>,
    pub(crate) source_rules: BTreeMap<SourceKey, u32>,
    pub(crate) guards: BTreeMap<ServiceId, Guard>,
    /// What cannot be done here, and why.
    pub(crate) refusals: BTreeMap<ObjectKey, String>,
    /// Pools in which every server fails its check.
    pub(crate) panics: BTreeSet<PoolId>,
    /// Servers that left their pool and keep their entry.
    pub(crate) former: BTreeSet<BackendId>,
    /// When a plan with the same inputs would differ, by the pool that would.
    pub(crate) wakes: BTreeMap<PoolId, Instant>,
    /// Entries that only servers that left their pool still need.
    pub(crate) kept_ports: Vec<Endpoint>,
    pub(crate) kept_ranges: Vec<PrefixKey>,
    answers: BTreeMap<(Address, u8), Vec<AnswerClaim>>,
}

impl Target {
    pub(crate) fn build(inputs: &Inputs<'_>, memory: &mut Memory, holds: &HoldTimes) -> Self {
        let mut target = Self {
            settings: settings(inputs, holds.longest()),
            refusals: inputs.desired.undecodable.clone(),
            ..Self::default()
        };
        if let Some(reason) = inputs.settings_refusal {
            target.refusals.insert(
                ObjectKey {
                    kind: ObjectKind::Settings,
                    id: 0,
                },
                reason.to_owned(),
            );
        }
        target.place_pools(inputs, memory, holds);
        for id in inputs.desired.services.keys() {
            if let Err(reason) = target.add_service(*id, inputs) {
                let key = ObjectKey {
                    kind: ObjectKind::Service,
                    id: id.0,
                };
                target.refusals.insert(key, reason);
            }
        }
        target.keep_vips_of_older_flows(inputs.observed);
        target.keep_answers_of_former(inputs);
        target.quic_servers = quic::servers(inputs, &target.backends);
        target.filter = target.addresses_that_concern();
        target
    }

    /// The filter that lets all those through that some table knows.
    pub(crate) fn addresses_that_concern(&self) -> Filter {
        let own4 = self
            .settings
            .source4
            .iter()
            .map(|it| Address::from_ipv4(*it));
        let own6 = self.settings.source6.iter().map(|it| Address(*it));
        let own = own4
            .take(self.settings.source4_count as usize)
            .chain(own6.take(self.settings.source6_count as usize));
        let ports = self.reverse_ports.keys().map(|key| key.address);
        let ranges = self.reverse_ranges.keys().map(|key| key.data.address);
        let mut filter = Filter::default();
        filter.add(FilterRegion::Vip, self.vip_addresses.keys().copied());
        for prefix in self.vip_prefixes.keys() {
            filter.add_prefix(*prefix);
        }
        filter.add(FilterRegion::Own, own);
        filter.add(FilterRegion::Server, ports.chain(ranges));
        filter
    }

    fn add_service(&mut self, id: ServiceId, inputs: &Inputs<'_>) -> Result<(), String> {
        let service = &inputs.desired.services[&id];
        let (Some(pool), Some(ring)) = (
            inputs.desired.pools.get(&service.pool),
            self.pools.get(&service.pool),
        ) else {
            let key = ObjectKey {
                kind: ObjectKind::Pool,
                id: service.pool.0,
            };
            return Err(match self.refusals.get(&key) {
                Some(reason) => format!("its pool is refused: {reason}"),
                None => format!(
                    "its pool, id {}, has not been sent to this node",
                    service.pool
                ),
            });
        };
        if inputs.desired.settings.is_none() {
            return Err("the fabric's settings have not been sent to this node".to_owned());
        }
        let is_served = ring.is_served;
        let entries = ServiceEntries::new(id, service, pool, ring.place, inputs.local)?;
        self.check_room(&entries)?;
        self.check_answers(&entries)?;
        let mut flags = VipFlags::KNOWN;
        if is_served {
            flags |= VipFlags::ECHO;
        }
        self.merge(id, entries, flags);
        Ok(())
    }

    /// The API has checked all this for the fabric as a whole; a node that is sent more refuses it instead of failing half-way.
    fn check_room(&self, entries: &ServiceEntries) -> Result<(), String> {
        let room = [
            (
                "VIP ports",
                self.vip_ports.len() + entries.vip_ports.len(),
                ENDPOINTS_MAX,
            ),
            (
                "VIP port ranges",
                self.vip_ranges.len() + entries.vip_ranges.len(),
                ENDPOINT_PREFIXES_MAX,
            ),
            (
                "VIPs",
                self.vip_addresses.len() + entries.vip_addresses.len(),
                VIP_ADDRESSES_MAX,
            ),
            (
                "VIPs that are whole prefixes",
                self.vip_prefixes.len() + entries.vip_prefixes.len(),
                VIP_PREFIXES_MAX,
            ),
            (
                "allowed and denied clients",
                self.source_rules.len() + entries.source_rules.len(),
                SOURCE_PREFIXES_MAX,
            ),
            (
                "server ports",
                self.reverse_ports.len() + entries.reverse_ports.len(),
                ENDPOINTS_MAX,
            ),
            (
                "server port ranges",
                self.reverse_ranges.len() + entries.reverse_ranges.len(),
                ENDPOINT_PREFIXES_MAX,
            ),
        ];
        for (what, count, limit) in room {
            if count > limit as usize {
                return Err(format!(
                    "{what}: {count} entries on this node, more than {limit}"
                ));
            }
        }
        if nesting::is_too_deep(&self.vip_prefixes, &entries.vip_prefixes) {
            return Err(format!(
                "more than {VIP_PREFIX_LEVELS_MAX} VIPs that are whole prefixes lie within one another"
            ));
        }
        let taken = entries
            .vip_ports
            .iter()
            .any(|(key, _)| self.vip_ports.contains_key(key))
            || entries
                .vip_ranges
                .iter()
                .any(|(key, _)| self.vip_ranges.contains_key(key));
        if taken {
            return Err(
                "one of its VIPs, ports and protocol belongs to another service".to_owned(),
            );
        }
        Ok(())
    }

    fn check_answers(&self, entries: &ServiceEntries) -> Result<(), String> {
        for (server, protocol, claim) in &entries.answers {
            let claimed = self
                .answers
                .get(&(*server, *protocol))
                .into_iter()
                .flatten();
            for other in claimed {
                let are_told_apart = claim.by_session && other.by_session;
                if !are_told_apart && other.ports.overlaps(claim.ports) {
                    return Err(format!(
                        "l4-dnat: answers of server {} from port {} already belong to service id {}; give one of the services \
                         another backend_port or another mode",
                        IpAddr::from(*server),
                        claim.ports,
                        other.service
                    ));
                }
            }
        }
        Ok(())
    }

    /// Whether all claims to answers of a server in this protocol are of this service, or go by sessions if this one does.
    pub(crate) fn answers_belong_to(
        &self,
        server: Address,
        protocol: u8,
        id: ServiceId,
        by_session: bool,
    ) -> bool {
        let claimed = self.answers.get(&(server, protocol));
        claimed.is_none_or(|claims| {
            let mut claims = claims.iter();
            claims.all(|it| it.service == id || it.by_session && by_session)
        })
    }

    /// Flows from before a server's answers went by sessions have none until their client says something: what they are answered
    /// as stays known, for as long as the VIP is served.
    fn keep_vips_of_older_flows(&mut self, observed: &Observed) {
        let vips = &self.vip_addresses;
        let keep = |reverse: &mut Reverse, held: Option<&Reverse>| {
            if reverse.flags & Reverse::EXACT != 0
                && let Some(held) = held.filter(|it| vips.contains_key(&it.vip))
            {
                (reverse.vip, reverse.vip_port_be) = (held.vip, held.vip_port_be);
            }
        };
        for (key, reverse) in &mut self.reverse_ports {
            keep(reverse, observed.reverse_ports.get(key));
        }
        for (key, reverse) in &mut self.reverse_ranges {
            keep(reverse, observed.reverse_ranges.get(key));
        }
    }

    fn merge(&mut self, id: ServiceId, entries: ServiceEntries, flags: u32) {
        let ServiceEntries {
            vip_addresses,
            vip_prefixes,
            vip_ports,
            vip_ranges,
            source_rules,
            guard,
            reverse_ports,
            reverse_ranges,
            answers,
        } = entries;
        for address in vip_addresses {
            *self.vip_addresses.entry(address).or_default() |= flags;
        }
        for prefix in vip_prefixes {
            *self.vip_prefixes.entry(prefix).or_default() |= flags;
        }
        self.source_rules.extend(source_rules);
        self.guards.extend(guard.map(|guard| (id, guard)));
        self.vip_ports.extend(vip_ports);
        self.vip_ranges.extend(vip_ranges);
        self.reverse_ports.extend(reverse_ports);
        self.reverse_ranges.extend(reverse_ranges);
        self.add_answers(answers);
    }

    fn add_answers(&mut self, answers: Vec<(Address, u8, AnswerClaim)>) {
        for (server, protocol, claim) in answers {
            let claims = self.answers.entry((server, protocol)).or_default();
            claims.push(claim);
        }
    }

    /// Puts entries that a service's answers need in the place of others, if nobody else claims them and there is room.
    /// Otherwise the target is of no use any more.
    pub(crate) fn replace_answers(
        &mut self,
        id: ServiceId,
        old: &ServiceEntries,
        new: ServiceEntries,
    ) -> Result<(), String> {
        for (server, protocol, _) in &old.answers {
            if let Some(claims) = self.answers.get_mut(&(*server, *protocol)) {
                claims.retain(|claim| claim.service != id);
            }
        }
        for (key, _) in &old.reverse_ports {
            self.reverse_ports.remove(key);
        }
        for (key, _) in &old.reverse_ranges {
            self.reverse_ranges.remove(key);
        }
        let new = ServiceEntries {
            reverse_ports: new.reverse_ports,
            reverse_ranges: new.reverse_ranges,
            answers: new.answers,
            ..ServiceEntries::default()
        };
        self.check_room(&new)?;
        self.check_answers(&new)?;
        self.reverse_ports.extend(new.reverse_ports);
        self.reverse_ranges.extend(new.reverse_ranges);
        self.add_answers(new.answers);
        Ok(())
    }
}

pub(crate) fn settings(inputs: &Inputs<'_>, longest_hold: Duration) -> Settings {
    let Inputs {
        desired,
        observed,
        local,
        ..
    } = inputs;
    let key = desired
        .settings
        .as_ref()
        .map_or([0; 16], |settings| settings.hash_key);
    let (low, high) = key.split_at(8);
    // Little-endian on every machine, so that all nodes hash alike.
    let word = |bytes: &[u8]| {
        bytes
            .iter()
            .rev()
            .fold(0u64, |word, b| word << 8 | u64::from(*b))
    };
    // Entries are found by the key that they were made with, so it lives as long as the maps.
    let flow_key = observed.settings.map(|settings| settings.flow_key);
    let flow_key = flow_key.filter(|key| *key != FlowKey::default());
    let idle = longest_hold.as_millis();
    let mut settings = Settings {
        ring_key: FlowKey::expand([word(low), word(high)]),
        flow_key: flow_key.unwrap_or(inputs.flow_key),
        flow_mask: observed.flow_mask(),
        flow_idle_ticks: FlowTick::idle_of_ms(u64::try_from(idle).unwrap_or(u64::MAX)),
        session_mask: observed.session_lines.saturating_sub(1),
        ..Settings::default()
    };
    if let Some(ports) = local.nat_ports {
        settings.nat_port_first = ports.first.into();
        settings.nat_port_count = ports.count.into();
        settings.nat_port_gap_at = ports.gap_at.into();
        settings.nat_port_gap = ports.gap.into();
    }
    let held = observed.settings.unwrap_or_default();
    let sources4: Vec<_> = local.sources4.iter().map(Ipv4Addr::octets).collect();
    let held4 = &held.source4[..(held.source4_count as usize).min(SOURCES_MAX)];
    for (slot, address) in (settings.source4.iter_mut()).zip(in_their_places(&sources4, held4)) {
        *slot = address;
        settings.source4_count += 1;
    }
    let sources6: Vec<_> = local.sources6.iter().map(Ipv6Addr::octets).collect();
    let held6 = &held.source6[..(held.source6_count as usize).min(SOURCES_MAX)];
    for (slot, address) in (settings.source6.iter_mut()).zip(in_their_places(&sources6, held6)) {
        *slot = address;
        settings.source6_count += 1;
    }
    debug_assert!(settings.source4_count as usize <= SOURCES_MAX);
    settings
}
