//! The fabric's own processes: controllers, nodes, and the agents on the servers.

use std::fs;
use std::process::Command;

use anyhow::Context as _;

use super::api::{endpoint, endpoints};
use super::daemon::Daemon;
use super::network::Network;
use super::requirements::Binaries;
use super::run_dir::RunDir;
use super::topology::{CONTROLLERS, Host, Segment};
use super::{router, servers};

/// What starts processes in the lab.
#[derive(Debug)]
pub(super) struct Starter<'a> {
    /// Where.
    pub(super) network: &'a Network,
    /// Where their files are.
    pub(super) run_dir: &'a RunDir,
}

impl Starter<'_> {
    /// Starts a server's nginx.
    pub(super) fn nginx(&self, host: Host, stream_module: &str) -> anyhow::Result<Daemon> {
        let prefix = self.run_dir.path().join(format!("nginx-{host}"));
        fs::create_dir(&prefix).with_context(|| format!("making {}", prefix.display()))?;
        let conf = prefix.join("nginx.conf");
        fs::write(&conf, servers::nginx_conf(&host.to_string(), stream_module))
            .with_context(|| format!("writing {}", conf.display()))?;
        let mut command = self.network.namespace(host).command("nginx");
        command
            .arg("-p")
            .arg(&prefix)
            .arg("-c")
            .arg(&conf)
            .args(["-e", "stderr"]);
        self.start(&format!("nginx-{host}"), &mut command)
    }

    /// Starts the router's bird, with its control socket beside its configuration.
    pub(super) fn bird(&self) -> anyhow::Result<Daemon> {
        let folder = self.run_dir.bird();
        fs::create_dir(&folder).with_context(|| format!("making {}", folder.display()))?;
        let conf = folder.join("bird.conf");
        fs::write(&conf, router::bird_conf())
            .with_context(|| format!("writing {}", conf.display()))?;
        let mut command = self.network.namespace(Host::Router).command("bird");
        command.arg("-f").arg("-c").arg(&conf);
        command.arg("-s").arg(self.run_dir.bird_control());
        self.start("bird", &mut command)
    }

    /// Starts a controller, on the data that it left.
    pub(super) fn controller(&self, binaries: &Binaries, id: u8) -> anyhow::Result<Daemon> {
        let host = Host::Controller(id);
        let mut command = self.network.namespace(host).command(&binaries.controller);
        command.args(["--id", &id.to_string(), "--plaintext"]);
        command
            .arg("--data-dir")
            .arg(self.run_dir.path().join(format!("data-{host}")));
        command.args(["--listen", &endpoint(id).to_string()]);
        for member in 1..=CONTROLLERS {
            command
                .arg("--member")
                .arg(format!("{member}={}", endpoint(member)));
        }
        self.start(&host.to_string(), &mut command)
    }

    /// Starts a node's agent, or a server's.
    pub(super) fn agent(&self, binaries: &Binaries, host: Host) -> anyhow::Result<Daemon> {
        let (role, legs) = match host {
            Host::Server(_) => ("server", &[Segment::Flat, Segment::Routed][..]),
            _ => ("load-balancer", &[Segment::Flat][..]),
        };
        let name = host.to_string();
        let mut command = self.network.namespace(host).command(&binaries.node);
        command.args(["--name", &name, "--role", role]);
        command.arg("--pin-dir").arg(self.run_dir.bpf().join(&name));
        command
            .arg("--state-dir")
            .arg(self.run_dir.path().join(format!("state-{name}")));
        for leg in legs {
            command.args(["--interface", leg.device()]);
        }
        for controller in endpoints().split(',') {
            command.args(["--controller", controller]);
        }
        self.start(&name, &mut command)
    }

    fn start(&self, name: &str, command: &mut Command) -> anyhow::Result<Daemon> {
        Daemon::start(name, command.env("RUST_LOG", "info"), &self.run_dir.logs())
    }
}
