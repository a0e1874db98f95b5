//! Which server a flow stays on, while its slot changes and afterwards: every row of the flow table's rules.

use lbfabric_abi::{
    Backend, FLOW_WAYS, Flow, FlowBucket, FlowEntry, FlowEvent, FlowPlace, FlowTick, Mode,
    Protocol, RingSlot,
};
use nix::time::{ClockId, clock_gettime};

use super::{
    fabric::{
        CASES, FLOW_IDLE_TICKS, FLOW_KEY, Fabric, Family, OTHER_SERVER, POOL, RING_SLOTS,
        RING_START, SERVER, backend, request,
    },
    kernel::{FLOW_BUCKETS, Ran},
    packets::Packet,
    selection::{destination, flow, octets, with_ports},
};

const MASK: u32 = FLOW_BUCKETS - 1;
const NO_EVENT: [&str; 0] = [];

/// A fabric whose slots are all the same.
struct Table {
    fabric: Fabric,
}

impl Table {
    fn new(mode: Mode, slot: RingSlot) -> Self {
        let mut table = Self {
            fabric: Fabric::new(mode),
        };
        table.slots(slot);
        table
    }

    fn slots(&mut self, slot: RingSlot) {
        let mut rings = self.fabric.kernel.array::<RingSlot>("RINGS");
        for index in RING_START..RING_START + RING_SLOTS {
            rings.set(index, slot, 0).unwrap();
        }
    }

    /// The server that the packet goes to, if any, and what the table did.
    fn send(&self, packet: &Packet) -> (Option<u32>, Vec<&'static str>) {
        let (ran, events) = self.run(packet);
        let family = match packet.source {
            std::net::SocketAddr::V4(_) => Family::V4,
            std::net::SocketAddr::V6(_) => Family::V6,
        };
        let server = (ran.counter != Some("drop-no-backend")).then(|| {
            let to = destination(family, &ran.frame);
            if to == octets(family.server()) {
                SERVER
            } else {
                assert_eq!(to, octets(family.other_server()));
                OTHER_SERVER
            }
        });
        (server, events)
    }

    fn run(&self, packet: &Packet) -> (Ran, Vec<&'static str>) {
        let before = self.fabric.kernel.flow_events();
        let ran = self.fabric.lb(&packet.build());
        let after = self.fabric.kernel.flow_events();
        let mut events = Vec::new();
        for (n, event) in FlowEvent::ALL.iter().enumerate() {
            match after[n] - before[n] {
                0 => {}
                1 => events.push(event.name()),
                more => panic!("{} moved by {more}", event.name()),
            }
        }
        (ran, events)
    }

    fn buckets(&mut self) -> Vec<FlowBucket> {
        let flows = self.fabric.kernel.array::<FlowBucket>("FLOWS");
        flows.iter().collect::<Result<_, _>>().unwrap()
    }

    fn entries(&mut self) -> Vec<FlowEntry> {
        let all = self.buckets().into_iter().flat_map(|it| it.entries);
        all.filter(|it| !it.is_free()).collect()
    }

    fn put(&mut self, packet: &Packet, entries: [FlowEntry; FLOW_WAYS]) {
        let bucket = place(packet).bucket(MASK);
        let mut flows = self.fabric.kernel.array::<FlowBucket>("FLOWS");
        flows.set(bucket, FlowBucket { entries }, 0).unwrap();
    }

    fn bucket(&mut self, packet: &Packet) -> [FlowEntry; FLOW_WAYS] {
        let bucket = place(packet).bucket(MASK);
        let flows = self.fabric.kernel.array::<FlowBucket>("FLOWS");
        flows.get(&bucket, 0).unwrap().entries
    }

    fn flags(&mut self, server: u32, flags: u16) {
        let backends = self.fabric.kernel.array::<Backend>("BACKENDS");
        let entry = backends.get(&server, 0).unwrap();
        self.fabric.backend(server, Backend { flags, ..entry });
    }
}

