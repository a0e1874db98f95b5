use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use lbfabric_abi::{
    Address, Affinity, Backend, Endpoint, EndpointPrefix, FilterBit, FilterRegion, FlowBucket,
    FlowEntry, FlowKey, FlowTick, Guard, LeasedVip, Mode, NextHop, RateLimit, Reverse, RingSlot,
    Session, SessionLine, SessionRecord, Settings, SourcePrefix, SourceTokens, VipFlags, VipPrefix,
    VipService,
};
use lbfabric_model::{BackendId, ServiceId};

mod exact_state;
mod predecessor;

use super::*;
use crate::{
    maps::{ReadMapError, fake::Content},
    plan::{Desired, MapOp, Rings as _, SourceKey},
};

const NOW: u64 = 1_000 * FlowTick::NS;
const VIP: &str = "203.0.113.10:80";
const CLIENT: &str = "198.51.100.7:40000";

/// What the agent's maps in memory hold, and the tables that programs alone write.
struct Maps {
    content: Content,
    flows: BTreeMap<u32, FlowBucket>,
    sessions: BTreeMap<u32, Session>,
    records: BTreeMap<u32, SessionRecord>,
    tags: BTreeMap<u32, SessionLine>,
    service_tokens: u64,
    source_tokens: SourceTokens,
    leased: Option<LeasedVip>,
}

impl Maps {
    /// A service of one VIP, one slot, and servers 1 and 2.
    fn new(service: VipService, slot: RingSlot) -> Self {
        let mut maps = Self {
            content: Content::empty(4, 1, 1),
            flows: BTreeMap::new(),
            sessions: BTreeMap::new(),
            records: BTreeMap::new(),
            tags: BTreeMap::new(),
            service_tokens: 0,
            source_tokens: SourceTokens::default(),
            leased: None,
        };
        let vip: SocketAddr = VIP.parse().unwrap();
        let address = Address::from(vip.ip());
        let FilterBit { word, bit } = FilterRegion::Vip.bit_of(address);
        maps.put(&MapOp::PutFilterWord(word, 1 << bit));
        maps.put(&MapOp::PutSettings(Box::new(Settings {
            flow_key: FlowKey::expand([1, 2]),
            flow_idle_ticks: 10,
            ..Settings::default()
        })));
        for n in [1, 2] {
            maps.put(&MapOp::PutBackend(BackendId(n.into()), backend(n)));
        }
        maps.put(&MapOp::PutSlots(vec![(0, slot)]));
        maps.put(&MapOp::PutVipPort(Endpoint::new(address, 80, 6), service));
        maps.put(&MapOp::PutVipAddress(address, VipFlags::KNOWN));
        maps
    }

    fn put(&mut self, op: &MapOp) {
        self.content.apply(op, |_| {});
    }

    fn explain(&self, established: bool) -> v1::Explanation {
        self.ask(CLIENT, VIP, established)
    }

    fn ask(&self, source: &str, destination: &str, established: bool) -> v1::Explanation {
        let question = PacketQuestion {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            protocol: Protocol::Tcp,
            established,
            request: None,
        };
        let names = Names {
            desired: &Desired::default(),
            links: [(7, "eth7")].into(),
        };
        explain(&question, &names, self, NOW).unwrap()
    }

    /// Puts the client's flow into the table.
    fn know_flow(&mut self, server: u32, ticks_ago: u64) {
        let question = PacketQuestion {
            source: CLIENT.parse().unwrap(),
            destination: VIP.parse().unwrap(),
            protocol: Protocol::Tcp,
            established: true,
            request: None,
        };
        let place = packet(&question).flow.place(&FlowKey::expand([1, 2]));
        let seen = FlowTick::at(NOW - ticks_ago * FlowTick::NS);
        let mut bucket = FlowBucket::default();
        bucket.entries[3] = FlowEntry::new(place.tag, server, seen, false);
        self.flows.insert(0, bucket);
    }
}

