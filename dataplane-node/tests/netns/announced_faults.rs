//! What becomes of announcements when links, agents and controllers fail, and when an agent is replaced: bird in the peer's namespace.

use std::time::{Duration, Instant};

use lbfabric_node::{NodeConfig, Role};
use lbfabric_proto::v1;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    process::{Child, Command},
    time::sleep,
};

use crate::{
    announced::{
        ROUTE, announcing, ask_vip, fabric, node, router, service, until_no_route, until_route,
    },
    bird::Bird,
    fixture::{Fixture, eventually},
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
        assert_eq!(bird.route(ROUTE), "");
        let status = bird.ask("show protocols all lb1");
        assert!(status.contains("Administrative shutdown"), "{status}");
    });
}

#[test]
fn routes_stay_while_an_agent_is_replaced_with_graceful_restart() {
    let fixture = Fixture::new();
    let bird = router(&fixture, "");
    fixture.run(|| async {
        let mut controller = PlayedController::start().await;
        let restarting = node_with(|it| it.graceful_restart_secs = 60);
        controller.apply(&fabric(restarting, pool(), vec![service(0)]));
        let config = fixture.config(Role::LoadBalancer, controller.address);
        let mut first = start(&config, &[]);
        until_route(&bird, ROUTE, &[]).await;
        controller.forget();
        let mut second = start(&config, &["--take-over"]);
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
            assert_ne!(
                bird.route(ROUTE),
                "",
                "{}",
                bird.ask("show protocols all lb1")
            );
            is_new()
        })
        .await;
        let ended = first.wait().await.expect("it was started");
        assert!(ended.success(), "{ended}");
        assert_ne!(bird.route(ROUTE), "");
        signal(&second, Signal::SIGTERM);
        second.wait().await.expect("it was started");
        until_no_route(&bird, ROUTE).await;
    });
}
