//! The program, in maps of which it is known what they hold.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use lbfabric_abi::{Backend, FLOW_WAYS, FlowBucket, FlowEntry, Mode, Protocol, RingSlot, slot_of};

use super::model::{Node, SLOTS, Servers};
use crate::xdp::{
    fabric::{FLOW_KEY, Fabric, Family, POOL, RING_KEY, backend, request, service, settings},
    kernel::{Action, IDS, INGRESS, Kernel, Program},
    packets::Packet,
    selection::{destination, flow},
};

const BUCKETS: u32 = 4096;

pub(super) struct Loaded {
    pub(super) fabric: Fabric,
    written: Vec<RingSlot>,
}

// === impl Loaded ===

impl Loaded {
    pub(super) fn new() -> Self {
        let kernel = Kernel::load_with_flow_buckets(BUCKETS);
        let mut fabric = Fabric::on(kernel, Mode::Dnat);
        let mut settings = settings();
        settings.flow_mask = BUCKETS - 1;
        fabric.settings(settings);
        let mut service = service(Mode::Dnat);
        (service.ring_start, service.ring_slots) = (0, SLOTS);
        fabric.serve(Family::V4.vip(), Protocol::Tcp, service);
        Self {
            fabric,
            written: Vec::new(),
        }
    }

    /// An empty table, and all servers that a case may add.
    pub(super) fn start(&mut self) {
        self.written.clear();
        for server in 0..IDS {
            self.fabric.backend(server, entry(server, true));
        }
        let mut flows = self.fabric.kernel.array::<FlowBucket>("FLOWS");
        for bucket in 0..BUCKETS {
            flows.set(bucket, FlowBucket::default(), 0).unwrap();
        }
    }

    pub(super) fn follow(&mut self, servers: &Servers, node: &Node) {
        for dead in (0..servers.next).filter(|it| !servers.alive.contains(it)) {
            self.fabric.backend(dead, entry(dead, false));
        }
        let mut rings = self.fabric.kernel.array::<RingSlot>("RINGS");
        let wanted: Vec<RingSlot> = node.slots.iter().map(|it| it.in_map()).collect();
        for (index, slot) in (0..).zip(&wanted) {
            if self.written.get(index as usize) != Some(slot) {
                rings.set(index, *slot, 0).unwrap();
            }
        }
        self.written = wanted;
    }

    /// The server that it goes to.
    pub(super) fn send(&self, packet: &Packet) -> u32 {
        let kernel = &self.fabric.kernel;
        let (action, frame) = kernel.run_uncounted(Program::Lb, &packet.build(), INGRESS);
        assert_eq!(action, Action::Redirect);
        let to = destination(Family::V4, &frame);
        assert_eq!(to[..3], [10, 2, 0]);
        u32::from(to[3]) - 1
    }

    /// What the table says of this flow.
    pub(super) fn known(&mut self, port: u16, servers: &Servers) -> Option<u32> {
        let flows = self.fabric.kernel.array::<FlowBucket>("FLOWS");
        let place = flow(&packet(port)).place(&FLOW_KEY);
        let entries: [FlowEntry; FLOW_WAYS] =
            flows.get(&place.bucket(BUCKETS - 1), 0).unwrap().entries;
        let mut same = entries.iter().filter(|it| it.tag() == place.tag);
        let server = same.next()?.server();
        assert!(same.next().is_none(), "one entry for each flow");
        servers.alive.contains(&server).then_some(server)
    }
}

fn entry(server: u32, alive: bool) -> Backend {
    let address = IpAddr::V4(Ipv4Addr::new(10, 2, 0, u8::try_from(server + 1).unwrap()));
    Backend {
        pool: POOL,
        flags: if alive { Backend::ALIVE } else { 0 },
        ..backend(address, Family::V6.server().ip())
    }
}

/// The first packet of the flow with this source port.
pub(super) fn packet(port: u16) -> Packet {
    let mut packet = request(Family::V4, Protocol::Tcp);
    packet.source = SocketAddr::new(packet.source.ip(), port);
    packet
}

pub(super) fn slot(port: u16) -> usize {
    slot_of(flow(&packet(port)).hash(&RING_KEY), SLOTS) as usize
}
