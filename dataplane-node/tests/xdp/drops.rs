//! Row 47: every reason to drop a packet has a counter of its own, and a packet that moves it.

use std::{net::SocketAddr, time::Duration};

use lbfabric_abi::{
    Backend, DropReason, Guard, LeasedVip, Mode, NextHop, Protocol, RateLimit, RingSlot, Settings,
    SourcePrefix, VipService,
};

use super::{
    arp::Arp,
    exact_fabric,
    fabric::{
        Fabric, Family, RING_SLOTS, RING_START, SERVER, SERVICE, backend, request, reverse,
        service, settings,
    },
    icmp_own::of_length,
    icmp_packets::{IcmpPacket, Trouble},
    kernel::{Action, Program},
    network::{Route, in_network},
    packets::{ETHERNET, Packet, fix_ipv4_checksum},
};

fn plain() -> Packet {
    request(Family::V4, Protocol::Tcp)
}

fn entry() -> Backend {
    backend(Family::V4.server().ip(), Family::V6.server().ip())
}

fn serve(fabric: &mut Fabric, service: VipService) {
    fabric.serve(Family::V4.vip(), Protocol::Tcp, service);
}

fn guarded(guard: Guard) -> Fabric {
    let mut fabric = Fabric::new(Mode::Dsr);
    fabric
        .kernel
        .hash::<u32, Guard>("GUARDS")
        .insert(SERVICE, guard, 0)
        .unwrap();
    let service = VipService {
        flags: VipService::GUARDED,
        guard: SERVICE,
        ..service(Mode::Dsr)
    };
    serve(&mut fabric, service);
    fabric
}

/// A packet of [`plain`] as bytes, changed.
fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut frame = plain().build();
    change(&mut frame);
    fix_ipv4_checksum(&mut frame);
    frame
}

fn limited(flows: RateLimit, source_flows: RateLimit) -> (Fabric, Vec<u8>) {
    let fabric = guarded(Guard {
        flows,
        source_flows,
        others: SourcePrefix::ALLOWED,
        zero: 0,
    });
    fabric.lb(&plain().build());
    (fabric, plain().build())
}

/// A node without an address to send from.
fn nameless() -> Settings {
    Settings {
        source4_count: 0,
        ..settings()
    }
}

/// An error about the VIP's answer, with as many bytes of that.
fn error(quoted: usize) -> Vec<u8> {
    let family = Family::V4;
    let answer = Packet::new(Protocol::Tcp, family.vip(), family.client());
    IcmpPacket::error(Trouble::PortUnreachable, family.router(), &answer, quoted).build()
}

/// An IPv6 packet with so many headers of destination options.
fn with_options(count: u8) -> Vec<u8> {
    const HEADER: usize = 40;
    const OPTIONS: u8 = 60;
    let mut frame = request(Family::V6, Protocol::Tcp).build();
    let behind = ETHERNET + HEADER;
    for _ in 0..count {
        let header = [frame[ETHERNET + 6], 0, 1, 4, 0, 0, 0, 0];
        frame.splice(behind..behind, header);
        frame[ETHERNET + 6] = OPTIONS;
        frame[ETHERNET + 5] += 8;
    }
    frame
}

/// A fabric, and a packet that it drops for this reason; none where no packet alone is enough.
fn provoke(reason: DropReason) -> Option<(Fabric, Vec<u8>)> {
    let plain_in = |mode| Some((Fabric::new(mode), plain().build()));
    match reason {
        DropReason::Truncated => {
            let length = u8::try_from(20 + 19).unwrap();
            let cut = changed(|frame| frame[ETHERNET + 3] = length);
            Some((Fabric::new(Mode::Dsr), cut))
        }
        DropReason::BadLength => {
            let frame = plain().build();
            Some((Fabric::new(Mode::Dsr), frame[..frame.len() - 1].to_vec()))
        }
        DropReason::Fragment => {
            // Behind a first one that has not come.
            let frame = changed(|frame| frame[ETHERNET + 7] = 1);
            Some((Fabric::new(Mode::Dnat), frame))
        }
        DropReason::Martian => {
            let frame = changed(|frame| frame[ETHERNET + 12] = 127);
            Some((Fabric::new(Mode::Dsr), frame))
        }
        DropReason::Land => {
            let frame = plain().from(Family::V4.vip()).build();
            Some((Fabric::new(Mode::Dsr), frame))
        }
        DropReason::ExtensionHeaders => Some((Fabric::new(Mode::Dsr), with_options(9))),
        DropReason::TtlExpired => {
            let (mut fabric, frame) = (Fabric::new(Mode::Dnat), plain().ttl(1).build());
            fabric.settings(nameless());
            Some((fabric, frame))
        }
        DropReason::NoBackend => {
            let (mut fabric, frame) = plain_in(Mode::Dnat)?;
            fabric.ring(RING_START, &[RingSlot::NONE; RING_SLOTS as usize]);
            Some((fabric, frame))
        }
        DropReason::NoBackendAddress => {
            let (mut fabric, frame) = plain_in(Mode::Dnat)?;
            let ipv4 = [0; 4];
            fabric.backend(SERVER, Backend { ipv4, ..entry() });
            Some((fabric, frame))
        }
        DropReason::NextHopUnresolved => {
            let (mut fabric, frame) = plain_in(Mode::Dnat)?;
            let hop4 = NextHop::default();
            fabric.backend(SERVER, Backend { hop4, ..entry() });
            Some((fabric, frame))
        }
        DropReason::NoSourceAddress => {
            let (mut fabric, frame) = plain_in(Mode::Tunnel)?;
            fabric.settings(nameless());
            Some((fabric, frame))
        }
        DropReason::NatPortsExhausted => {
            let (mut fabric, frame) = plain_in(Mode::Fullnat)?;
            let mut few = settings();
            few.nat_port_count = 1;
            fabric.settings(few);
            let other = SocketAddr::new(Family::V4.client().ip(), 1);
            fabric.lb(&plain().from(other).build());
            Some((fabric, frame))
        }
        DropReason::ExactStateClash => {
            let (fabric, family) = (exact_fabric::fabric(), Family::V4);
            fabric.lb(&plain().to(family.second_vip()).build());
            Some((fabric, plain().build()))
        }
        DropReason::Internal => {
            let (mut fabric, frame) = plain_in(Mode::Dsr)?;
            let beyond = VipService {
                ring_start: u32::MAX / 2,
                ..service(Mode::Dsr)
            };
            serve(&mut fabric, beyond);
            Some((fabric, frame))
        }
        DropReason::Denied => {
            let others = SourcePrefix::DENIED;
            let fabric = guarded(Guard {
                others,
                ..Guard::default()
            });
            Some((fabric, plain().build()))
        }
        DropReason::ServiceLimit => Some(limited(RateLimit::new(1, 1), RateLimit::default())),
        DropReason::SourceLimit => Some(limited(RateLimit::default(), RateLimit::new(1, 1))),
        DropReason::VipNotHeld
        | DropReason::LeaseOver
        | DropReason::BadSolicitation
        | DropReason::VipMoved => Some(provoke_by_lease(reason)),
        DropReason::EchoUnserved
        | DropReason::BadQuote
        | DropReason::UnknownFlow
        | DropReason::TooBig => Some(provoke_icmp(reason)),
        // The first two and the mark of a tunnel, which `decap` has, need more than that, and the limit, which `icmp_own` has,
        // many packets. The last needs a kernel without memory, which is not to be had here.
        DropReason::NoRoute
        | DropReason::NoHeadroom
        | DropReason::Ecn
        | DropReason::IcmpRateLimit
        | DropReason::NatTableFull => None,
    }
}