fn service(mode: Mode) -> VipService {
    VipService {
        service: 5,
        ring_slots: 1,
        mode: mode as u8,
        affinity: Affinity::FiveTuple as u8,
        pool: 9,
        ..VipService::default()
    }
}

fn backend(n: u8) -> Backend {
    Backend {
        ipv4: [10, 0, 0, n],
        hop4: NextHop {
            ifindex: 7,
            mac: [2, 0, 0, 0, 0, n],
            ..NextHop::default()
        },
        pool: 9,
        flags: Backend::ALIVE,
        ..Backend::default()
    }
}

/// The one of the longest key that a key begins with.
fn longest<'a, V>(
    entries: impl Iterator<Item = (Vec<u8>, u32, &'a V)>,
    key: &[u8],
) -> Option<&'a V> {
    let bit = |bytes: &[u8], n: u32| bytes[n as usize / 8] >> (7 - n % 8) & 1;
    let matching =
        entries.filter(|(data, bits, _)| (0..*bits).all(|n| bit(data, n) == bit(key, n)));
    matching
        .max_by_key(|(_, bits, _)| *bits)
        .map(|(.., value)| value)
}

fn source_bytes(key: &SourcePrefix) -> Vec<u8> {
    [&key.guard.to_ne_bytes()[..], &key.address.0].concat()
}

impl Lookup for Maps {
    fn settings(&self) -> Result<Settings, ReadMapError> {
        Ok(self.content.observed.settings.unwrap())
    }

    fn filter_word(&self, index: u32) -> Result<u64, ReadMapError> {
        Ok(self
            .content
            .observed
            .filter
            .get(&index)
            .copied()
            .unwrap_or_default())
    }

    fn vip_port(&self, endpoint: &Endpoint) -> Result<Option<VipService>, ReadMapError> {
        Ok(self.content.observed.vip_ports.get(endpoint).copied())
    }

    fn vip_range(&self, _: &EndpointPrefix) -> Result<Option<VipService>, ReadMapError> {
        Ok(None)
    }

    fn vip_prefix(&self, _: &Address, _: u32) -> Result<Option<VipPrefix>, ReadMapError> {
        Ok(None)
    }

    fn is_vip_address(&self, address: &Address) -> Result<bool, ReadMapError> {
        Ok(self.content.observed.vip_addresses.contains_key(address))
    }

    fn reverse_port(&self, endpoint: &Endpoint) -> Result<Option<Reverse>, ReadMapError> {
        Ok(self.content.observed.reverse_ports.get(endpoint).copied())
    }

    fn reverse_range(&self, _: &EndpointPrefix) -> Result<Option<Reverse>, ReadMapError> {
        Ok(None)
    }

    fn guard(&self, id: u32) -> Result<Option<Guard>, ReadMapError> {
        Ok(self.content.observed.guards.get(&ServiceId(id)).copied())
    }

    fn source_rule(&self, client: &SourcePrefix) -> Result<Option<u32>, ReadMapError> {
        let rules = self.content.observed.source_rules.iter();
        let rules = rules.map(|(key, rule)| (source_bytes(&key.data), key.bits, rule));
        Ok(longest(rules, &source_bytes(client)).copied())
    }

    fn leased_vip(&self, vip: &Address) -> Result<Option<(LeasedVip, Duration)>, ReadMapError> {
        let its: SocketAddr = VIP.parse().unwrap();
        let leased = self.leased.filter(|_| *vip == its.ip().into());
        Ok(leased.map(|it| (it, Duration::MAX)))
    }

    fn service_tokens(&self, _: u32) -> Result<Option<u64>, ReadMapError> {
        Ok(Some(self.service_tokens))
    }

    fn source_tokens(&self, _: u32) -> Result<Option<SourceTokens>, ReadMapError> {
        Ok(Some(self.source_tokens))
    }

    fn recent_bucket(&self, _: u32) -> Result<Option<FlowBucket>, ReadMapError> {
        Ok(Some(FlowBucket::default()))
    }

    fn session(&self, index: u32) -> Result<Option<Session>, ReadMapError> {
        Ok(self.sessions.get(&index).copied())
    }

