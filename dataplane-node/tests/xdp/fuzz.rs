//! Generated frames: the programs and the reference must agree on each. `make fuzz-packets` runs it for ten minutes.

use std::{
    collections::BTreeMap,
    env,
    net::SocketAddr,
    time::{Duration, Instant},
};

use lbfabric_abi::{Mode, Protocol};

use super::{
    fabric::{
        EGRESS_MAC, Fabric, Family, NAT_PORT_COUNT, NAT_PORT_FIRST, OTHER_SERVER, RING_START,
        SERVER, SERVER_MAC, backend, reverse, service,
    },
    generator::{Answer, Random, frames, octets},
    kernel::{Action, Program, Ran, counter_names},
    network::{CLIENTS_MAC, NEIGHBOUR_MAC, Network, SERVERS_MAC, in_network},
    reference::{Seen, What, read, sum, word},
    sent_back,
    verdicts::{
        DNAT_PORT, Expected, NO_ROOM, PORTS, RANGE, Reference, Way, family, ring, server,
        server_port,
    },
};

/// What every run has to reach, or it has shown nothing.
const REACHED: [&str; 25] = [
    "pass-not-ip",
    "pass-not-vip",
    "pass-not-served",
    "pass-to-route",
    "l4-dnat",
    "l4-dnat-answer",
    "l4-fullnat",
    "l4-fullnat-answer",
    "l4-dsr",
    "l4-tunnel",
    "icmp-time-exceeded",
    "icmp-echo-reply",
    "drop-truncated",
    "drop-bad-length",
    "drop-fragment",
    "drop-ttl-expired",
    "drop-martian",
    "drop-land",
    "drop-extension-headers",
    "drop-bad-quote",
    "drop-icmp-rate-limit",
    "certain:l4-fullnat-answer",
    "later:l4-dnat",
    "later:l4-dsr",
    "tagged:l4-tunnel",
];

/// For so long it runs as a test among others.
const SECONDS: u64 = 4;
/// So many are enough to meet every verdict, however slow the machine is.
const INPUTS_MIN: u64 = 5000;

fn fabric(network: &Network) -> Fabric {
    let mut fabric = Fabric::new(Mode::Dnat);
    fabric.ring(RING_START, &ring());
    let (v4, v6) = (Family::V4, Family::V6);
    let mut near = backend(v4.other_server().ip(), v6.other_server().ip());
    (near.hop4.ifindex, near.hop6.ifindex) = (network.servers, network.servers);
    fabric.backend(OTHER_SERVER, near);
    for family in [v4, v6] {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let mut vip = family.vip();
            for (port, mode) in PORTS {
                let mut service = service(mode);
                if mode == Mode::Dnat {
                    service.backend_port_be = DNAT_PORT.to_be_bytes();
                }
                vip.set_port(port);
                fabric.serve(vip, protocol, service);
            }
            vip.set_port(RANGE.start);
            fabric.serve_range(vip, 4, protocol, service(Mode::Dnat));
            for id in [SERVER, OTHER_SERVER] {
                let mut from = SocketAddr::new(server(id, family), DNAT_PORT);
                vip.set_port(80);
                fabric.reverse(from, protocol, reverse(vip, false));
                from.set_port(RANGE.start);
                fabric.reverse_range(from, 4, protocol, reverse(vip, true));
            }
        }
    }
    fabric
}