/// As [`provoke`], for what has to do with leases.
fn provoke_by_lease(reason: DropReason) -> (Fabric, Vec<u8>) {
    if reason == DropReason::VipMoved {
        let mut fabric = Fabric::new(Mode::Fullnat);
        fabric.lease(Family::V4.vip().ip(), LeasedVip::given_up(u64::MAX));
        return (fabric, plain().established().build());
    }
    let mut fabric = Fabric::with_leases();
    let mut request = Arp::request();
    match reason {
        DropReason::VipNotHeld => fabric.give_up(),
        DropReason::LeaseOver => fabric.lease_until(Duration::ZERO),
        DropReason::BadSolicitation => request.sender_mac = [0xff; 6],
        other => panic!("{other:?} has nothing to do with it"),
    }
    (fabric, request.build())
}

/// As [`provoke`], for what has to do with ICMP.
fn provoke_icmp(reason: DropReason) -> (Fabric, Vec<u8>) {
    match reason {
        DropReason::EchoUnserved => {
            let mut fabric = Fabric::new(Mode::Dsr);
            let (client, vip) = (Family::V4.client().ip(), Family::V4.vip().ip());
            fabric.unserve(vip);
            let ping = IcmpPacket::ping(Family::V4, client, vip, 56).build();
            (fabric, ping)
        }
        DropReason::BadQuote => (Fabric::new(Mode::Dsr), error(27)),
        DropReason::UnknownFlow => (Fabric::new(Mode::Fullnat), error(28)),
        DropReason::TooBig => {
            let mut fabric = Fabric::new(Mode::Tunnel);
            let mtu6 = 1200;
            fabric.backend(SERVER, Backend { mtu6, ..entry() });
            let frame = of_length(request(Family::V6, Protocol::Tcp), 1280).build();
            (fabric, frame)
        }
        other => panic!("{other:?} has nothing to do with it"),
    }
}

#[test]
fn row_47_every_reason_has_a_packet_that_moves_its_counter() {
    for reason in DropReason::ALL {
        let Some((fabric, frame)) = provoke(*reason) else {
            continue;
        };
        let ran = fabric.lb(&frame);
        assert_eq!(
            (ran.action, ran.counter),
            (Action::Drop, Some(reason.name())),
            "{reason:?}"
        );
        assert_eq!(ran.frame, frame, "{reason:?}");
    }
}

#[test]
fn row_47_no_route() {
    in_network(|network| {
        let mut fabric = Fabric::new(Mode::Dnat);
        let family = Family::V4;
        fabric.reverse(family.server(), Protocol::Tcp, reverse(family.vip(), true));
        let client = Route::Blackhole.client(true);
        let answer = Packet::new(Protocol::Tcp, family.server(), client).build();
        let ran = fabric
            .kernel
            .run_from(Program::Lb, &answer, network.servers);
        let name = DropReason::NoRoute.name();
        assert_eq!((ran.action, ran.counter), (Action::Drop, Some(name)));
    });
}

#[test]
fn row_47_no_headroom() {
    let fabric = Fabric::new(Mode::Tunnel);
    let frame = request(Family::V6, Protocol::Tcp).build();
    let (action, counter) = fabric.kernel.run_without_headroom(&frame);
    let name = DropReason::NoHeadroom.name();
    assert_eq!((action, counter), (Action::Drop, Some(name)));
}