    fn session_record(&self, index: u32) -> Result<Option<SessionRecord>, ReadMapError> {
        Ok(self.records.get(&index).copied())
    }

    fn session_tags(&self, line: u32) -> Result<Option<SessionLine>, ReadMapError> {
        Ok(self.tags.get(&line).copied())
    }

    fn ring_slot(&self, index: u32) -> Result<Option<RingSlot>, ReadMapError> {
        Ok(Some(self.content.slot(index)))
    }

    fn backend(&self, id: u32) -> Result<Option<Backend>, ReadMapError> {
        let known = self.content.observed.backends.get(&BackendId(id)).copied();
        Ok((id < 64).then(|| known.unwrap_or_default()))
    }

    fn flow_bucket(&self, index: u32) -> Result<Option<FlowBucket>, ReadMapError> {
        Ok(Some(self.flows.get(&index).copied().unwrap_or_default()))
    }
}

#[test]
fn a_served_flow_step_by_step() {
    let maps = Maps::new(service(Mode::Dnat), RingSlot::steady(2));
    assert_eq!(
        maps.explain(false),
        v1::Explanation {
            service: "5".to_owned(),
            pool: "9".to_owned(),
            slot: Some(0),
            current_server: "10.0.0.2".to_owned(),
            base_server: "10.0.0.2".to_owned(),
            server: "10.0.0.2".to_owned(),
            next_hop: "eth7 02:00:00:00:00:02".to_owned(),
            verdict: "l4-dnat".to_owned(),
            steps: [
                "service 5 serves tcp port 80 of 203.0.113.10",
                "mode l4-dnat, affinity five-tuple: slot 0 of 1 of pool 9",
                "the slot is steady: all its flows are on 10.0.0.2",
                "the destination becomes 10.0.0.2:80",
            ]
            .map(str::to_owned)
            .to_vec(),
            ..v1::Explanation::default()
        }
    );
}

/// Every row of the flow table's rules.
#[test]
fn a_changed_slot_asks_the_flow_table() {
    let dead = Backend {
        flags: 0,
        ..backend(1)
    };
    let stranger = Backend {
        pool: 8,
        ..backend(1)
    };
    // What server 1, the base, is; what the table has; whether a SYN; the server.
    for (base, known, is_syn, server) in [
        (backend(1), None, true, "10.0.0.2"),
        (backend(1), None, false, "10.0.0.1"),
        (backend(1), Some((1, 0)), true, "10.0.0.1"),
        (backend(1), Some((2, 0)), false, "10.0.0.2"),
        (backend(1), Some((2, 11)), false, "10.0.0.1"),
        (dead, None, false, "10.0.0.2"),
        (dead, Some((1, 0)), false, "10.0.0.2"),
        // It is alive, and base for whom the table does not know; but it is of another pool.
        (stranger, Some((1, 0)), true, "10.0.0.2"),
    ] {
        let mut maps = Maps::new(service(Mode::Dnat), RingSlot::changed(2, 1));
        maps.put(&MapOp::PutBackend(BackendId(1), base));
        if let Some((server, ticks_ago)) = known {
            maps.know_flow(server, ticks_ago);
        }
        let told = maps.explain(!is_syn);
        assert_eq!(
            told.server, server,
            "{base:?} {known:?} {is_syn}: {told:#?}"
        );
        let entry = known.map_or(String::new(), |(server, _)| format!("10.0.0.{server}"));
        assert_eq!(told.flow_entry, entry);
        assert_eq!(
            (told.current_server.as_str(), told.base_server.as_str()),
            ("10.0.0.2", "10.0.0.1")
        );
    }
}

