use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::chown;
use std::os::unix::net::UnixStream;

use nix::unistd::{Group, User};
use serde_json::Value;

use crate::namespace::Namespace;
use crate::network::{Over, until};
use crate::node::PATIENCE;
use crate::path::{Path, numbers, pairs, triples};
use crate::peering::{Dials, LOCAL_AS, Peering};
use crate::process::{Daemon, Folder};
use crate::router::{BfdRouter, Router};

/// FRR (Debian's package frr): zebra, bfdd and bgpd, without the service that starts them otherwise.
pub(crate) struct Frr {
    _daemons: Vec<Daemon>,
    folder: Folder,
    router_as: u32,
    nodes: Vec<IpAddr>,
}

// === impl Frr ===

impl Frr {
    pub(crate) fn start(namespace: &Namespace, peerings: &[Peering]) -> Self {
        let folder = Folder::new();
        // They give up root, and make their sockets as this user.
        let user = User::from_name("frr").ok().flatten();
        let group = Group::from_name("frr").ok().flatten();
        let (Some(user), Some(group)) = (user, group) else {
            panic!("Debian's package frr makes a user and a group of that name");
        };
        let owner = (Some(user.uid.as_raw()), Some(group.gid.as_raw()));
        chown(folder.path(), owner.0, owner.1).expect("these tests need root");
        let log = format!("log file {}\n", folder.file("log").display());
        let settings = [
            ("zebra", log.clone()),
            (
                "bfdd",
                format!("{log}bfd\n profile fast\n  transmit-interval 50\n  receive-interval 50\n"),
            ),
            ("bgpd", format!("{log}{}", settings(peerings))),
        ];
        let start = |(name, text): &(&str, String)| {
            let settings = folder.write(&format!("{name}.conf"), text);
            chown(&settings, owner.0, owner.1).expect("these tests need root");
            let daemon = daemon(namespace, &folder, name);
            // The others look for zebra once, and then not for a while.
            until(
                &format!("{name} runs (Debian's package frr)"),
                PATIENCE,
                || {
                    let said = ask(&folder, name, &["show version"]).map(drop);
                    said.map_err(|error| format!("{error} {}", folder.read("output")))
                },
            );
            daemon
        };
        let daemons = settings.iter().map(start).collect();
        let nodes = peerings.iter().enumerate();
        Self {
            _daemons: daemons,
            folder,
            router_as: peerings[0].router_as(),
            nodes: nodes
                .map(|(number, peering)| peering.node(number))
                .collect(),
        }
    }

    fn ask(&self, daemon: &str, commands: &[&str]) -> String {
        ask(&self.folder, daemon, commands)
            .unwrap_or_else(|error| panic!("{daemon}, {commands:?}: {error}"))
    }

    fn ask_for_json(&self, daemon: &str, question: &str) -> Value {
        let said = self.ask(daemon, &[question]);
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{question}: {error}: {said}"))
    }

    fn configure(&self, commands: &[&str]) {
        let router = format!("router bgp {}", self.router_as);
        let commands = [&["configure terminal", &router], commands].concat();
        self.ask("bgpd", &commands);
    }
}

impl Router for Frr {
    fn paths(&self, prefix: &str) -> Vec<Path> {
        let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
        let said = self.ask_for_json("bgpd", &format!("show bgp {family} unicast {prefix} json"));
        let paths = said["paths"].as_array();
        paths.into_iter().flatten().map(path).collect()
    }

    fn count(&self) -> usize {
        let said = self.ask_for_json("bgpd", "show bgp ipv4 unicast summary json");
        let peers = said["peers"].as_object().into_iter().flatten();
        let counts = peers.filter_map(|(_, peer)| peer["pfxRcd"].as_u64());
        usize::try_from(counts.sum::<u64>()).expect("they are few")
    }

    fn heard(&self) -> Option<(u8, u8)> {
        let log = self.folder.read("log");
        let (_, said) = log.rsplit_once("%NOTIFICATION: received from neighbor ")?;
        let codes = said.split(' ').find_map(|word| word.split_once('/'))?;
        codes.0.parse().ok().zip(codes.1.parse().ok())
    }

    fn shut_down(&self) {
        self.configure(&[&format!("neighbor {} shutdown", self.nodes[0])]);
    }

    fn reset(&self) {
        self.ask("bgpd", &["clear bgp *"]);
    }

    fn forget(&self) {
        self.configure(&[&format!("no neighbor {}", self.nodes[0])]);
    }

    fn state(&self) -> String {
        let said = self.ask("bgpd", &["show bgp neighbors"]);
        format!("{said}\n{}", self.folder.read("log"))
    }
}

impl BfdRouter for Frr {
    fn is_bfd_up(&self, node: usize) -> bool {
        let said = self.ask_for_json("bfdd", "show bfd peers json");
        let address = self.nodes[node].to_string();
        let mut peers = said.as_array().into_iter().flatten();
        peers.any(|peer| peer["peer"] == address.as_str() && peer["status"] == "up")
    }

    fn stop_bfd(&self) {
        let said = self.ask_for_json("bfdd", "show bfd peers json");
        let peer = &said[0];
        let text = |name: &str| peer[name].as_str().unwrap_or_default();
        let mut line = format!("peer {}", text("peer"));
        if peer["multihop"] == true {
            line += " multihop";
        }
        for (key, name) in [("local-address", "local"), ("interface", "interface")] {
            if !text(name).is_empty() {
                write!(line, " {key} {}", text(name)).expect("strings take everything");
            }
        }
        self.ask("bfdd", &["configure terminal", "bfd", &line, "shutdown"]);
    }
}

