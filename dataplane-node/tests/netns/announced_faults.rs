//! What becomes of announcements when links, agents and controllers fail, and when an agent is replaced: bird in the peer's namespace.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use lbfabric_node::{NodeConfig, Role};
use lbfabric_proto::v1;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::{sleep, timeout},
};

use crate::{
    announced::{
        ROUTE, announcing, ask_vip, fabric, node, router, service, until_no_route, until_route,
    },
    bird::Bird,
    fixture::{Fixture, eventually},
    namespace::Namespace,
    played_controller::PlayedController,
    specs::pool,
};

/// Far less than the hold time of 90 s, and far more than BFD needs on a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// The node, with more asked of its neighbor.
fn node_with(change: impl FnOnce(&mut v1::BgpNeighborSpec)) -> v1::NodeSpec {
    let mut node = node();
    let bgp = node.bgp.as_mut().expect("it speaks BGP");
    change(&mut bgp.neighbors[0]);
    node
}

/// The agent as a process of its own, in the namespace of this thread.
fn start(config: &NodeConfig, more: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_lbfabric-node"))
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
        .env("RUST_LOG", "off")
        .kill_on_drop(true)
        .spawn()
        .expect("the agent's binary")
}

fn signal(agent: &Child, signal: Signal) {
    let id = agent.id().expect("it runs");
    let id = Pid::from_raw(i32::try_from(id).expect("a process id"));
    kill(id, signal).expect("it runs");
}

async fn until_bfd(bird: &Bird, state: &str) {
    eventually(&format!("BFD is {state}"), || {
        let sessions = bird.ask("show bfd sessions");
        sessions.contains(state).then_some(())
    })
    .await;
}

#[test]
fn no_vip_is_announced_while_no_link_is_up() {
    let fixture = Fixture::new();
    let bird = router(&fixture, "");
    fixture.run(|| async {
        let (controller, agent) = announcing(&fixture).await;
        until_route(&bird, ROUTE, &[]).await;
        fixture.node.ip(&["link", "set", "lb0", "down"]);
        until_no_route(&bird, ROUTE).await;
        let mut id = 0;
        loop {
            id += 1;
            let said = ask_vip(&controller, id).await;
            if !said.is_announced {
                let reason = "no interface is up: lb0".to_owned();
                assert!(said.reasons.contains(&reason), "{said:?}");
                break;
            }
            assert!(id < 100, "{said:?}");
            sleep(Duration::from_millis(100)).await;
        }
        fixture.node.ip(&["link", "set", "lb0", "up"]);
        until_route(&bird, ROUTE, &[]).await;
        agent.stop().await;
    });
}

#[test]
fn routes_outlive_controllers_and_follow_the_agent() {
    let fixture = Fixture::new();
    let bird = router(&fixture, "bfd on;");
    fixture.run(|| async {
        let mut controller = PlayedController::start().await;
        let with_bfd = node_with(|it| it.bfd = Some(v1::BfdSpec::default()));
        controller.apply(&fabric(with_bfd, pool(), vec![service(0)]));
        let config = fixture.config(Role::LoadBalancer, controller.address);
        let mut agent = start(&config, &[]);
        until_route(&bird, ROUTE, &[]).await;
        until_bfd(&bird, "Up").await;

        // Nobody is there to be asked any more.
        drop(controller);
        let alone = Instant::now();
        while alone.elapsed() < Duration::from_secs(3) {
            assert_ne!(bird.route(ROUTE), "", "after {:?}", alone.elapsed());
            sleep(Duration::from_millis(50)).await;
        }

        // It hangs: only BFD can tell so soon.
        signal(&agent, Signal::SIGSTOP);
        let hangs = Instant::now();
        until_no_route(&bird, ROUTE).await;
        eprintln!(
            "the route was gone {:?} after the agent hung",
            hangs.elapsed()
        );
        assert!(hangs.elapsed() < SOON, "{:?}", hangs.elapsed());
        signal(&agent, Signal::SIGCONT);
        until_route(&bird, ROUTE, &[]).await;
        until_bfd(&bird, "Up").await;

        // SIGKILL, and it is waited for.
        agent.kill().await.expect("the agent still runs");
        let dead = Instant::now();
        until_no_route(&bird, ROUTE).await;
        assert!(dead.elapsed() < SOON, "{:?}", dead.elapsed());

        // The next one has nothing but what the first has kept.
        let mut agent = start(&config, &[]);
        until_route(&bird, ROUTE, &["(65010,7)"]).await;

        // In order: it says good-bye.
        signal(&agent, Signal::SIGTERM);
        let ended = agent.wait().await.expect("it was started");
        assert!(ended.success(), "{ended}");
        let gone = Instant::now();
        until_no_route(&bird, ROUTE).await;
        assert!(gone.elapsed() < SOON, "{:?}", gone.elapsed());
        // BFD's good-bye may replace the error that BGP's has left, not its words.
        let status = bird.ask("show protocols all lb1");
        assert!(status.contains("the node's agent stops"), "{status}");
    });
}

