//! Whether live flows keep their servers through a flood of SYNs.

use std::net::{Ipv4Addr, SocketAddr};

use lbfabric_ebpf_bench::Scenario;

use crate::{
    cases::CASES,
    fabric::{Family, Service},
    kernel::{Kernel, Under},
    packets::{self, Kind},
};

const LIVE: u8 = 250;
/// SYNs of the flood, each another flow.
const SYNS: u32 = 1 << 22;

/// What became of flows that were live before the flood.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Survivors {
    pub(crate) live: usize,
    pub(crate) kept: usize,
}

/// Opens flows in steady and in changed slots, floods both services, and looks where the flows are sent now. The table holds
/// what the measurements before have left in it.
pub(crate) fn survivors(kernel: &mut Kernel) -> Survivors {
    const SERVICES: [Service; 2] = [Service::Tunnel, Service::Changed];
    let mut flows = Vec::new();
    for service in SERVICES {
        for n in 0..LIVE {
            let client = SocketAddr::from((Ipv4Addr::new(198, 19, 255, n), 4096));
            let opened = server(kernel, Kind::Syn, service, client);
            assert_eq!(server(kernel, Kind::Tcp, service, client), opened);
            flows.push((service, client, opened));
        }
    }
    for service in SERVICES {
        flood(kernel, service);
    }
    let kept = flows
        .iter()
        .filter(|(service, client, opened)| server(kernel, Kind::Tcp, *service, *client) == *opened)
        .count();
    Survivors {
        live: flows.len(),
        kept,
    }
}

fn flood(kernel: &mut Kernel, service: Service) {
    let syn = CASES.iter().find(|case| case.kind == Kind::Syn).unwrap();
    let client = crate::cases::client(Family::V4);
    let frame = packets::frame(Kind::Syn, client, service.vip(Family::V4));
    let scenario = Scenario {
        template: frame[..lbfabric_ebpf_bench::TEMPLATE_BYTES]
            .try_into()
            .unwrap(),
        flow_mask: SYNS - 1,
        ..syn.scenario()
    };
    kernel.set_scenario(&scenario);
    kernel.set_under(Under::Product);
    kernel.run_loop(&frame, SYNS);
}

/// The server that a packet goes to.
fn server(kernel: &Kernel, kind: Kind, service: Service, client: SocketAddr) -> [u8; 4] {
    let frame = packets::frame(kind, client, service.vip(Family::V4));
    let (_, sent) = kernel.forward(&frame);
    assert_ne!(sent, frame, "{client} is not forwarded");
    let (_node, server, _) = packets::ipv4_ends(&sent);
    server
}