#[test]
fn drops_are_called_as_their_counters() {
    let dropped = |maps: &Maps, name: &str| {
        let told = maps.explain(false);
        assert_eq!(
            (told.drop_reason.as_str(), told.verdict.as_str()),
            (name, "")
        );
        assert!(told.next_hop.is_empty(), "{told:#?}");
    };
    dropped(
        &Maps::new(service(Mode::Dnat), RingSlot::EMPTY),
        "drop-no-backend",
    );
    let mut maps = Maps::new(service(Mode::Dsr), RingSlot::steady(1));
    let mut server = backend(1);
    server.hop4.ifindex = 0;
    maps.put(&MapOp::PutBackend(BackendId(1), server));
    dropped(&maps, "drop-next-hop-unresolved");
    server.ipv4 = [0; 4];
    maps.put(&MapOp::PutVipPort(
        Endpoint::new(Address::from_ipv4([203, 0, 113, 10]), 80, 6),
        service(Mode::Tunnel),
    ));
    maps.put(&MapOp::PutBackend(BackendId(1), server));
    dropped(&maps, "drop-no-backend-address");
    // A full-NAT service without an address of the node.
    dropped(
        &Maps::new(service(Mode::Fullnat), RingSlot::steady(1)),
        "drop-no-source-address",
    );
    let maps = Maps::new(service(Mode::Dnat), RingSlot::steady(1));
    let land = maps.ask("203.0.113.10:1", VIP, false);
    assert_eq!(land.drop_reason, "drop-land");
    let martian = maps.ask("127.0.0.1:1", VIP, false);
    assert_eq!(martian.drop_reason, "drop-martian");
}

#[test]
fn what_is_not_served_passes() {
    let maps = Maps::new(service(Mode::Dnat), RingSlot::steady(1));
    let told = maps.ask(CLIENT, "203.0.113.10:81", false);
    assert_eq!(told.verdict, "pass-not-served");
    assert_eq!(
        told.steps,
        ["203.0.113.10 is a VIP, but nothing serves tcp port 81 there"]
    );
    let told = maps.ask(CLIENT, "203.0.113.11:80", false);
    assert_eq!(told.verdict, "pass-not-vip");
    assert_eq!(told.slot, None);
}

#[test]
fn lists_and_limits() {
    let guarded = VipService {
        flags: VipService::GUARDED,
        guard: 5,
        ..service(Mode::Dnat)
    };
    let mut maps = Maps::new(guarded, RingSlot::steady(1));
    let guard = Guard {
        flows: RateLimit::new(10, 1),
        others: SourcePrefix::ALLOWED,
        ..Guard::default()
    };
    maps.put(&MapOp::PutGuard(ServiceId(5), guard));
    let told = maps.explain(false);
    assert_eq!(told.verdict, "l4-dnat");
    assert!(
        told.steps[2].starts_with("the service may have 10 new flows a second: there is room"),
        "{told:#?}"
    );
    // The one token is taken: new flows have to wait, old ones go on.
    maps.service_tokens = guard.flows.take(0, NOW).unwrap();
    assert_eq!(maps.explain(false).drop_reason, "drop-service-limit");
    assert_eq!(maps.explain(true).verdict, "l4-dnat");
    // A client's own limit comes first.
    let both = Guard {
        source_flows: RateLimit::new(10, 1),
        ..guard
    };
    maps.put(&MapOp::PutGuard(ServiceId(5), both));
    maps.source_tokens.tags = [client_tag(); 4];
    maps.source_tokens.full_at = [maps.service_tokens; 4];
    assert_eq!(maps.explain(false).drop_reason, "drop-source-limit");
    let data = SourcePrefix::new(5, Address::from_ipv4([198, 51, 100, 0]));
    let bits = SourcePrefix::BITS - 8;
    maps.put(&MapOp::PutSourceRule(
        SourceKey { data, bits },
        SourcePrefix::DENIED,
    ));
    let told = maps.explain(true);
    assert_eq!(told.drop_reason, "drop-denied");
    assert_eq!(
        told.steps[1],
        "a list of the service has 198.51.100.7, which may not use it"
    );
}

/// How the program calls the client's bucket.
fn client_tag() -> u64 {
    let client = SourcePrefix::new(5, Address::from_ipv4([198, 51, 100, 7]));
    FlowKey::expand([1, 2]).hash6(client.address.words(), [client.guard, 0, 0, 0], 0, 0)
}
