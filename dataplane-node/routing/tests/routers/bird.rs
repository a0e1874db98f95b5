use std::fmt::Write as _;
use std::net::IpAddr;
use std::process::Command;

use lbfabric_bgp::Hops;

use crate::namespace::Namespace;
use crate::network::{Over, until};
use crate::node::PATIENCE;
use crate::path::{Path, numbers, pairs, triples};
use crate::peering::{Dials, LOCAL_AS, Peering};
use crate::process::{Daemon, Folder, path};
use crate::router::{BfdRouter, Router};

/// bird (Debian's package bird2).
pub(crate) struct Bird {
    _daemon: Daemon,
    folder: Folder,
}

/// What it calls NOTIFICATIONs of ours.
const REASONS: [(&str, (u8, u8)); 7] = [
    ("Hold timer expired", (4, 0)),
    ("Administrative shutdown", (6, 2)),
    ("Peer de-configured", (6, 3)),
    ("Administrative reset", (6, 4)),
    ("Other configuration change", (6, 6)),
    ("Connection collision resolution", (6, 7)),
    ("BFD down", (6, 10)),
];

// === impl Bird ===

impl Bird {
    pub(crate) fn start(namespace: &Namespace, peerings: &[Peering]) -> Self {
        let folder = Folder::new();
        let settings = folder.write("bird.conf", &settings(&folder, peerings));
        let socket = folder.file("control");
        let [settings, socket] = [settings, socket].map(|it| it.display().to_string());
        let args = ["-f", "-c", &settings, "-s", &socket];
        let daemon = Daemon::start(namespace, &folder, "bird", &args);
        let bird = Self {
            _daemon: daemon,
            folder,
        };
        until("bird runs (Debian's package bird2)", PATIENCE, || {
            let said = bird.try_ask("show status").map(drop);
            said.map_err(|error| format!("{error} {}", bird.folder.read("output")))
        });
        bird
    }

    fn ask(&self, question: &str) -> String {
        self.try_ask(question)
            .unwrap_or_else(|error| panic!("birdc {question}: {error}"))
    }

    fn try_ask(&self, question: &str) -> Result<String, String> {
        let output = Command::new("birdc")
            .env("PATH", path())
            .arg("-s")
            .arg(self.folder.file("control"))
            .args(question.split(' '))
            .output()
            .map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            Ok(said)
        } else {
            Err(format!("{said}{}", String::from_utf8_lossy(&output.stderr)))
        }
    }
}

impl Router for Bird {
    fn paths(&self, prefix: &str) -> Vec<Path> {
        // Without a route it says so, and fails.
        let said = self.try_ask(&format!("show route for {prefix} all"));
        let said = said.unwrap_or_default();
        if !said.contains(prefix) {
            return vec![];
        }
        let mut paths = vec![];
        for line in said.lines() {
            if line.contains("Type: BGP") {
                paths.push(Path::default());
            }
            if let (Some(path), Some((name, value))) = (paths.last_mut(), line.split_once(": ")) {
                take(path, name.trim(), value);
            }
        }
        paths
    }

    fn count(&self) -> usize {
        let said = self.ask("show route count table master4 protocol lb0");
        let first = said
            .lines()
            .find_map(|line| line.split(' ').next()?.parse().ok());
        first.unwrap_or_else(|| panic!("bird counts {said}"))
    }

    fn heard(&self) -> Option<(u8, u8)> {
        let log = self.folder.read("log");
        let (_, said) = log.rsplit_once("Received: ")?;
        let (_, codes) = REASONS
            .iter()
            .find(|(reason, _)| said.starts_with(reason))?;
        Some(*codes)
    }

    fn shut_down(&self) {
        self.ask("disable lb0");
    }

    fn reset(&self) {
        self.ask("restart lb0");
    }

    fn forget(&self) {
        self.folder.write("bird.conf", &settings(&self.folder, &[]));
        self.ask("configure");
    }

    fn state(&self) -> String {
        let said = self.ask("show protocols all");
        format!("{said}\n{}", self.folder.read("log"))
    }
}

