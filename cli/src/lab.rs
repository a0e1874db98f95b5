//! `lbfabric lab`: a network of namespaces with real traffic through every mode.
//!
//! [`topology`] says what the network is, [`mode`] what a mode owes its user, `verdict` whether it gave that; the other
//! modules make the network, run programs in it, send traffic and capture it. A [`Lab`] takes everything that it made away again when it
//! is dropped.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};

mod api;
mod capture;
mod case;
mod command;
mod daemon;
mod daemons;
mod exchange;
mod fabric;
mod faults;
pub mod frame;
mod interrupt;
pub mod mode;
mod namespace;
mod network;
mod pass;
mod ping;
mod program;
pub mod report;
mod requirements;
mod router;
mod run_dir;
mod servers;
mod sighting;
pub mod topology;
mod traffic;
mod verdict;

pub use command::{LabArgs, run};
pub use interrupt::Interrupt;
pub use report::Report;
pub use requirements::Binaries;
pub use run_dir::remove_abandoned;

use capture::Capture;
use case::Case;
use daemon::Daemon;
use daemons::Starter;
use network::Network;
use run_dir::RunDir;
use topology::{CONTROLLERS, Family, Host, NODES, SERVERS};

/// How long a new server may take until it listens.
const LISTEN_LIMIT: Duration = Duration::from_secs(10);
/// How long new controllers may take until they have a leader, and a new document until every node has it: on a busy machine, the kernel alone takes tens of
/// seconds to verify the nodes' programs.
const CONVERGE_LIMIT: Duration = Duration::from_secs(90);
/// How long one call of the command line may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(15);

/// A running lab.
#[derive(Debug)]
pub struct Lab {
    run_dir: RunDir,
    network: Network,
    daemons: BTreeMap<String, Daemon>,
    interrupt: Interrupt,
    keep: bool,
}

impl Lab {
    /// Makes the network and starts the router's bird and the servers. The kernel routes in it; no part of the fabric runs yet.
    pub fn build(interrupt: &Interrupt) -> anyhow::Result<Self> {
        requirements::check()?;
        let stream_module = servers::stream_module()?;
        interrupt.check()?;
        let run_dir = RunDir::create()?;
        let mut lab = Self {
            network: Network::new(run_dir.id()),
            run_dir,
            daemons: BTreeMap::new(),
            interrupt: interrupt.clone(),
            keep: false,
        };
        lab.network.build()?;
        pass::attach(&lab.network, &lab.run_dir.bpf())?;
        lab.daemons.insert("bird".to_owned(), lab.starter().bird()?);
        for server in 1..=SERVERS {
            let nginx = lab.starter().nginx(Host::Server(server), &stream_module)?;
            lab.daemons.insert(format!("nginx-srv{server}"), nginx);
        }
        lab.wait_for_servers()?;
        Ok(lab)
    }

    /// Starts controllers and agents, applies the lab's document and waits until every node has it, and the router has learned of the VIPs that nodes
    /// announce.
    ///
    /// `binaries` are the fabric's programs.
    pub fn start_fabric(&mut self, binaries: &Binaries) -> anyhow::Result<()> {
        for id in 1..=CONTROLLERS {
            self.start_controller(binaries, id)?;
        }
        let nodes = (1..=NODES).map(Host::Node);
        for host in nodes.chain((1..=SERVERS).map(Host::Server)) {
            self.start_agent(binaries, host)?;
        }
        let leads = |lab: &Self| api::leader(&lab.ops()).ok_or_else(|| "none says so".to_owned());
        self.wait("a controller leads", leads)?;
        let generation = self.apply(binaries, &api::endpoints(), "lab", &fabric::document())?;
        self.wait_until_ready(generation)?;
        self.wait_for_routes()
    }

    /// Sends `requests` requests of every kind and judges them by what is captured meanwhile.
    pub fn measure(&self, requests: u32) -> anyhow::Result<Vec<report::Row>> {
        let capture = Capture::start(&self.network)?;
        let client = self.network.namespace(Host::Client);
        let configured = self.configured()?;
        let mut cases: Vec<_> = Case::all().into_iter().enumerate().collect();
        // The engine's last: while other requests run, it may end connections to servers that it has kept.
        cases.sort_by_key(|(_, case)| !case.mode.is_packets());
        let mut rows = BTreeMap::new();
        for (place, case) in cases {
            capture.take(&self.interrupt)?;
            let exchange = traffic::send(&client, case, requests, &self.interrupt)?;
            let mut row = verdict::judge(case, &exchange, &capture.take(&self.interrupt)?);
            row.blame(verdict::configured(case, &configured));
            rows.insert(place, row);
        }
        Ok(rows.into_values().collect())
    }

    /// The lab's id, which is in the name of everything that it made.
    pub fn id(&self) -> &str {
        self.run_dir.id()
    }

    /// The lab's folder.
    pub fn path(&self) -> &Path {
        self.run_dir.path()
    }

    /// Where the router's bird can be asked.
    pub fn bird_control(&self) -> std::path::PathBuf {
        self.run_dir.bird_control()
    }

    /// A command that runs a program on a host of the lab.
    pub fn command(&self, host: Host, program: &str) -> Command {
        self.network.namespace(host).command(program)
    }

    /// Leaves everything running when the lab is dropped.
    pub fn keep(mut self) {
        self.keep = true;
    }

    /// Takes everything away and says what could not be.
    pub fn remove(mut self) -> anyhow::Result<()> {
        self.keep = true;
        self.run_dir.remove()
    }

