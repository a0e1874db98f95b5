use std::fmt::Write as _;
use std::process::Command;

use serde_json::Value;

use crate::namespace::Namespace;
use crate::network::{Over, until};
use crate::node::PATIENCE;
use crate::path::{Path, pairs};
use crate::peering::{Dials, LOCAL_AS, Peering};
use crate::process::{Daemon, Folder, path};
use crate::router::Router;

/// gobgpd (Debian's package of that name). It has no BFD, and leaves the kernel's tables alone.
pub(crate) struct Gobgp {
    _daemon: Daemon,
    folder: Folder,
    /// Where its command line finds it.
    place: String,
    /// The first node, as it calls it.
    node: String,
}

// === impl Gobgp ===

impl Gobgp {
    pub(crate) fn start(namespace: &Namespace, peerings: &[Peering]) -> Self {
        let folder = Folder::new();
        let settings = folder.write("gobgpd.toml", &settings(peerings));
        let settings = settings.display().to_string();
        let args = ["-f", &settings, "--pprof-disable", "-l", "debug"];
        let daemon = Daemon::start(namespace, &folder, "gobgpd", &args);
        let gobgp = Self {
            _daemon: daemon,
            folder,
            place: namespace.name.clone(),
            node: neighbor(0, &peerings[0]),
        };
        until("gobgpd runs (Debian's package gobgpd)", PATIENCE, || {
            let said = gobgp.try_ask(&["global"]).map(drop);
            said.map_err(|error| format!("{error} {}", gobgp.folder.read("output")))
        });
        if peerings.iter().any(|peering| peering.gives_default) {
            gobgp.ask(&["global", "rib", "add", "0.0.0.0/0"]);
            gobgp.ask(&["global", "rib", "add", "::/0", "-a", "ipv6"]);
        }
        gobgp
    }

    fn ask(&self, question: &[&str]) -> String {
        self.try_ask(question)
            .unwrap_or_else(|error| panic!("gobgp {question:?}: {error}"))
    }

    fn try_ask(&self, question: &[&str]) -> Result<String, String> {
        let output = Command::new("ip")
            .args(["netns", "exec", &self.place, "gobgp"])
            .args(question)
            .env("PATH", path())
            .output()
            .map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            Ok(said)
        } else {
            Err(format!("{said}{}", String::from_utf8_lossy(&output.stderr)))
        }
    }

    fn rib(&self, family: &str) -> Value {
        let said = self.ask(&["-j", "global", "rib", "-a", family]);
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    }
}

impl Router for Gobgp {
    fn paths(&self, prefix: &str) -> Vec<Path> {
        let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
        let rib = self.rib(family);
        let paths = rib[prefix].as_array();
        paths.into_iter().flatten().map(read).collect()
    }

    fn count(&self) -> usize {
        self.rib("ipv4").as_object().map_or(0, serde_json::Map::len)
    }

    fn heard(&self) -> Option<(u8, u8)> {
        let log = self.folder.read("output");
        let mut lines = log.lines().rev();
        let line = lines.find(|line| line.contains(r#""msg":"received notification""#))?;
        let said: Value = serde_json::from_str(line).ok()?;
        let number = |name: &str| u8::try_from(said[name].as_u64()?).ok();
        number("Code").zip(number("Subcode"))
    }

    fn shut_down(&self) {
        self.ask(&["neighbor", &self.node, "disable"]);
    }

    fn reset(&self) {
        self.ask(&["neighbor", &self.node, "reset"]);
    }

    fn forget(&self) {
        self.ask(&["neighbor", "del", &self.node]);
    }

    fn state(&self) -> String {
        let said = self.ask(&["neighbor", &self.node]);
        format!("{said}\n{}", self.folder.read("output"))
    }
}

fn neighbor(number: usize, peering: &Peering) -> String {
    let node = peering.node(number);
    if peering.over == Over::LinkLocal {
        format!("{node}%eth0")
    } else {
        node.to_string()
    }
}

/// A path of its JSON, whose attributes have their numbers (RFC 4271 section 5).
fn read(said: &Value) -> Path {
    let number = |value: &Value| value.as_u64().and_then(|it| u32::try_from(it).ok());
    let mut path = Path::default();
    for attribute in said["attrs"].as_array().into_iter().flatten() {
        let values = |name: &str| attribute[name].as_array().into_iter().flatten();
        match attribute["type"].as_u64() {
            Some(2) => {
                let segments = values("as_paths");
                let numbers = segments.flat_map(|it| it["asns"].as_array().into_iter().flatten());
                path.asns = numbers.filter_map(number).collect();
            }
            Some(3 | 14) => {
                let address = attribute["nexthop"].as_str();
                path.next_hops = address.and_then(|it| it.parse().ok()).into_iter().collect();
            }
            Some(4) => path.med = number(&attribute["metric"]),
            Some(5) => path.local_preference = number(&attribute["value"]),
            Some(7) => {
                let id = attribute["address"].as_str().and_then(|it| it.parse().ok());
                path.aggregator = number(&attribute["as"]).zip(id);
            }
            Some(8) => {
                let halves = |it: u32| (it >> 16, it & 0xffff);
                let numbers = values("communities").filter_map(number);
                path.communities = numbers.map(halves).collect();
            }
            Some(16) => {
                let texts = values("value").filter_map(|it| it["value"].as_str());
                path.route_targets = texts.flat_map(pairs).collect();
            }
            Some(32) => {
                let triple = |it: &Value| {
                    let [one, two, three] =
                        ["ASN", "LocalData1", "LocalData2"].map(|name| number(&it[name]));
                    Some((one?, two?, three?))
                };
                path.large_communities = values("value").filter_map(triple).collect();
            }
            _ => {}
        }
    }
    path
}

fn settings(peerings: &[Peering]) -> String {
    let mut text = String::new();
    let mut add = |line: &str| writeln!(text, "{line}").expect("strings take everything");
    add("[global.config]");
    add(&format!("as = {}", peerings[0].router_as()));
    add("router-id = \"192.0.2.254\"");
    add("port = 179");
    for (number, peering) in peerings.iter().enumerate() {
        add("[[neighbors]]");
        add("[neighbors.config]");
        add(&format!(
            "neighbor-address = \"{}\"",
            neighbor(number, peering)
        ));
        add(&format!("peer-as = {LOCAL_AS}"));
        if let Some(secret) = peering.secret {
            add(&format!("auth-password = \"{secret}\""));
        }
        add("[neighbors.timers.config]");
        add(&format!("hold-time = {}", peering.hold_time_secs));
        add(&format!(
            "keepalive-interval = {}",
            peering.hold_time_secs / 3
        ));
        add("connect-retry = 1");
        add("idle-hold-time-after-reset = 1");
        add("[neighbors.transport.config]");
        add(&format!("passive-mode = {}", peering.dials == Dials::Node));
        if peering.over != Over::LinkLocal {
            add(&format!("local-address = \"{}\"", peering.router()));
        }
        if peering.is_proven() {
            add("[neighbors.ttl-security.config]\nenabled = true\nttl-min = 255");
        }
        if let Some(secs) = peering.restart_time_secs {
            add(&format!(
                "[neighbors.graceful-restart.config]\nenabled = true\nrestart-time = {secs}"
            ));
        }
        for family in ["ipv4-unicast", "ipv6-unicast"] {
            add("[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]");
            add(&format!("afi-safi-name = \"{family}\""));
            if peering.restart_time_secs.is_some() {
                add("[neighbors.afi-safis.mp-graceful-restart.config]\nenabled = true");
            }
        }
    }
    text
}