fn setting(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[test]
#[expect(clippy::print_stdout, reason = "what a long run has shown")]
fn programs_and_reference_agree() {
    let (seconds, seed) = (setting("FUZZ_SECONDS", SECONDS), setting("FUZZ_SEED", 1));
    println!("seed {seed}, {seconds} seconds");
    in_network(move |network| {
        let fabric = fabric(network);
        let mut run = Run {
            random: Random(seed),
            reference: Reference::default(),
            answers: Vec::new(),
            counts: BTreeMap::new(),
        };
        let begin = Instant::now();
        let mut inputs = 0;
        while begin.elapsed() < Duration::from_secs(seconds) || inputs < INPUTS_MIN {
            for frame in frames(&mut run.random, inputs, &run.answers) {
                let expected = run.reference.expect(&frame);
                let ran = run.run(&fabric, &frame, &expected, network.servers);
                if let Err(why) = run.check(&frame, &expected, &ran) {
                    let Expected { seen, ways } = expected;
                    panic!(
                        "input {inputs} of seed {seed}: {why}\n{}\nexpected {ways:?}\nseen {seen:?}\n{ran:?}",
                        hex(&frame)
                    );
                }
                inputs += 1;
            }
        }
        for (slot, name) in counter_names() {
            assert_eq!(fabric.kernel.counter(slot), run.count(name), "{name}");
        }
        println!("{inputs} inputs");
        for (name, count) in &run.counts {
            println!("{count:>10} {name}");
        }
        // Whether a flow finds a place, and keeps it before its client has confirmed it, is a matter of chance, but nearly always it
        // does.
        let refused: u64 = NO_ROOM.iter().map(|name| run.count(name)).sum();
        let lost = run.reference.nat.lost;
        let sent = run.count("l4-fullnat");
        println!("{lost} flows lost their place before they were confirmed");
        assert!(
            (refused + lost) * 100 <= sent,
            "{refused} flows refused, {lost} lost, {sent} packets sent"
        );
        for name in REACHED {
            assert!(run.counts.contains_key(name), "{name} was never reached");
        }
    });
}

fn hex(frame: &[u8]) -> String {
    let digits = frame.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

struct Run {
    random: Random,
    reference: Reference,
    answers: Vec<Answer>,
    counts: BTreeMap<String, u64>,
}

impl Run {
    fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }

    /// Runs the programs, and finds the counter that has moved by those that may have: to look at all of them takes far
    /// longer than the programs.
    fn run(&self, fabric: &Fabric, frame: &[u8], expected: &Expected, ifindex: u32) -> Ran {
        let (action, frame) = fabric.kernel.run_uncounted(Program::Lb, frame, ifindex);
        let names = counter_names();
        let has_moved = |(slot, name): &&(u32, &'static str)| {
            fabric.kernel.counter(*slot) == self.count(name) + 1
        };
        let may_move =
            |(_, name): &&(u32, &'static str)| expected.ways.iter().any(|(way, _)| way == name);
        let moved = names.iter().filter(may_move).find(has_moved);
        let moved = moved.or_else(|| names.iter().find(has_moved));
        Ran {
            action,
            counter: moved.map(|(_, name)| *name),
            frame,
        }
    }

    fn check(&mut self, frame: &[u8], expected: &Expected, ran: &Ran) -> Result<(), String> {
        let counter = ran.counter.ok_or("no counter moved")?;
        let way = expected.ways.iter().find(|(name, _)| *name == counter);
        let (_, way) = way.ok_or(format!("not {counter}"))?;
        *self.counts.entry(counter.to_owned()).or_default() += 1;
        let Some(seen) = &expected.seen else {
            return untouched(frame, ran, Action::Pass);
        };
        let prefix = match seen.what {
            What::Later(_) => Some("later"),
            _ if seen.ip > 14 => Some("tagged"),
            What::Ports(..) | What::Other(_) | What::Broken(_) => None,
        };
        if let Some(prefix) = prefix {
            *self
                .counts
                .entry(format!("{prefix}:{counter}"))
                .or_default() += 1;
        }
        let is_certain = expected
            .ways
            .iter()
            .all(|(_, other)| *other == *way || *other == Way::Drop);
        if counter == "l4-fullnat-answer" && is_certain {
            *self.counts.entry(format!("certain:{counter}")).or_default() += 1;
        }
        let way = match *way {
            Way::Pass => untouched(frame, ran, Action::Pass).map(|()| Way::Pass)?,
            // A program behind the first has taken the tags off.
            Way::Drop if seen.ip > 14 && ran.action == Action::Drop => Way::Drop,
            Way::Drop => untouched(frame, ran, Action::Drop).map(|()| Way::Drop)?,
            Way::Back => sent_back::check(frame, seen, counter, ran).map(|()| Way::Back)?,
            Way::Server(mode, id) => sent(frame, seen, mode, id, ran)?,
            Way::Node(node, id) => self.through(frame, seen, (node, id), ran)?,
            Way::Client { from, to, .. } => {
                answered(frame, seen, (from, to), ran)?;
                *way
            }
        };
        self.reference.went(frame, seen, way);
        Ok(())
    }

    fn through(
        &mut self,
        frame: &[u8],
        seen: &Seen,
        (node, id): (SocketAddr, u32),
        ran: &Ran,
    ) -> Result<Way, String> {
        let out = leaves(frame, seen, id, ran)?;
        let server = server(id, family(seen.destination));
        let What::Ports(protocol, _, destination) = seen.what else {
            let change = Change::of_fragment(node, SocketAddr::new(server, 0));
            change.check(frame, seen, out, 1)?;
            return Ok(Way::Node(node, id));
        };
        let used = word(out, seen.l4 - seen.ip).ok_or("no port")?;
        let first = NAT_PORT_FIRST;
        if !(first..first + NAT_PORT_COUNT).contains(&used) || ![0, used].contains(&node.port()) {
            return Err(format!("port {used}, not {node}"));
        }
        let node = SocketAddr::new(node.ip(), used);
        let port = server_port(destination);
        let to = SocketAddr::new(server, port);
        Change {
            from: node,
            to,
            ports: true,
        }
        .check(frame, seen, out, 1)?;
        if self.answers.len() == 256 {
            self.answers.swap_remove(self.random.below(256));
        }
        self.answers.push((server, port, node.ip(), used, protocol));
        Ok(Way::Node(node, id))
    }
}

fn untouched(frame: &[u8], ran: &Ran, action: Action) -> Result<(), String> {
    if ran.action != action || ran.frame != frame {
        return Err("it does not leave as it came".to_owned());
    }
    Ok(())
}

/// Checks the link-layer header of a frame to a server, and gives what is behind it. Tags stay where the frame came from.
fn leaves<'a>(frame: &[u8], seen: &Seen, id: u32, ran: &'a Ran) -> Result<&'a [u8], String> {
    let is_back = id == OTHER_SERVER;
    let action = if is_back {
        Action::Tx
    } else {
        Action::Redirect
    };
    let macs = [SERVER_MAC, EGRESS_MAC].concat();
    link(frame, seen, (action, is_back), &macs, ran)
}