impl BfdRouter for Bird {
    fn is_bfd_up(&self, node: usize) -> bool {
        let said = self.ask("show bfd sessions");
        let number = format!(".{}", node + 1);
        let number6 = format!("::{}", node + 1);
        said.lines().any(|line| {
            let mut words = line.split_whitespace();
            let is_its = words
                .next()
                .is_some_and(|it| it.ends_with(&number) || it.ends_with(&number6));
            is_its && words.any(|word| word == "Up")
        })
    }

    fn stop_bfd(&self) {
        self.ask("disable bfd1");
    }
}

/// A line of what it says of a route.
fn take(path: &mut Path, name: &str, value: &str) {
    match name {
        "BGP.next_hop" => {
            let addresses = value.split_whitespace();
            path.next_hops = addresses
                .filter_map(|it| it.parse::<IpAddr>().ok())
                .collect();
        }
        "BGP.as_path" => path.asns = numbers(value),
        "BGP.med" => path.med = value.trim().parse().ok(),
        "BGP.local_pref" => path.local_preference = value.trim().parse().ok(),
        "BGP.community" => path.communities = pairs(value),
        "BGP.ext_community" => path.route_targets = pairs(value),
        "BGP.large_community" => path.large_communities = triples(value),
        "BGP.aggregator" => {
            let (id, number) = value.split_once(" AS").unwrap_or_default();
            path.aggregator = number.trim().parse().ok().zip(id.parse().ok());
        }
        _ => {}
    }
}

fn settings(folder: &Folder, peerings: &[Peering]) -> String {
    let mut text = format!(
        r#"
        log "{}" all;
        router id 192.0.2.254;
        protocol device {{ scan time 1; }}
        protocol direct {{ ipv4; ipv6; }}
        protocol kernel kernel4 {{ merge paths on; ipv4 {{ import none; export where source = RTS_BGP; }}; }}
        protocol kernel kernel6 {{ merge paths on; ipv6 {{ import none; export where source = RTS_BGP; }}; }}
        protocol static {{ ipv4; route 0.0.0.0/0 unreachable; }}
        protocol static {{ ipv6; route ::/0 unreachable; }}
        "#,
        folder.file("log").display()
    );
    if peerings.iter().any(|peering| peering.has_bfd) {
        let timers = "interval 50 ms; multiplier 3;";
        let links = format!("interface \"eth0\" {{ {timers} }}; multihop {{ {timers} }};");
        writeln!(text, "protocol bfd {{ {links} }}").expect("strings take everything");
    }
    for (number, peering) in peerings.iter().enumerate() {
        text += &neighbor(number, peering);
    }
    text
}

fn neighbor(number: usize, peering: &Peering) -> String {
    let (local, node) = (peering.router(), peering.node(number));
    let mut text = format!(
        "protocol bgp lb{number} {{ local {local} as {}; neighbor {node} as {LOCAL_AS}; hold time {}; connect delay time 1; connect retry time 2; error wait time 1, 4; ",
        peering.router_as(),
        peering.hold_time_secs,
    );
    let mut add = |part: &str| writeln!(text, "{part};").expect("strings take everything");
    if peering.over == Over::LinkLocal {
        add("interface \"eth0\"");
    }
    if peering.dials == Dials::Node {
        add("passive on");
    }
    if let Some(secret) = peering.secret {
        add(&format!("password \"{secret}\""));
    }
    if let Some(hops) = peering.multihop() {
        add(&format!("multihop {hops}"));
    } else {
        add("direct");
    }
    if let Hops::Proven(_) = peering.hops {
        add("ttl security on");
    }
    if peering.has_bfd {
        add("bfd on");
    }
    let extended = if peering.extended_next_hop {
        "extended next hop on; "
    } else {
        ""
    };
    let give = |default| {
        if peering.gives_default {
            format!("import all; next hop self; export where net = {default};")
        } else {
            "import all; export none;".to_owned()
        }
    };
    add(&format!("ipv4 {{ {extended}{} }}", give("0.0.0.0/0")));
    add(&format!("ipv6 {{ {} }}", give("::/0")));
    text + "}\n"
}
