//! Destination NAT whose answers do not tell the VIP, with sessions as the programs write them.

use lbfabric_abi::{SessionLine, SessionPlace, SessionState, SessionTick, SessionWord};

use super::*;

const OTHER_VIP: &str = "203.0.113.11:80";
const SERVER: &str = "10.0.0.2:80";
const INDEX: u32 = 77;

fn maps() -> Maps {
    let exact = VipService {
        flags: VipService::EXACT_STATE,
        ..service(Mode::Dnat)
    };
    let mut maps = Maps::new(exact, RingSlot::steady(2));
    let other: SocketAddr = OTHER_VIP.parse().unwrap();
    let address = Address::from(other.ip());
    let server = Address::from_ipv4([10, 0, 0, 2]);
    for (region, address) in [(FilterRegion::Vip, address), (FilterRegion::Server, server)] {
        let FilterBit { word, bit } = region.bit_of(address);
        let old = maps.filter_word(word).unwrap();
        maps.put(&MapOp::PutFilterWord(word, old | 1 << bit));
    }
    maps.put(&MapOp::PutVipPort(Endpoint::new(address, 80, 6), exact));
    maps.put(&MapOp::PutVipAddress(address, VipFlags::KNOWN));
    maps.put(&MapOp::PutReversePort(
        Endpoint::new(server, 80, 6),
        Reverse::BY_SESSION,
    ));
    maps
}

/// The client's flow to the first VIP, with both words, which fit into one line.
fn know_session(maps: &mut Maps, state: SessionState, secs_ago: u32) {
    let (client, vip): (SocketAddr, SocketAddr) = (CLIENT.parse().unwrap(), VIP.parse().unwrap());
    let server: SocketAddr = SERVER.parse().unwrap();
    let now = SessionTick::at(NOW);
    let tick = SessionTick(now.0.wrapping_sub(SessionTick::of_secs(secs_ago)));
    let session = Session {
        client: Address::from(client.ip()).fold(),
        vip: Address::from(vip.ip()).fold(),
        client_port_be: client.port().to_be_bytes(),
        vip_port_be: vip.port().to_be_bytes(),
        node_port_be: client.port().to_be_bytes(),
        server_port_be: server.port().to_be_bytes(),
        life: lbfabric_abi::SessionLife::default().with(state, tick),
        backend: 2,
        service: 5,
        pool: 9,
        origin: Session::kind_of(false, 6),
        ..Session::default()
    };
    maps.sessions.insert(INDEX, session);
    let record = SessionRecord {
        client: client.ip().into(),
        vip: vip.ip().into(),
        ..SessionRecord::default()
    };
    maps.records.insert(INDEX, record);
    let mut line = SessionLine::default();
    for (word, (from, to)) in line.words.iter_mut().zip([(client, vip), (server, client)]) {
        let flow = Flow {
            source: from.ip().into(),
            destination: to.ip().into(),
            source_port_be: from.port().to_be_bytes(),
            destination_port_be: to.port().to_be_bytes(),
            protocol: 6,
            zero: [0; 3],
        };
        let place = SessionPlace::of(flow.hash(&FlowKey::expand([1, 2])));
        *word = SessionWord::new(place.tag, INDEX);
    }
    maps.tags.insert(0, line);
}

fn has(told: &v1::Explanation, words: &str) -> bool {
    told.steps.iter().any(|step| step.contains(words))
}

#[test]
fn a_session_is_found_or_would_be_made() {
    let mut maps = maps();
    let told = maps.explain(false);
    assert_eq!(
        (told.verdict.as_str(), told.server.as_str()),
        ("l4-dnat", "10.0.0.2")
    );
    assert!(has(&told, "it enters one"), "{told:#?}");
    know_session(&mut maps, SessionState::OPENING, 0);
    // New flows go elsewhere by now.
    maps.put(&MapOp::PutSlots(vec![(0, RingSlot::steady(1))]));
    let told = maps.explain(true);
    assert_eq!(
        (told.verdict.as_str(), told.server.as_str()),
        ("l4-dnat", "10.0.0.2")
    );
    assert!(has(&told, "a session has the flow"), "{told:#?}");
    assert!(has(&told, "becomes 10.0.0.2:80"), "{told:#?}");
    maps.put(&MapOp::PutSlots(vec![(0, RingSlot::EMPTY)]));
    assert_eq!(maps.explain(true).verdict, "l4-dnat");
    maps.sessions.clear();
    assert_eq!(maps.explain(true).drop_reason, "drop-no-backend");
}

#[test]
fn a_clash_names_the_other_flow() {
    let open = SessionState(0x0d);
    let closed = SessionState(0x3d);
    for (state, secs_ago, established, is_refused) in [
        (SessionState::OPENING, 0, false, true),
        (SessionState::OPENING, 20, false, false),
        (open, 7000, false, true),
        (open, 7500, true, false),
        (closed, 5, false, false),
        (closed, 5, true, true),
    ] {
        let mut maps = maps();
        know_session(&mut maps, state, secs_ago);
        let told = maps.ask(CLIENT, OTHER_VIP, established);
        let (verdict, reason) = if is_refused {
            ("", "drop-exact-state-clash")
        } else {
            ("l4-dnat", "")
        };
        let said = (told.verdict.as_str(), told.drop_reason.as_str());
        assert_eq!(
            said,
            (verdict, reason),
            "{state:?} {secs_ago} {established}"
        );
        assert_eq!(has(&told, "the same client to 203.0.113.10:80"), is_refused);
    }
}

#[test]
fn an_answer_becomes_the_vip_of_its_session() {
    let mut maps = maps();
    let told = maps.ask(SERVER, CLIENT, true);
    assert_eq!(told.verdict, "pass-not-vip");
    assert!(has(&told, "no session of this node"), "{told:#?}");
    know_session(&mut maps, SessionState::OPENING, 0);
    let told = maps.ask(SERVER, CLIENT, true);
    assert_eq!(told.verdict, "l4-dnat-answer");
    assert!(has(&told, "becomes 203.0.113.10:80"), "{told:#?}");
    // A flow from before sessions were needed.
    maps.sessions.clear();
    let before = Reverse {
        vip: Address::from_ipv4([203, 0, 113, 11]),
        ..Reverse::BY_SESSION
    };
    let server = Endpoint::new(Address::from_ipv4([10, 0, 0, 2]), 80, 6);
    maps.put(&MapOp::PutReversePort(server, before));
    let told = maps.ask(SERVER, CLIENT, true);
    assert_eq!(told.verdict, "l4-dnat-answer");
    assert!(has(&told, "becomes 203.0.113.11,"), "{told:#?}");
}
