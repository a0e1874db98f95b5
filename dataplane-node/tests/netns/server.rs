use std::process::{Child, Command, Stdio};

use lbfabric_node::{NodeConfig, Role, detach};
use lbfabric_proto::v1;

use crate::{
    fixture::{Fixture, eventually},
    namespace::run,
    played_controller::PlayedController,
};

/// A DSR service over the node itself, which is a server here, on two VIPs of each family.
fn dsr(vips: &[&str], hold_time_secs: u32) -> v1::FabricSpec {
    v1::FabricSpec {
        pools: vec![v1::PoolSpec {
            name: "web".to_owned(),
            backends: vec![v1::BackendSpec {
                name: "s1".to_owned(),
                addresses: vec!["10.88.0.1".to_owned(), "fd88::1".to_owned()],
                ..v1::BackendSpec::default()
            }],
            hold_time_secs,
            ..v1::PoolSpec::default()
        }],
        services: vec![v1::ServiceSpec {
            name: "web".to_owned(),
            vips: vips.iter().map(|vip| (*vip).to_owned()).collect(),
            ports: vec!["80".to_owned()],
            mode: v1::Mode::L4Dsr.into(),
            pool: "web".to_owned(),
            ..v1::ServiceSpec::default()
        }],
        ..v1::FabricSpec::default()
    }
}

impl Fixture {
    fn on_loopback(&self, address: &str) -> bool {
        self.node
            .ip(&["-br", "addr", "show", "lo"])
            .split_whitespace()
            .any(|word| word == address)
    }

    /// A setting of an interface, or of `all`: `lb0.arp_ignore`.
    fn setting(&self, name: &str) -> String {
        let value = self.within(&["cat", &setting_path(name)]);
        value.trim().to_owned()
    }

    fn set(&self, name: &str, value: &str) {
        let script = format!("echo {value} >{}", setting_path(name));
        self.within(&["sh", "-c", &script]);
    }

    /// Runs a command in the node's namespace.
    fn within(&self, command: &[&str]) -> String {
        let namespace = format!("--net=/var/run/netns/{}", self.node.name);
        let args: Vec<&str> = [namespace.as_str()]
            .iter()
            .chain(command)
            .copied()
            .collect();
        run("nsenter", &args)
    }

    /// Tells of each address that comes or goes.
    fn monitor(&self) -> Child {
        let mut monitor = Command::new("ip");
        monitor
            .args(["-n", &self.node.name, "monitor", "address"])
            .stdout(Stdio::piped());
        monitor.spawn().expect("ip is installed")
    }

    fn settings(&self) -> Vec<String> {
        ["all", "lb0"]
            .iter()
            .flat_map(|scope| {
                ["arp_ignore", "arp_announce", "rp_filter"].map(|name| format!("{scope}.{name}"))
            })
            .map(|name| self.setting(&name))
            .collect()
    }
}

fn setting_path(name: &str) -> String {
    format!("/proc/sys/net/ipv4/conf/{}", name.replace('.', "/"))
}

#[test]
fn vips_and_settings_come_and_go() {
    let fixture = Fixture::new();
    fixture.run(|| async {
        let former = fixture.settings();
        fixture
            .node
            .ip(&["addr", "add", "10.99.0.2/32", "dev", "lo"]);
        let mut controller = PlayedController::start().await;
        controller.apply(&dsr(&["10.99.0.1", "10.99.0.2", "fd99::1"], 1));
        let config = fixture.config(Role::Server, controller.address);
        let agent = fixture.start(config).await;
        let there = |address: &str| fixture.on_loopback(address).then_some(());
        let gone = |address: &str| (!fixture.on_loopback(address)).then_some(());
        eventually("the IPv4 VIP", || there("10.99.0.1/32")).await;
        eventually("the IPv6 VIP", || there("fd99::1/128")).await;
        assert_eq!(fixture.setting("all.arp_ignore"), "1");
        assert_eq!(fixture.setting("lb0.arp_ignore"), "1");
        assert_eq!(fixture.setting("all.arp_announce"), "2");
        assert_eq!(fixture.setting("lb0.arp_announce"), "2");
        assert_ne!(fixture.setting("lb0.rp_filter"), "1");
        let running = |report: &v1::NodeReport| report.xdp_mode() != v1::XdpMode::Unspecified;
        let report = eventually("a report", || controller.report_if(running)).await;
        assert!(report.refusals.is_empty(), "{report:?}");

        controller.apply(&dsr(&["fd99::1", "fd99::2"], 1));
        eventually("the new VIP", || there("fd99::2/128")).await;
        eventually("the old VIP away", || gone("10.99.0.1/32")).await;
        assert!(
            fixture.on_loopback("10.99.0.2/32"),
            "somebody else's address stays"
        );
        assert!(fixture.on_loopback("fd99::1/128"));

        agent.stop().await;
        assert!(!fixture.on_loopback("fd99::1/128") && !fixture.on_loopback("fd99::2/128"));
        assert!(fixture.on_loopback("10.99.0.2/32"));
        assert_eq!(fixture.settings(), former);
        eventually("detached", || (fixture.program_id() == 0).then_some(())).await;
        assert!(!fixture.pin_dir.exists());
    });
}

