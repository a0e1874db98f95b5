//! Ours: three controllers and the agents, driven by the command line.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

use aya::{
    EbpfLoader,
    programs::{Xdp, XdpMode},
};
use lbfabric_node::object;
use nix::{net::if_::if_nametoindex, sys::signal::Signal};

use crate::{
    flat::{Network, VIP},
    namespaces::{self, Namespace},
    process::Process,
    routed::{self, ROUTER},
    until,
};

const START: Duration = Duration::from_mins(1);
const CONTROLLERS: [&str; 3] = ["10.77.0.21:7400", "10.77.0.22:7400", "10.77.0.23:7400"];

/// Where the product's programs are.
#[derive(Clone)]
pub(crate) struct Programs(PathBuf);

impl Programs {
    pub(crate) fn in_folder(folder: &Path) -> Self {
        for name in ["lbfabric", "lbfabric-controller", "lbfabric-node"] {
            let program = folder.join(name);
            assert!(
                program.exists(),
                "{} is missing: build it first",
                program.display()
            );
        }
        Self(folder.to_owned())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// What runs of it.
pub(crate) struct Fabric {
    programs: Programs,
    _controllers: Vec<Process>,
    agents: Vec<Option<Process>>,
    /// Keeps what makes the switch's ports take what XDP sends.
    _passing: aya::Ebpf,
}

impl Fabric {
    /// A VIP with a lease.
    pub(crate) fn on_flat(programs: &Programs, network: &Network, folder: &Path) -> Self {
        let vips = format!("    vips: [{VIP}]\n");
        let document = document(&[vips], "lease: {}");
        let fabric = Self::on(programs, network, folder, &document);
        fabric.move_vip(&network.controllers, VIP, 0);
        fabric
    }

    /// Controllers with a document, and the agents of all nodes.
    pub(crate) fn on(
        programs: &Programs,
        network: &Network,
        folder: &Path,
        document: &str,
    ) -> Self {
        let passing = network.switch.inside(|| pass(folder, &["node0", "node1"]));
        let mut fabric = Self::start(programs, &network.controllers, folder, passing);
        fabric.apply(&network.controllers, folder, document);
        for node in 0..network.nodes.len() {
            fabric.agents.push(None);
            fabric.start_node(network, folder, node);
        }
        fabric
    }

    /// Services with these VIPs that nodes announce to the router.
    pub(crate) fn routed_document(vips: &[String], nodes: &[(&str, &str)]) -> String {
        document(vips, "bgp: {}") + &speakers(nodes)
    }

    /// A VIP with a lease, and another one that nodes announce.
    pub(crate) fn document_of_both() -> String {
        let mut text = document(&[format!("    vips: [{VIP}]\n")], "lease: {}");
        text += &service(
            "routed",
            &format!("    vips: [{}]\n", routed::VIP),
            "bgp: {}",
        );
        text + &speakers(&routed::NODES)
    }

    /// Controllers alone.
    fn start(programs: &Programs, at: &Namespace, folder: &Path, passing: aya::Ebpf) -> Self {
        namespaces::mount_bpf(&folder.join("bpf"));
        let members: Vec<_> = (1..)
            .zip(CONTROLLERS)
            .map(|(id, at)| format!("{id}={at}"))
            .collect();
        let controllers = CONTROLLERS.iter().enumerate().map(|(n, address)| {
            let mut command = at.command(programs.path("lbfabric-controller"));
            command.args([
                "--id",
                &(n + 1).to_string(),
                "--plaintext",
                "--listen",
                address,
            ]);
            command
                .arg("--data-dir")
                .arg(folder.join(format!("controller{n}")));
            for member in &members {
                command.args(["--member", member]);
            }
            Process::start(&mut command, &folder.join(format!("controller{n}.log")))
        });
        Self {
            programs: programs.clone(),
            _controllers: controllers.collect(),
            agents: Vec::new(),
            _passing: passing,
        }
    }

    /// Applies a document, as soon as there is a leader.
    fn apply(&self, at: &Namespace, folder: &Path, document: &str) {
        let file = folder.join("fabric.yaml");
        fs::write(&file, document).unwrap();
        until("the fabric takes its document", START, || {
            let mut command = at.command(self.programs.path("lbfabric"));
            command
                .args(["--controller", &CONTROLLERS.join(","), "apply", "-f"])
                .arg(&file);
            let output = command.output().unwrap();
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!matches!(output.status.code(), Some(2)), "{error}");
            output.status.success().then_some(())
        });
    }

    /// Starts a node's agent, or starts it again.
    pub(crate) fn start_node(&mut self, network: &Network, folder: &Path, node: usize) {
        let process = self.agent(&network.nodes[node], folder, node, "eth0");
        self.agents[node] = Some(process);
    }

    fn agent(&self, at: &Namespace, folder: &Path, node: usize, device: &str) -> Process {
        let name = format!("node{node}");
        let mut command = at.command(self.programs.path("lbfabric-node"));
        command.args(["--name", &name, "--interface", device]);
        command.arg("--pin-dir").arg(folder.join("bpf").join(&name));
        command
            .arg("--state-dir")
            .arg(folder.join(format!("state-{name}")));
        for controller in CONTROLLERS {
            command.args(["--controller", controller]);
        }
        Process::start(&mut command, &folder.join(format!("{name}.log")))
    }

    /// Moves a VIP, as an operator does: it stays there, whichever node has come back a while ago.
    pub(crate) fn move_vip(&self, at: &Namespace, vip: Ipv4Addr, to: usize) {
        let (vip, to) = (vip.to_string(), format!("node{to}"));
        until("the VIP can be moved", START, || {
            let mut command = at.command(self.programs.path("lbfabric"));
            command.args([
                "--controller",
                &CONTROLLERS.join(","),
                "vip",
                "pin",
                &vip,
                &to,
            ]);
            command.output().unwrap().status.success().then_some(())
        });
    }

    pub(crate) fn signal(&mut self, node: usize, signal: Signal) {
        let agent = &mut self.agents[node];
        if signal == Signal::SIGKILL {
            agent.take().unwrap().end(signal);
        } else {
            agent.as_ref().unwrap().signal(signal);
        }
    }

    /// The most memory that an agent has had, in bytes.
    pub(crate) fn resident(process: &Process) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
        let line = status
            .lines()
            .find_map(|it| it.strip_prefix("VmHWM:"))
            .unwrap();
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kilobytes * 1024
    }