fn daemon(namespace: &Namespace, folder: &Folder, name: &str) -> Daemon {
    let file = |name: &str| folder.file(name).display().to_string();
    let (settings, zserv, bfd) = (file(&format!("{name}.conf")), file("zserv"), file("bfd"));
    let (process, sockets) = (file(&format!("{name}.pid")), folder.path().display());
    let sockets = sockets.to_string();
    let mut args = vec![
        "-f",
        &settings,
        "-i",
        &process,
        "-z",
        &zserv,
        "--vty_socket",
        &sockets,
    ];
    // Its port for people is not opened.
    args.extend(["-u", "frr", "-g", "frr", "-P", "0"]);
    if name == "bfdd" {
        args.extend(["--bfdctl", &bfd]);
    }
    Daemon::start(namespace, folder, &format!("/usr/lib/frr/{name}"), &args)
}

/// What a daemon says to commands, as to vtysh: each ends with a zero byte, each answer with three and the outcome.
fn ask(folder: &Folder, daemon: &str, commands: &[&str]) -> Result<String, String> {
    let socket = folder.file(&format!("{daemon}.vty"));
    let mut stream = UnixStream::connect(socket).map_err(|error| error.to_string())?;
    let mut said = String::new();
    for command in [&["enable"], commands].concat() {
        let command = format!("{command}\0");
        stream
            .write_all(command.as_bytes())
            .map_err(|error| error.to_string())?;
        let mut answer = vec![];
        let outcome = loop {
            if let [.., 0, 0, 0, outcome] = answer[..] {
                break outcome;
            }
            let mut buffer = [0; 1 << 14];
            match stream.read(&mut buffer) {
                Ok(0) => return Err("it hangs up".to_owned()),
                Ok(length) => answer.extend_from_slice(&buffer[..length]),
                Err(error) => return Err(error.to_string()),
            }
        };
        said = String::from_utf8_lossy(&answer[..answer.len() - 4]).into_owned();
        if outcome != 0 {
            return Err(format!("{command}: {outcome}: {said}"));
        }
    }
    Ok(said)
}

fn path(said: &Value) -> Path {
    let text = |name: &str| said[name]["string"].as_str().unwrap_or_default();
    let number = |value: &Value| value.as_u64().and_then(|it| it.try_into().ok());
    let next_hops = said["nexthops"].as_array().into_iter().flatten();
    Path {
        next_hops: next_hops
            .filter_map(|it| it["ip"].as_str()?.parse().ok())
            .collect(),
        asns: numbers(text("aspath")),
        med: number(&said["metric"]),
        local_preference: number(&said["locPrf"]),
        // It has a name for this one (RFC 8326).
        communities: pairs(&text("community").replace("graceful-shutdown", "65535:0")),
        route_targets: pairs(text("extendedCommunity")),
        large_communities: triples(text("largeCommunity")),
        aggregator: number(&said["aggregatorAs"])
            .zip(said["aggregatorId"].as_str().and_then(|id| id.parse().ok())),
    }
}

fn settings(peerings: &[Peering]) -> String {
    let mut text = String::new();
    let mut add = |line: &str| writeln!(text, "{line}").expect("strings take everything");
    add("debug bgp neighbor-events");
    add(&format!("router bgp {}", peerings[0].router_as()));
    add(" bgp router-id 192.0.2.254");
    add(" bgp log-neighbor-changes");
    add(" no bgp default ipv4-unicast");
    add(" no bgp ebgp-requires-policy");
    let mut families = ["ipv4", "ipv6"]
        .map(|family| format!(" address-family {family} unicast\n  maximum-paths 8\n"));
    for (number, peering) in peerings.iter().enumerate() {
        let node = peering.node(number);
        let mut of_it = |what: &str| add(&format!(" neighbor {node} {what}"));
        of_it(&format!("remote-as {LOCAL_AS}"));
        let hold = peering.hold_time_secs;
        of_it(&format!("timers {} {hold}", hold / 3));
        of_it("timers connect 1");
        if peering.over == Over::LinkLocal {
            of_it("interface eth0");
        }
        if peering.dials == Dials::Node {
            of_it("passive");
        }
        if let Some(secret) = peering.secret {
            of_it(&format!("password {secret}"));
        }
        match peering.multihop() {
            Some(hops) if peering.is_proven() => of_it(&format!("ttl-security hops {hops}")),
            Some(hops) => of_it(&format!("ebgp-multihop {hops}")),
            None if peering.is_proven() => of_it("ttl-security hops 1"),
            None => {}
        }
        if peering.extended_next_hop {
            of_it("capability extended-nexthop");
        }
        if peering.has_bfd {
            of_it("bfd profile fast");
        }
        let of_family = |what: &str| format!("  neighbor {node} {what}\n");
        for family in &mut families {
            family.push_str(&of_family("activate"));
            if peering.gives_default {
                family.push_str(&of_family("default-originate"));
            }
        }
    }
    let [ipv4, ipv6] = families;
    text + &ipv4 + " exit-address-family\n" + &ipv6 + " exit-address-family\n"
}
