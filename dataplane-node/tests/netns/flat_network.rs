//! VIPs with leases on a flat network: two nodes, a client and a stranger on one bridge. The VIPs stand on the loopback of both nodes, as
//! those of layer 7 do, and the kernel would answer for them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::{IpAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use aya::{
    Ebpf, EbpfLoader,
    programs::{Xdp, XdpMode},
};
use lbfabric_abi::NextHop;
use lbfabric_node::{LeasedVips, Mac, VipOwner, object};
use nix::{
    net::if_::if_nametoindex,
    time::{ClockId, clock_gettime},
};

use crate::{
    fixture::until,
    namespace::Namespace,
    two_nics::{PassPrograms, ScratchPins},
};

const LINK: &str = "eth0";

fn vips() -> [IpAddr; 2] {
    ["10.89.0.100", "fd89::100"].map(|vip| vip.parse().expect("an address"))
}

/// The client's own addresses, of each family.
const CLIENT: [&str; 2] = ["10.89.0.9", "fd89::9"];

struct Site {
    nodes: [Node; 2],
    client: Namespace,
    stranger: Namespace,
    /// On the bridge's ports: a veth delivers what is sent by XDP only to an end that has a program itself.
    _passing: Vec<PassPrograms>,
    _bridge: Namespace,
}

/// A node as its agent makes it: program, maps and announcements.
struct Node {
    owner: VipOwner,
    vips: Arc<LeasedVips>,
    mac: Mac,
    _programs: Ebpf,
    namespace: Namespace,
}

impl Site {
    fn new() -> Self {
        let bridge = Namespace::new("b");
        bridge.ip(&["link", "add", "br0", "type", "bridge"]);
        bridge.ip(&["link", "set", "br0", "up"]);
        let host = |purpose: &str, number: u8| {
            let host = Namespace::new(purpose);
            host.within(|| {
                set("ipv6/conf/default/accept_dad", "0");
                // As the agent does for its VIPs of layer 7.
                set("ipv4/conf/all/arp_announce", "2");
            });
            host.ip(&[
                "link",
                "add",
                LINK,
                "type",
                "veth",
                "peer",
                "name",
                purpose,
                "netns",
                &bridge.name,
            ]);
            for address in [format!("10.89.0.{number}/24"), format!("fd89::{number}/64")] {
                host.ip(&["addr", "add", &address, "dev", LINK]);
            }
            host.ip(&["link", "set", LINK, "up"]);
            bridge.ip(&["link", "set", purpose, "master", "br0", "up"]);
            host
        };
        let nodes = [host("n1", 1), host("n2", 2)].map(Node::new);
        let passing = ["n1", "n2"].map(|port| PassPrograms::attach(&bridge, port));
        Self {
            nodes,
            client: host("c", 9),
            stranger: host("s", 7),
            _passing: passing.into(),
            _bridge: bridge,
        }
    }

    /// Whom the client takes for the VIP's owner, without asking.
    fn known(&self, vip: IpAddr) -> Option<Mac> {
        let text = self.client.ip(&["neigh", "show", &vip.to_string()]);
        let mut words = text.split_whitespace();
        words.find(|word| *word == "lladdr")?;
        words.next().map(mac_of)
    }

    /// Whether the VIP answers the client, which asks first who has it.
    fn is_reached(&self, vip: IpAddr) -> bool {
        self.client.flush_neighbours(LINK);
        self.refuses(vip)
    }

    /// Whether the VIP says that nobody listens there, which takes the way there and back.
    fn refuses(&self, vip: IpAddr) -> bool {
        self.client.within(|| {
            let connected = TcpStream::connect_timeout(&(vip, 9).into(), Duration::from_secs(1));
            connected.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
        })
    }

    /// The client asks several times, and always ends at this node.
    fn assert_owned_by(&self, node: &Node, vip: IpAddr) {
        until("the VIP answers", || self.is_reached(vip).then_some(()));
        for _ in 0..5 {
            // A question may be lost on a busy machine, but nobody else answers it.
            if self.is_reached(vip) {
                assert_eq!(self.known(vip), Some(node.mac), "{vip}");
            }
        }
    }

    fn assert_owned_by_nobody(&self, vip: IpAddr) {
        for _ in 0..2 {
            assert!(!self.is_reached(vip), "{vip}");
            assert_eq!(self.known(vip), None, "{vip}");
        }
        for node in &self.nodes {
            let loopback = node.namespace.ip(&["addr", "show", "lo"]);
            assert!(loopback.contains(&vip.to_string()), "{loopback}");
        }
    }
}