/// The routes of the router's kernel that it has taken away since, as `ip monitor` tells.
struct Monitor(Child);

impl Monitor {
    async fn start(router: &Namespace) -> Self {
        let process = Command::new("ip")
            .args(["-n", &router.name, "monitor", "route"])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("these tests need iproute2");
        let mut monitor = Self(process);
        // One that comes and goes shows that it listens.
        let output = monitor.0.stdout.as_mut().expect("it is piped");
        let mut lines = BufReader::new(output).lines();
        loop {
            for command in ["add", "del"] {
                router.ip(&["route", command, "unreachable", "198.51.100.1"]);
            }
            if let Ok(line) = timeout(Duration::from_millis(100), lines.next_line()).await {
                line.expect("it can be read").expect("it goes on");
                return monitor;
            }
        }
    }

    async fn taken_away(mut self) -> Vec<String> {
        self.0.start_kill().expect("it runs");
        let output = self.0.wait_with_output().await.expect("it can be read");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let taken = said.lines().filter(|line| line.starts_with("Deleted "));
        taken.map(str::to_owned).collect()
    }
}

/// Replaces an agent that has graceful restart agreed on with its neighbor, and gives the new one.
async fn replaced(fixture: &Fixture, bird: &Bird, bfd: Option<v1::BfdSpec>) -> Child {
    let mut controller = PlayedController::start().await;
    let has_bfd = bfd.is_some();
    let restarting = node_with(|it| {
        it.graceful_restart_secs = 60;
        it.bfd = bfd;
    });
    controller.apply(&fabric(restarting, pool(), vec![service(0)]));
    let config = fixture.config(Role::LoadBalancer, controller.address);
    let mut first = start(&config, &[]);
    until_route(bird, ROUTE, &[]).await;
    let kernel = || fixture.peer.ip(&["route", "show", ROUTE]);
    eventually("the route in the router's kernel", || {
        (!kernel().is_empty()).then_some(())
    })
    .await;
    if has_bfd {
        until_bfd(bird, "Up").await;
    }
    controller.forget();
    let monitor = Monitor::start(&fixture.peer).await;
    let second = start(&config, &["--take-over"]);
    let is_new = || {
        let heard = controller.heard();
        let is_here = !heard.hellos.is_empty();
        let bgp = heard.report.filter(|_| is_here)?.bgp?;
        let up = v1::BgpSessionState::Established;
        let is_up = bgp.neighbors.first().is_some_and(|it| it.state() == up);
        is_up.then_some(())
    };
    // Not for a moment is the route away.
    eventually("the new agent's session", || {
        let state = || bird.ask("show protocols all lb1");
        assert_ne!(bird.route(ROUTE), "", "{}", state());
        assert_ne!(kernel(), "", "{}", state());
        is_new()
    })
    .await;
    let ended = first.wait().await.expect("it was started");
    assert!(ended.success(), "{ended}");
    if has_bfd {
        until_bfd(bird, "Up").await;
        // Several times longer than its detection time.
        sleep(Duration::from_secs(1)).await;
    }
    assert_ne!(bird.route(ROUTE), "");
    let taken = monitor.taken_away().await;
    let of_vip = taken.iter().find(|it| it.contains("203.0.113.10"));
    assert_eq!(of_vip, None, "{taken:?}");
    second
}

#[test]
fn routes_stay_while_an_agent_is_replaced_with_graceful_restart() {
    let fixture = Fixture::new();
    let bird = router(&fixture, "");
    fixture.run(|| async {
        let mut second = replaced(&fixture, &bird, None).await;
        signal(&second, Signal::SIGTERM);
        second.wait().await.expect("it was started");
        until_no_route(&bird, ROUTE).await;
    });
}

#[test]
fn routes_stay_while_an_agent_with_bfd_is_replaced_and_go_when_it_is_killed() {
    let fixture = Fixture::new();
    let bird = router(&fixture, "bfd on;");
    fixture.run(|| async {
        let bfd = Some(v1::BfdSpec::default());
        let mut second = replaced(&fixture, &bird, bfd).await;
        let sessions = bird.ask("show bfd sessions");
        let protocol = bird.ask("show protocols all lb1");
        assert!(protocol.contains("Established"), "{protocol} {sessions}");
        // Graceful restart would keep it for a minute.
        second.kill().await.expect("the agent still runs");
        let dead = Instant::now();
        until_no_route(&bird, ROUTE).await;
        eprintln!("the route was gone {:?} after the agent", dead.elapsed());
        assert!(dead.elapsed() < SOON, "{:?}", dead.elapsed());
    });
}