fn place(packet: &Packet) -> FlowPlace {
    let flow: Flow = flow(packet);
    flow.place(&FLOW_KEY)
}

/// The moment some ticks ago.
fn ago(ticks: u64) -> FlowTick {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).unwrap();
    let ns = u64::try_from(now.tv_sec()).unwrap() * 1_000_000_000
        + u64::try_from(now.tv_nsec()).unwrap();
    // A machine that has just been started is younger than some entries here.
    FlowTick::at((ns + (FlowTick::NS << 15)).wrapping_sub(ticks * FlowTick::NS))
}

fn changed() -> RingSlot {
    RingSlot::changed(OTHER_SERVER, SERVER)
}

fn syn(family: Family) -> Packet {
    request(family, Protocol::Tcp)
}

fn later(family: Family) -> Packet {
    request(family, Protocol::Tcp).established()
}

#[test]
fn a_steady_slot_neither_reads_nor_writes_the_table() {
    let mut table = Table::new(Mode::Dnat, RingSlot::steady(SERVER));
    // What stands in the table for this very flow does not count.
    let packet = later(Family::V4);
    let mut entries = [FlowEntry::FREE; FLOW_WAYS];
    entries[3] = FlowEntry::new(place(&packet).tag, OTHER_SERVER, ago(5), true);
    table.put(&packet, entries);
    let before = table.buckets();
    for (family, protocol) in CASES {
        for packet in [
            request(family, protocol),
            request(family, protocol).established(),
        ] {
            assert_eq!(table.send(&packet), (Some(SERVER), NO_EVENT.to_vec()));
        }
    }
    assert_eq!(table.buckets(), before);
}

#[test]
fn a_syn_in_a_changed_slot_goes_to_cur_and_stays_there() {
    for mode in [Mode::Dnat, Mode::Tunnel, Mode::Dsr] {
        for family in [Family::V4, Family::V6] {
            let mut table = Table::new(mode, changed());
            let (_, events) = table.run(&syn(family));
            assert_eq!(events, ["flow-miss", "flow-insert"]);
            let [entry] = table.entries()[..] else {
                panic!("one entry")
            };
            assert_eq!(entry.tag(), place(&syn(family)).tag);
            assert_eq!((entry.server(), entry.is_syn_only()), (OTHER_SERVER, true));
            assert!(!entry.is_expired(ago(0), 1));

            // Sent again, it is still a first packet.
            let (_, events) = table.run(&syn(family));
            assert_eq!(events, ["flow-hit"]);
            assert!(table.entries()[0].is_syn_only());
            let (_, events) = table.run(&later(family));
            assert_eq!(events, ["flow-hit"]);
            let [entry] = table.entries()[..] else {
                panic!("one entry")
            };
            assert_eq!((entry.server(), entry.is_syn_only()), (OTHER_SERVER, false));
            assert_eq!(
                table.fabric.traffic("BACKEND_COUNTERS", OTHER_SERVER).0,
                3,
                "{mode:?} {family:?}"
            );
        }
    }
}

#[test]
fn a_syn_with_an_acknowledgement_starts_nothing() {
    let table = Table::new(Mode::Dnat, changed());
    let mut packet = syn(Family::V4);
    packet.ack = true;
    assert_eq!(table.send(&packet).0, Some(SERVER));
}

#[test]
fn unknown_flows_in_a_changed_slot_go_to_base_and_stay_there() {
    for (family, protocol) in CASES {
        let mut table = Table::new(Mode::Dnat, changed());
        let packet = request(family, protocol).established();
        let (server, events) = table.send(&packet);
        assert_eq!(server, Some(SERVER));
        assert_eq!(events, ["flow-miss", "flow-insert"]);
        // UDP has no handshake: a single packet may come from anyone.
        assert_eq!(table.entries()[0].is_syn_only(), protocol == Protocol::Udp);
        // Settled, with the mark: the table keeps it, where new flows go elsewhere.
        table.slots(RingSlot::changed(OTHER_SERVER, OTHER_SERVER));
        assert_eq!(table.send(&packet), (Some(SERVER), vec!["flow-hit"]));
        assert!(!table.entries()[0].is_syn_only());
        let other = with_ports(packet, 999);
        assert_eq!(table.send(&other), (Some(OTHER_SERVER), vec!["flow-miss"]));
        assert_eq!(
            table.entries().len(),
            1,
            "nothing is written where both are the same"
        );
    }
}