impl Node {
    fn new(namespace: Namespace) -> Self {
        for vip in vips() {
            let bits = if vip.is_ipv4() { 32 } else { 128 };
            namespace.ip(&["addr", "add", &format!("{vip}/{bits}"), "dev", "lo"]);
        }
        let mac = mac_in(&namespace);
        let (owner, vips, programs) = namespace.within(|| {
            let mut programs = load();
            let vips = Arc::new(LeasedVips::open(&mut programs).expect("the maps are there"));
            let index = if_nametoindex(LINK).expect("it is there");
            vips.links(&BTreeMap::from([(index, mac)]))
                .expect("it is writable");
            vips.leased(&BTreeSet::from(self::vips()))
                .expect("it is writable");
            vips.until(boot_clock() + Duration::from_hours(1));
            let owner = VipOwner::start(Arc::clone(&vips)).expect("it is root");
            (owner, vips, programs)
        });
        Self {
            owner,
            vips,
            mac,
            _programs: programs,
            namespace,
        }
    }

    fn take(&self) {
        for (epoch, vip) in (1..).zip(vips()) {
            self.owner.answer(vip, epoch).expect("it is writable");
        }
    }

    fn give_up(&self) {
        for vip in vips() {
            self.owner.stop(vip).expect("it is writable");
        }
    }
}

/// All programs, on the link of this namespace.
fn load() -> Ebpf {
    let scratch = ScratchPins::new();
    let mut loader = EbpfLoader::new();
    loader.default_map_pin_directory(&scratch.0);
    for map in [
        "SESSIONS",
        "SESSION_RECORDS",
        "SESSION_TAGS",
        "FLOWS",
        "RINGS",
    ] {
        loader.map_max_entries(map, 64);
    }
    let mut programs = loader.load(object::object()).expect("loading needs root");
    object::load_all(&mut programs).expect("they are accepted");
    let entry = programs.program_mut(object::LOAD_BALANCER);
    let entry: &mut Xdp = entry.expect("it is there").try_into().expect("of XDP");
    entry
        .attach(LINK, XdpMode::Driver)
        .expect("a veth takes it");
    programs
}

fn set(name: &str, value: &str) {
    let path = format!("/proc/sys/net/{name}");
    std::fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}"));
}

fn boot_clock() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME)
        .expect("every kernel has it")
        .into()
}

fn mac_in(namespace: &Namespace) -> Mac {
    let text = namespace.ip(&["-br", "link", "show", LINK]);
    let mac = text.split_whitespace().nth(2);
    mac_of(mac.expect("name, state, address"))
}

fn mac_of(text: &str) -> Mac {
    let bytes: Vec<u8> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).expect("hexadecimal"))
        .collect();
    bytes.try_into().expect("six bytes")
}

/// Sends a datagram from one of the thread's own addresses: its kernel asks for the other one's link-layer address first.
pub(crate) fn says_as(source: IpAddr, destination: IpAddr) {
    let socket = UdpSocket::bind((source, 0)).expect("an address of its own");
    // What became of an earlier one may be told here.
    let _sent = socket.send_to(b"from me", (destination, 9));
}

#[test]
fn a_client_finds_the_holder_and_nobody_else() {
    let site = Site::new();
    let [first, second] = &site.nodes;
    for vip in vips() {
        site.assert_owned_by_nobody(vip);
    }
    first.take();
    for vip in vips() {
        site.assert_owned_by(first, vip);
    }
    first.give_up();
    for vip in vips() {
        site.assert_owned_by_nobody(vip);
    }
    second.take();
    for vip in vips() {
        site.assert_owned_by(second, vip);
    }
}

#[test]
fn after_the_end_of_the_lease_nobody_answers_and_flows_go_on() {
    let site = Site::new();
    let [first, _] = &site.nodes;
    first.take();
    for vip in vips() {
        site.assert_owned_by(first, vip);
    }
    // The agent hangs: it says nothing more.
    let end = boot_clock() + Duration::from_millis(100);
    first.owner.until(end);
    until("the end", || (boot_clock() > end).then_some(()));
    for vip in vips() {
        site.assert_owned_by_nobody(vip);
        // Whoever knows the node still reaches the VIP there.
        let mac = first.mac.map(|byte| format!("{byte:02x}")).join(":");
        let vip_text = vip.to_string();
        let neighbor = ["neigh", "replace", &vip_text, "lladdr", &mac, "dev", LINK];
        site.client.ip(&neighbor);
        until("the VIP answers", || site.refuses(vip).then_some(()));
    }
    first.owner.until(boot_clock() + Duration::from_hours(1));
    for vip in vips() {
        site.assert_owned_by(first, vip);
    }
}

#[test]
fn neighbors_learn_of_the_new_owner_without_asking() {
    let site = Site::new();
    let [first, second] = &site.nodes;
    first.take();
    let is_known = |vip, node: &Node| (site.known(vip) == Some(node.mac)).then_some(());
    for vip in vips() {
        until("the client knows the first owner", || {
            site.refuses(vip);
            is_known(vip, first)
        });
    }
    for (from, to) in [(first, second), (second, first)] {
        from.give_up();
        to.take();
        for vip in vips() {
            until("the client knows the new owner", || is_known(vip, to));
        }
    }
}