    pub(crate) fn agent_process(&self, node: usize) -> &Process {
        self.agents[node].as_ref().unwrap()
    }
}

/// A pool of one server, and a service for each of these lines.
fn document(vips: &[String], announce: &str) -> String {
    let mut text = String::from(
        "pools:\n  - name: p\n    backends:\n      - name: s\n        addresses: [10.77.0.31]\nservices:\n",
    );
    for (n, vips) in vips.iter().enumerate() {
        text += &service(&format!("s{n}"), vips, announce);
    }
    text
}

fn service(name: &str, vips: &str, announce: &str) -> String {
    format!(
        "  - name: {name}\n{vips}    ports: ['80']\n    mode: l4-fullnat\n    pool: p\n    announce: {{{announce}}}\n"
    )
}

/// Nodes that announce to the router.
fn speakers(nodes: &[(&str, &str)]) -> String {
    let nodes = nodes.iter().map(|(name, address)| {
        format!(
            "  - name: {name}\n    bgp:\n      asn: 65001\n      router_id: {address}\n      neighbors:\n        - name: router\n          \
             address: {ROUTER}\n          asn: 65000\n          hold_time_secs: 3\n          bfd: {{interval_ms: 50, multiplier: 3}}\n"
        )
    });
    "nodes:\n".to_owned() + &nodes.collect::<String>()
}

/// A veth takes what XDP sends out of its other end only if it has a program itself.
fn pass(folder: &Path, ports: &[&str]) -> aya::Ebpf {
    let pins = folder.join("pass");
    namespaces::mount_bpf(&pins);
    let mut loader = EbpfLoader::new();
    loader.default_map_pin_directory(&pins);
    let mut ebpf = loader.load(object::object()).unwrap();
    let program: &mut Xdp = ebpf
        .program_mut("lbfabric_pass")
        .unwrap()
        .try_into()
        .unwrap();
    object::load(program).unwrap();
    for port in ports {
        let index = if_nametoindex(*port).unwrap();
        program.attach_to_if_index(index, XdpMode::Driver).unwrap();
    }
    ebpf
}