#[test]
fn the_table_is_read_in_a_changed_slot_without_the_mark() {
    let unmarked = RingSlot {
        cur: OTHER_SERVER,
        base: SERVER,
    };
    let table = Table::new(Mode::Dnat, unmarked);
    let expected = (Some(OTHER_SERVER), vec!["flow-miss", "flow-insert"]);
    assert_eq!(table.send(&syn(Family::V4)), expected);
    let expected = (Some(OTHER_SERVER), vec!["flow-hit"]);
    assert_eq!(table.send(&later(Family::V4)), expected);
}

#[test]
fn an_entry_is_refreshed_once_a_tick() {
    let mut table = Table::new(Mode::Dnat, changed());
    let packet = later(Family::V6);
    let mut entries = [FlowEntry::FREE; FLOW_WAYS];
    entries[7] = FlowEntry::new(place(&packet).tag, OTHER_SERVER, ago(9), false);
    table.put(&packet, entries);
    let known = (Some(OTHER_SERVER), vec!["flow-hit"]);
    assert_eq!(table.send(&packet), known);
    let refreshed = table.bucket(&packet);
    assert!(refreshed[7].age(ago(0)) <= 1);
    assert_eq!(refreshed[..7], entries[..7]);
}

#[test]
fn claims_end_with_the_server_the_idle_time_and_the_pool() {
    let packet = later(Family::V4);
    let entry = |age| {
        let mut entries = [FlowEntry::FREE; FLOW_WAYS];
        entries[2] = FlowEntry::new(place(&packet).tag, OTHER_SERVER, ago(age), false);
        entries
    };
    let idle = u64::from(FLOW_IDLE_TICKS);
    let slot = RingSlot::changed(SERVER, SERVER);
    let mut table = Table::new(Mode::Dnat, slot);
    table.put(&packet, entry(idle - 2));
    assert_eq!(table.send(&packet), (Some(OTHER_SERVER), vec!["flow-hit"]));
    table.put(&packet, entry(idle + 2));
    assert_eq!(table.send(&packet), (Some(SERVER), vec!["flow-miss"]));

    table.put(&packet, entry(0));
    table.flags(OTHER_SERVER, 0);
    assert_eq!(table.send(&packet), (Some(SERVER), vec!["flow-miss"]));
    table.flags(OTHER_SERVER, Backend::ALIVE);
    assert_eq!(table.send(&packet), (Some(OTHER_SERVER), vec!["flow-hit"]));

    // Another pool's server, whose flow has the same tag.
    let family = Family::V4;
    let mut stranger = backend(family.other_server().ip(), Family::V6.other_server().ip());
    stranger.pool = POOL + 1;
    table.fabric.backend(OTHER_SERVER, stranger);
    assert_eq!(table.send(&packet), (Some(SERVER), vec!["flow-miss"]));

    // In a changed slot the entry without a claim gives its place to the new one.
    table.slots(changed());
    table.put(&packet, entry(0));
    let expected = (Some(SERVER), vec!["flow-miss", "flow-insert"]);
    assert_eq!(table.send(&packet), expected);
    let left = table.bucket(&packet);
    assert_eq!((left[2].server(), table.entries().len()), (SERVER, 1));
}