    fn starter(&self) -> Starter<'_> {
        Starter {
            network: &self.network,
            run_dir: &self.run_dir,
        }
    }

    fn ops(&self) -> namespace::Namespace {
        self.network.namespace(Host::Ops)
    }

    fn start_controller(&mut self, binaries: &Binaries, id: u8) -> anyhow::Result<()> {
        let controller = self.starter().controller(binaries, id)?;
        self.daemons
            .insert(Host::Controller(id).to_string(), controller);
        Ok(())
    }

    fn start_agent(&mut self, binaries: &Binaries, host: Host) -> anyhow::Result<()> {
        let agent = self.starter().agent(binaries, host)?;
        self.daemons.insert(host.to_string(), agent);
        Ok(())
    }

    /// Kills a host's daemon with -9.
    fn kill(&mut self, host: Host) -> anyhow::Result<()> {
        let name = host.to_string();
        let mut daemon = self
            .daemons
            .remove(&name)
            .ok_or_else(|| anyhow!("{name} does not run"))?;
        daemon.kill()
    }

    fn daemon(&mut self, name: &str) -> anyhow::Result<&mut Daemon> {
        self.daemons
            .get_mut(name)
            .ok_or_else(|| anyhow!("{name} does not run"))
    }

    /// Calls `lbfabric apply` from the operator's namespace and returns the fabric's generation then.
    fn apply(
        &self,
        binaries: &Binaries,
        controllers: &str,
        name: &str,
        document: &str,
    ) -> anyhow::Result<u64> {
        let file = self.run_dir.path().join(format!("{name}.yaml"));
        std::fs::write(&file, document).with_context(|| format!("writing {}", file.display()))?;
        let mut command = self.ops().command(&binaries.cli);
        command
            .arg("apply")
            .arg("-f")
            .arg(&file)
            .args(["--controller", controllers, "-o", "json"]);
        let finished = program::finish(&mut command, "", COMMAND_LIMIT, &self.interrupt)?;
        if !finished.status.success() {
            bail!(
                "`lbfabric apply` failed ({}): {}",
                finished.status,
                finished.stderr.trim()
            );
        }
        let answer: serde_json::Value = serde_json::from_str(&finished.stdout)
            .with_context(|| format!("`lbfabric apply -o json` wrote {:?}", finished.stdout))?;
        // The JSON form of protobuf writes 64-bit numbers as strings.
        let generation = &answer["generation"];
        generation
            .as_u64()
            .or_else(|| generation.as_str()?.parse().ok())
            .ok_or_else(|| anyhow!("no generation in {}", finished.stdout))
    }

    fn wait_until_ready(&mut self, generation: u64) -> anyhow::Result<()> {
        self.wait(
            "every node has applied everything and every server is healthy",
            |lab| {
                let listed = api::list(&lab.ops()).map_err(|error| format!("{error:#}"))?;
                fabric::readiness(&listed.objects, generation)
            },
        )
    }

    /// Polls until `probe` gives a value, and fails early if a process of the lab has ended.
    fn wait<T>(
        &mut self,
        what: &str,
        mut probe: impl FnMut(&Self) -> Result<T, String>,
    ) -> anyhow::Result<T> {
        let interrupt = self.interrupt.clone();
        interrupt
            .poll(what, CONVERGE_LIMIT, || {
                for daemon in self.daemons.values_mut() {
                    daemon.check()?;
                }
                Ok(probe(self))
            })
            .map_err(|error| {
                if interrupt.is_raised() {
                    return error;
                }
                let tails: Vec<String> = self.daemons.values().map(Daemon::tail).collect();
                anyhow!("{error:#}\n  {}", tails.join("\n  "))
            })
    }

    fn wait_for_routes(&mut self) -> anyhow::Result<()> {
        for (family, option) in [(Family::Ipv4, "-4"), (Family::Ipv6, "-6")] {
            self.wait("the router has learned the nodes' routes", |lab| {
                let mut ip = lab.command(Host::Router, "ip");
                ip.args([option, "-json", "route", "show", "proto"]);
                let listed = program::succeed(ip.arg(router::KERNEL_PROTOCOL), "");
                listed
                    .and_then(|listed| router::has_learned(family, &listed))
                    .map_err(|error| format!("{error:#}"))?
            })?;
        }
        Ok(())
    }

    /// The addresses on the interfaces of those that clients' packets pass on their way to a node.
    fn configured(&self) -> anyhow::Result<Vec<(Host, std::net::IpAddr)>> {
        let mut configured = Vec::new();
        for host in [Host::Client, Host::Router]
            .into_iter()
            .chain((1..=NODES).map(Host::Node))
        {
            let mut ip = self.command(host, "ip");
            let listed = program::succeed(ip.args(["-json", "address", "show"]), "")?;
            let addresses = router::configured(&listed)?;
            configured.extend(addresses.into_iter().map(|address| (host, address)));
        }
        Ok(configured)
    }

    fn wait_for_servers(&mut self) -> anyhow::Result<()> {
        let interrupt = self.interrupt.clone();
        for server in (1..=SERVERS).map(Host::Server) {
            let nginx = format!("nginx-{server}");
            let local = std::net::SocketAddr::from(([127, 0, 0, 1], verdict::HEALTH_PORT));
            interrupt.poll(&format!("{server} listens"), LISTEN_LIMIT, || {
                self.daemon(&nginx)?.check()?;
                self.network.namespace(server).inside(|| {
                    let connected = std::net::TcpStream::connect_timeout(&local, LISTEN_LIMIT);
                    Ok(connected.map(drop).map_err(|error| error.to_string()))
                })
            })?;
        }
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        if let Err(error) = self.run_dir.remove() {
            let id = self.run_dir.id();
            eprintln!("lab: {id} could not be removed: {error:#}");
        }
    }
}