/// One that has the VIP on its own interface, and asks in its name.
#[test]
fn a_stranger_with_the_vip_is_noticed_and_not_fought() {
    let site = Site::new();
    let [first, second] = &site.nodes;
    first.take();
    for vip in vips() {
        site.assert_owned_by(first, vip);
    }
    let own = BTreeSet::from([first.mac]);
    assert_eq!(
        first.vips.look_for_rivals(&own).expect("it is readable"),
        []
    );

    let stranger = &site.stranger;
    for (vip, client) in vips().into_iter().zip(CLIENT) {
        let bits = if vip.is_ipv4() { 32 } else { 128 };
        let address = format!("{vip}/{bits}");
        stranger.ip(&["addr", "add", &address, "dev", LINK, "nodad"]);
        stranger.within(|| set("ipv4/conf/all/arp_announce", "0"));
        let rivals = until("the stranger is noticed", || {
            stranger.flush_neighbours(LINK);
            stranger.within(|| says_as(vip, client.parse().expect("an address")));
            let rivals = first.vips.look_for_rivals(&own).expect("it is readable");
            (!rivals.is_empty()).then_some(rivals)
        });
        let found: Vec<(IpAddr, Mac)> = rivals.iter().map(|it| (it.vip, it.mac)).collect();
        assert_eq!(found, [(vip, mac_in(stranger))]);
        stranger.ip(&["addr", "del", &address, "dev", LINK]);
    }
    assert_eq!(first.vips.rivals().len(), 2);
    let of_second = second.vips.look_for_rivals(&BTreeSet::from([second.mac]));
    assert_eq!(of_second.expect("it is readable"), []);
    for vip in vips() {
        site.assert_owned_by(first, vip);
    }
}

/// In a planned move: the next owner asks while the one before still answers.
#[test]
fn the_next_owner_finds_the_one_before() {
    let site = Site::new();
    let [first, second] = &site.nodes;
    let predecessor = |node: &Node, vip: IpAddr| {
        let found = node.vips.look_up(&vip.into()).expect("it is readable");
        found.expect("it is leased").0.predecessor
    };
    // Nobody has them: it is not waited for long.
    for vip in vips() {
        second.owner.warm(vip);
        let begun = boot_clock();
        until("the search ends", || {
            second.owner.is_warm(vip).then_some(())
        });
        assert!(boot_clock() >= begun + Duration::from_millis(30));
    }
    first.take();
    for vip in vips() {
        assert_eq!(predecessor(first, vip), NextHop::default());
    }
    for (from, to) in [(first, second), (second, first)] {
        for vip in vips() {
            // A question may be lost on a busy machine, and is one for nothing then.
            until("the owner is found", || {
                to.owner.warm(vip);
                until("the search ends", || to.owner.is_warm(vip).then_some(()));
                from.owner.stop(vip).expect("it is writable");
                to.owner.answer(vip, 7).expect("it is writable");
                let found = predecessor(to, vip);
                if found.is_resolved() {
                    assert_eq!((found.mac, found.source_mac), (from.mac, to.mac));
                    return Some(());
                }
                to.owner.stop(vip).expect("it is writable");
                from.owner.answer(vip, 6).expect("it is writable");
                None
            });
            assert_eq!(predecessor(from, vip), NextHop::default());
            // Whoever says so again, as a new agent may, keeps it.
            let before = predecessor(to, vip);
            to.owner.answer(vip, 8).expect("it is writable");
            assert_eq!(predecessor(to, vip), before);
        }
    }
}

/// What a new agent finds in the maps, whose programs have gone on meanwhile.
#[test]
fn a_new_agent_goes_on_with_what_the_maps_hold() {
    let site = Site::new();
    let [first, _] = &site.nodes;
    let [v4, v6] = vips();
    let end = boot_clock() + Duration::from_hours(2);
    first.owner.until(end);
    first.owner.answer(v4, 77).expect("it is writable");
    let adopted = first.owner.adopted().expect("it is readable");
    assert_eq!(adopted.until, end);
    assert_eq!(adopted.vips, BTreeMap::from([(v4, Some(77)), (v6, None)]));
    // What is leased no more is the kernel's, and what is still held stays.
    let other = "10.89.0.101".parse().expect("an address");
    let leased = BTreeSet::from([v4, other]);
    first.owner.leased(&leased).expect("it is writable");
    let adopted = first.owner.adopted().expect("it is readable");
    assert_eq!(
        adopted.vips,
        BTreeMap::from([(v4, Some(77)), (other, None)])
    );
    site.assert_owned_by(first, v4);
}