#[test]
fn a_dead_base_keeps_nothing() {
    let mut table = Table::new(Mode::Dnat, changed());
    table.flags(SERVER, 0);
    assert_eq!(table.send(&later(Family::V4)).0, Some(OTHER_SERVER));
    table.slots(RingSlot::changed(OTHER_SERVER, RingSlot::NONE));
    let other = with_ports(later(Family::V4), 4);
    assert_eq!(table.send(&other).0, Some(OTHER_SERVER));
}

#[test]
fn without_cur_only_old_flows_are_served() {
    let table = Table::new(Mode::Dnat, RingSlot::changed(RingSlot::NONE, SERVER));
    assert_eq!(table.send(&syn(Family::V4)), (None, vec!["flow-miss"]));
    assert_eq!(table.send(&later(Family::V4)).0, Some(SERVER));
}

/// Free, expired, of a dead server, of a first packet alone, in use: and the oldest of each kind.
#[test]
fn row_32_what_a_full_bucket_gives_up() {
    let packet = syn(Family::V6);
    let tag = place(&packet).tag;
    let entry = |n: u32, server, age, first| {
        // Tags of other flows.
        FlowEntry::new(tag ^ n, server, ago(age), first)
    };
    let idle = u64::from(FLOW_IDLE_TICKS);
    let mut entries = [
        entry(1, SERVER, 30, false),
        entry(2, SERVER, 20, true),
        entry(3, SERVER, 10, true),
        entry(4, SERVER, idle + 20, false),
        FlowEntry::FREE,
        entry(6, SERVER, 40, false),
        entry(7, SERVER, 25, true),
        entry(8, SERVER, 12, false),
    ];
    let mut table = Table::new(Mode::Dnat, changed());
    for (way, live) in [
        (4, false),
        (3, false),
        (6, false),
        (1, false),
        (2, false),
        (5, true),
        (0, true),
        (7, true),
    ] {
        table.put(&packet, entries);
        let mut events = vec!["flow-miss", "flow-insert"];
        if live {
            events.push("flow-evict-live");
        }
        assert_eq!(table.send(&packet), (Some(OTHER_SERVER), events), "{way}");
        let left = table.bucket(&packet);
        assert_eq!((left[way].tag(), left[way].server()), (tag, OTHER_SERVER));
        for other in (0..FLOW_WAYS).filter(|it| *it != way) {
            assert_eq!(left[other], entries[other], "{way}");
        }
        // Next time another has to go.
        entries[way] = entry(20 + u32::try_from(way).unwrap(), SERVER, 0, false);
    }
}

/// However many come, they take each other's places once a live flow has given way.
#[test]
fn row_32_a_flood_of_first_packets_spares_flows_in_use() {
    let mut table = Table::new(Mode::Dnat, changed());
    let live: Vec<Packet> = (0..FLOW_BUCKETS * 3)
        .map(|n| with_ports(later(Family::V4), 10_000 + u16::try_from(n).unwrap()))
        .collect();
    for packet in &live {
        table.send(packet);
    }
    let known = table.entries().len();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        for n in 0..5000 {
            table.send(&with_ports(request(Family::V4, protocol), 20_000 + n));
        }
    }
    let buckets = table.buckets();
    let full = buckets
        .iter()
        .filter(|it| it.entries.iter().filter(|it| !it.is_syn_only()).count() == FLOW_WAYS)
        .count();
    assert_eq!(full, 0, "the flood has taken a place in every bucket");
    let left = table
        .entries()
        .iter()
        .filter(|it| !it.is_syn_only())
        .count();
    // Of 64 buckets with three live flows on average, hardly any was full of them.
    assert!(left + 4 >= known, "{left} of {known}");
}

#[test]
fn full_nat_has_its_own_table() {
    let mut table = Table::new(Mode::Fullnat, changed());
    for family in [Family::V4, Family::V6] {
        assert_eq!(table.send(&syn(family)), (Some(OTHER_SERVER), vec![]));
        assert_eq!(table.send(&later(family)), (Some(OTHER_SERVER), vec![]));
    }
    assert_eq!(table.entries(), []);
}