fn link<'a>(
    frame: &[u8],
    seen: &Seen,
    (action, keeps_tags): (Action, bool),
    macs: &[u8],
    ran: &'a Ran,
) -> Result<&'a [u8], String> {
    let tags = if keeps_tags {
        &frame[12..seen.ip - 2]
    } else {
        &[]
    };
    let head = 12 + tags.len();
    if ran.action != action {
        return Err(format!("not {action:?}"));
    }
    if ran.frame.get(..12) != Some(macs) || ran.frame.get(12..head) != Some(tags) {
        return Err("link-layer header".to_owned());
    }
    Ok(&ran.frame[head + 2..])
}

fn sent(frame: &[u8], seen: &Seen, mode: Mode, id: u32, ran: &Ran) -> Result<Way, String> {
    let out = leaves(frame, seen, id, ran)?;
    let server = server(id, family(seen.destination));
    match mode {
        Mode::Dsr if out == &frame[seen.ip..] => {}
        Mode::Dsr => return Err("the packet has changed".to_owned()),
        Mode::Tunnel => {
            let outer = tunnelled(frame, seen, server, &ran.frame)?;
            if out.get(outer..) != Some(&frame[seen.ip..seen.end]) {
                return Err("the inner packet has changed".to_owned());
            }
        }
        Mode::Dnat => {
            let from = SocketAddr::new(seen.source, 0);
            let change = match seen.what {
                What::Ports(_, source, destination) => Change {
                    from: SocketAddr::new(seen.source, source),
                    to: SocketAddr::new(server, server_port(destination)),
                    ports: true,
                },
                What::Later(_) | What::Other(_) | What::Broken(_) => {
                    Change::of_fragment(from, SocketAddr::new(server, 0))
                }
            };
            change.check(frame, seen, out, 1)?;
        }
        Mode::Fullnat => unreachable!("it goes through the node"),
    }
    Ok(Way::Server(mode, id))
}

