//! What clients of `l7-reverse` notice of changes: nothing. Thousands of connections with one request after the other go on while the
//! configuration is swapped, a certificate renewed, and the agent replaced by another one.

#[path = "take_over/clients.rs"]
mod clients;
#[path = "take_over/datagrams.rs"]
mod datagrams;
#[path = "take_over/steered.rs"]
mod steered;

use std::{
    fs,
    path::Path,
    process::{Child, Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use lbfabric_node::{NodeConfig, Role};
use lbfabric_proto::v1;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rcgen::{CertificateParams, KeyPair};

use self::clients::{Clients, To};
use crate::{
    fixture::{Fixture, attached, eventually},
    l7_reverse::vips_of,
    load_balancer::web,
    namespace::Namespace,
    played_controller::PlayedController,
};

const CONNECTIONS: usize = 10_000;
/// So many of them speak TLS.
const OVER_TLS: usize = 2_000;
const SWAPS: u32 = 100;
const HTTP: &str = "10.99.0.1:80";
const HTTPS: &str = "10.99.0.1:443";
const HOST: &str = "web.example";

/// Of all of them: the agents' own ones run in processes of theirs, as a process may have 20,000 files open where nobody allows it more.
const NGINX: &str = "daemon off;
user root;
worker_processes 1;
pid nginx.pid;
error_log error.log crit;
events { worker_connections 10240; }
http {
    access_log off;
    default_type text/plain;
    server {
        listen 80 backlog=4096;
        listen [::]:80 backlog=4096;
        location / { return 200 \"hello\n\"; }
    }
}
";

/// A program that ends with this.
struct Running(Child);

impl Running {
    /// Starts it in the current namespace.
    fn start(command: &mut Command) -> Self {
        let child = command.spawn();
        Self(child.unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// nginx, which answers every request alike, in a namespace.
    fn nginx(namespace: &Namespace, folder: &Path) -> Self {
        fs::write(folder.join("nginx.conf"), NGINX).expect("the folder takes a file");
        let mut command = Command::new("nginx");
        command.arg("-p").arg(folder).args(["-c", "nginx.conf"]);
        command.args(["-e", "error.log"]);
        namespace.within(|| Self::start(&mut command))
    }

    /// An agent in the current namespace.
    fn agent(config: &NodeConfig, more: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lbfabric-node"));
        command
            .args(["--name", &config.name])
            .args(["--interface", &config.interfaces.join(",")])
            .args(["--controller", &config.controllers.join(",")])
            .arg("--pin-dir")
            .arg(&config.pin_dir)
            .arg("--state-dir")
            .arg(&config.state_dir)
            .args(["--ring-slots", &config.ring_slots.to_string()])
            .args(["--nat-flows", &config.nat_flows.to_string()])
            .args(more)
            .env("RUST_LOG", "warn");
        Self::start(&mut command)
    }

    /// How it ended, once it has.
    fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().expect("it was started")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let id = i32::try_from(self.0.id()).expect("a process id");
        // In order, so that its own processes and what it has put on the machine go with it. It may have ended already.
        let _gone = kill(Pid::from_raw(id), Signal::SIGTERM);
        let begun = Instant::now();
        while self.ended().is_none() && begun.elapsed() < Duration::from_secs(20) {
            thread::sleep(Duration::from_millis(10));
        }
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// A certificate for the host, signed by itself, which goes to a folder.
fn certificate(folder: &Path) -> v1::CertificateSpec {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new([HOST.to_owned()]).expect("a name");
    let signed = params.self_signed(&key).expect("it signs itself");
    let number = fs::read_dir(folder).expect("a folder").count();
    fs::write(folder.join(number.to_string()), signed.der()).expect("the folder takes a file");
    v1::CertificateSpec {
        name: "web".to_owned(),
        chain: signed.pem(),
        key: key.serialize_pem(),
    }
}

/// The service in clear text, and the same over TLS.
fn services(certificate: v1::CertificateSpec, idle_ms: u32) -> v1::FabricSpec {
    let mut spec = web(v1::Mode::L7Reverse);
    spec.certificates = vec![certificate];
    let proxy = v1::ProxySpec {
        timeouts: Some(v1::ProxyTimeoutsSpec {
            idle_ms,
            // Of a machine that does many other things.
            connect_ms: 60_000,
            ..v1::ProxyTimeoutsSpec::default()
        }),
        ..v1::ProxySpec::default()
    };
    spec.services[0].proxy = Some(proxy.clone());
    let over_tls = v1::ServiceSpec {
        name: "web-tls".to_owned(),
        ports: vec!["443".to_owned()],
        backend_port: 80,
        proxy: Some(v1::ProxySpec {
            tls: Some(v1::TlsSpec {
                certificates: vec!["web".to_owned()],
                ..v1::TlsSpec::default()
            }),
            ..proxy
        }),
        ..spec.services[0].clone()
    };
    spec.services.push(over_tls);
    spec
}

fn is_applied(report: &v1::NodeReport, generation: u64) -> bool {
    attached(report)
        && report.refusals.is_empty()
        && report.applied_generation >= generation
        && report.backends.iter().any(|it| it.healthy)
}

#[test]
fn no_request_of_ten_thousand_connections_fails_through_swaps_a_rotation_and_an_upgrade() {
    let fixture = Fixture::new();
    fixture.route_vips();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let _nginx = Running::nginx(&fixture.peer, folder.path());
    let roots = tempfile::tempdir().expect("a temporary folder");
    let (first, second) = (certificate(roots.path()), certificate(roots.path()));
    let to = To {
        clear: HTTP.parse().expect("an address"),
        tls: HTTPS.parse().expect("an address"),
        connections: CONNECTIONS,
        over_tls: OVER_TLS,
    };
    fixture.run(|| async {
        let mut controller = PlayedController::start().await;
        controller.apply(&services(first.clone(), 60_000));
        let config = fixture.config(Role::LoadBalancer, controller.address);
        let mut agent = Running::agent(&config, &["--hand-over-secs", "85"]);
        let applied = || controller.report_if(|report| is_applied(report, 2));
        eventually("the services", applied).await;
        let clients = Clients::start(&fixture.peer, to, roots.path());
        let all = CONNECTIONS as u64;
        let are_open = || (clients.seen().open == all).then_some(());
        eventually("ten thousand connections", are_open).await;

        // Each of them is in force before the next one.
        for swap in 0..SWAPS {
            controller.apply(&services(first.clone(), 60_001 + swap));
            let generation = 3 + u64::from(swap);
            let applied = || controller.report_if(|report| is_applied(report, generation));
            eventually("a swap", applied).await;
        }
        let generation = 3 + u64::from(SWAPS);
        controller.apply(&services(second, 60_000));
        let applied = || controller.report_if(|report| is_applied(report, generation));
        eventually("the renewed certificate", applied).await;
        let before = clients.seen().answers;
        let go_on = || (clients.seen().answers > before + 2 * all).then_some(());
        eventually("two requests of each connection", go_on).await;
        assert_eq!(clients.seen().closed_in_order, 0, "nothing was closed");

        controller.forget();
        let next = Running::agent(&config, &["--take-over"]);
        let status = eventually("the first agent's end", || agent.ended()).await;
        assert!(status.success(), "{status}");
        // Every connection of the first agent was told that its answer is the last, and came back.
        let are_back = || {
            let seen = clients.seen();
            (seen.closed_in_order >= all && seen.open == all).then_some(())
        };
        eventually("ten thousand connections again", are_back).await;
        let applied = || controller.report_if(|report| is_applied(report, generation));
        eventually("the successor's report", applied).await;
        let before = clients.seen().answers;
        let go_on = || (clients.seen().answers > before + 2 * all).then_some(());
        eventually("two requests of each connection", go_on).await;

        // Who comes back at once may meet a worker of the first agent that still listens.
        let twice = clients.stop().closed_in_order - all;
        assert!(twice < all / 10, "{twice} were closed twice");
        drop(next);
        assert!(
            vips_of(&fixture.node).is_empty(),
            "they go with the last agent"
        );
    });
}