/// As a program does that answers a datagram from the address that it was for.
#[test]
fn a_server_sends_from_every_address_of_a_prefix() {
    let fixture = Fixture::new();
    fixture.run(|| async {
        let from = |address: &str| {
            let address: std::net::IpAddr = address.parse().expect("an address");
            let send = || {
                let to = std::net::SocketAddr::new(address, 9);
                std::net::UdpSocket::bind((address, 0))?.send_to(b"answer", to)
            };
            fixture.node.within(send).ok()
        };
        let (of_v4, of_v6) = ("198.51.100.255", "fd99:5::ffff:1");
        assert_eq!((from(of_v4), from(of_v6)), (None, None));
        let mut controller = PlayedController::start().await;
        controller.apply(&dsr(&["198.51.100.0/24", "fd99:5::/64"], 1));
        let config = fixture.config(Role::Server, controller.address);
        let agent = fixture.start(config).await;
        eventually("the IPv4 prefix", || from(of_v4)).await;
        eventually("the IPv6 prefix", || from(of_v6)).await;
        agent.stop().await;
        assert_eq!((from(of_v4), from(of_v6)), (None, None));
        let setting = fixture.within(&["cat", "/proc/sys/net/ipv6/ip_nonlocal_bind"]);
        assert_eq!(setting.trim(), "0");
    });
}

#[test]
fn a_server_whose_agent_is_replaced_never_loses_its_vip() {
    let fixture = Fixture::new();
    fixture.run(|| async {
        let former = fixture.settings();
        let mut controller = PlayedController::start().await;
        controller.apply(&dsr(&["10.99.0.1", "fd99::1"], 1));
        let config = NodeConfig {
            take_over: true,
            ..fixture.config(Role::Server, controller.address)
        };
        // There is nobody whose place it could take.
        let mut agent = fixture.start(config.clone()).await;
        let is_there = || fixture.on_loopback("10.99.0.1/32").then_some(());
        eventually("the VIP", is_there).await;
        let changed = fixture.settings();
        assert_ne!(changed, former);

        let mut monitor = fixture.monitor();
        let next = fixture.start(config).await;
        agent.handed_over().await;
        assert_eq!(fixture.settings(), changed);
        controller.apply(&dsr(&["10.99.0.1", "10.99.0.3", "fd99::1"], 1));
        let follows = || fixture.on_loopback("10.99.0.3/32").then_some(());
        eventually("the VIP that only the next agent knows", follows).await;
        monitor.kill().expect("it still runs");
        let seen = monitor.wait_with_output().expect("it was started").stdout;
        let seen = String::from_utf8_lossy(&seen);
        assert!(seen.contains("10.99.0.3/32"), "{seen}");
        assert!(!seen.contains("Deleted"), "{seen}");

        next.stop().await;
        assert_eq!(fixture.settings(), former);
        assert!(!fixture.on_loopback("10.99.0.1/32"));
    });
}

#[test]
fn after_a_crash_exactly_its_own_changes_are_undone() {
    let fixture = Fixture::new();
    fixture.run(|| async {
        fixture.set("lb0.rp_filter", "1");
        let former = fixture.settings();
        fixture
            .node
            .ip(&["addr", "add", "10.99.0.2/32", "dev", "lo"]);
        let mut controller = PlayedController::start().await;
        controller.apply(&dsr(&["10.99.0.1", "10.99.0.2"], 1));
        let config = fixture.config(Role::Server, controller.address);
        let agent = fixture.start(config.clone()).await;
        let there = || fixture.on_loopback("10.99.0.1/32").then_some(());
        eventually("the VIP", there).await;
        assert_eq!(fixture.setting("lb0.rp_filter"), "2");
        drop(agent);
        // A second agent's own changes do not become the "former" values, nor the first one's VIPs somebody else's.
        let agent = fixture.start(config).await;
        eventually("a report", || {
            controller.report_if(|report| report.fault.is_empty())
        })
        .await;
        drop(agent);
        assert!(fixture.on_loopback("10.99.0.1/32"));
        detach(&fixture.pin_dir, &[], Some(fixture.state_dir.path()))
            .await
            .expect("detached");
        assert!(!fixture.on_loopback("10.99.0.1/32"));
        assert!(fixture.on_loopback("10.99.0.2/32"));
        assert_eq!(fixture.settings(), former);
        assert!(!fixture.pin_dir.exists());
    });
}

/// The nodes keep sending a server that left its pool the packets of established flows, so it goes on holding their VIP:
/// for the hold time, also if its agent is started again meanwhile, and without any other VIP being affected.
#[test]
fn a_server_that_leaves_its_pool_holds_the_vip_for_the_hold_time() {
    let fixture = Fixture::new();
    fixture.run(|| async {
        let mut controller = PlayedController::start().await;
        controller.apply(&dsr(&["10.99.0.1"], 3600));
        let config = fixture.config(Role::Server, controller.address);
        let agent = fixture.start(config.clone()).await;
        let on_loopback = |address: &str| fixture.on_loopback(address).then_some(());
        eventually("the VIP", || on_loopback("10.99.0.1/32")).await;

        // The server's place in the pool is taken by another.
        let mut without = dsr(&["10.99.0.1"], 3600);
        without.pools[0].backends[0].addresses = vec!["10.88.0.9".to_owned()];
        controller.forget();
        controller.apply(&without);
        let answered = || (!controller.heard().results.is_empty()).then_some(());
        eventually("the change carried out", answered).await;
        assert!(fixture.on_loopback("10.99.0.1/32"));

        drop(agent);
        controller.forget_agent();
        let agent = fixture.start(config).await;
        let reported = || controller.report_if(|report| report.fault.is_empty());
        eventually("a report of the next agent", reported).await;
        assert!(fixture.on_loopback("10.99.0.1/32"));

        agent.stop().await;
        assert!(!fixture.on_loopback("10.99.0.1/32"));
    });
}