/// Checks the outer header, as the reference reads it, and gives its length.
fn tunnelled(
    frame: &[u8],
    seen: &Seen,
    server: std::net::IpAddr,
    out: &[u8],
) -> Result<usize, String> {
    let outer = read(out).map_err(|odd| format!("outer: {odd:?}"))?;
    let (header, protocol) = if server.is_ipv4() { (20, 4) } else { (40, 41) };
    let is_right = outer.source == family(server).node()
        && outer.destination == server
        && outer.what == What::Other(protocol)
        && outer.end == out.len()
        && outer.l4 == outer.ip + header
        && outer.end - outer.l4 == seen.end - seen.ip;
    let class = |bytes: &[u8], at: usize| {
        let first = word(bytes, at).unwrap();
        if server.is_ipv4() {
            first & 0xff
        } else {
            first >> 4 & 0xff
        }
    };
    let ip = &out[outer.ip..outer.l4];
    let is_whole = !server.is_ipv4() || sum(&[ip]) == 0;
    if !is_right || !is_whole || class(out, outer.ip) != class(frame, seen.ip) {
        return Err(format!("outer header: {outer:?}"));
    }
    Ok(header)
}

fn answered(
    frame: &[u8],
    seen: &Seen,
    (from, to): (SocketAddr, SocketAddr),
    ran: &Ran,
) -> Result<(), String> {
    let (out, hops) = match ran.action {
        Action::Redirect => {
            let macs = [NEIGHBOUR_MAC, CLIENTS_MAC].concat();
            (link(frame, seen, (Action::Redirect, false), &macs, ran)?, 1)
        }
        Action::Tx => {
            let macs = [NEIGHBOUR_MAC, SERVERS_MAC].concat();
            (link(frame, seen, (Action::Tx, true), &macs, ran)?, 1)
        }
        _ => (
            link(frame, seen, (Action::Pass, true), &frame[..12], ran)?,
            0,
        ),
    };
    let ports = matches!(seen.what, What::Ports(..));
    Change { from, to, ports }.check(frame, seen, out, hops)
}

/// What NAT makes of a packet.
struct Change {
    from: SocketAddr,
    to: SocketAddr,
    /// Whether the ports are there.
    ports: bool,
}

impl Change {
    const fn of_fragment(from: SocketAddr, to: SocketAddr) -> Self {
        Self {
            from,
            to,
            ports: false,
        }
    }

    /// Compares all bytes, those of checksums aside, and then the sums that they stand for.
    fn check(&self, frame: &[u8], seen: &Seen, out: &[u8], hops: u8) -> Result<(), String> {
        let before = &frame[seen.ip..];
        let (l4, end) = (seen.l4 - seen.ip, seen.end - seen.ip);
        let mut wanted = before.to_vec();
        let mut found = out.to_vec();
        if found.len() != wanted.len() {
            return Err(format!("{} bytes instead of {}", found.len(), wanted.len()));
        }
        let (addresses, ttl) = if seen.source.is_ipv4() {
            (12, 8)
        } else {
            (8, 7)
        };
        let both = [octets(self.from.ip()), octets(self.to.ip())].concat();
        wanted[addresses..addresses + both.len()].copy_from_slice(&both);
        wanted[ttl] -= hops;
        if seen.source.is_ipv4() {
            let header = |packet: &[u8]| sum(&[&packet[..l4]]);
            if header(before) != header(out) {
                return Err("the IP header's sum has changed".to_owned());
            }
            wanted[10..12].fill(0);
            found[10..12].fill(0);
        }
        if let (true, What::Ports(protocol, ..)) = (self.ports, seen.what) {
            wanted[l4..l4 + 2].copy_from_slice(&self.from.port().to_be_bytes());
            wanted[l4 + 2..l4 + 4].copy_from_slice(&self.to.port().to_be_bytes());
            let at = l4 + if protocol == 6 { 16 } else { 6 };
            let covered = |packet: &[u8]| {
                let addresses = &packet[addresses..addresses + both.len()];
                sum(&[addresses, &packet[l4..end]])
            };
            let (old, new) = (word(before, at), word(out, at));
            if protocol == 17 && (old == Some(0)) != (new == Some(0)) {
                return Err("a UDP checksum came or went".to_owned());
            }
            if (protocol == 6 || old != Some(0)) && covered(before) != covered(out) {
                return Err("the sum over ports and payload has changed".to_owned());
            }
            wanted[at..at + 2].fill(0);
            found[at..at + 2].fill(0);
        }
        if found != wanted {
            return Err(format!("NAT: not {}", hex(&wanted)));
        }
        Ok(())
    }
}
