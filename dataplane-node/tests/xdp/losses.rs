//! A server that dies, and a node that does: rows 29 and 30 of the checklist.

use std::time::Duration;

use lbfabric_model::BackendId;

use super::{
    keeper::{Agent, BUCKETS, POOL, SLOTS, Server, packet, send},
    kernel::Kernel,
};

/// After so long the pool declares a server dead that fails its check.
const DEAD_AFTER: Duration = Duration::from_hours(1);
const FLOWS: u32 = 600;

fn servers() -> Vec<Server> {
    (0..6)
        .map(|id| (id, 1 + u8::try_from(id).unwrap(), 100))
        .collect()
}

#[test]
fn row_29_a_failed_server_gets_no_new_flows_and_keeps_its_own_until_it_is_dead() {
    let mut kernel = Kernel::load_sized(SLOTS, BUCKETS);
    let mut agent = Agent::new(&mut kernel, &servers());
    let flows: Vec<u8> = (0..FLOWS).map(|n| send(&kernel, &packet(n))).collect();
    let failed = 1;
    let on_failed = (0..FLOWS)
        .zip(&flows)
        .filter(|(_, server)| **server == failed);
    assert!(on_failed.count() > 50);

    agent.keeper.note_probe(BackendId(0), false, agent.now);
    agent.write();
    // No packet in between: the write alone keeps new flows away.
    for n in FLOWS..2 * FLOWS {
        assert_ne!(send(&kernel, &packet(n)), failed, "a new flow");
    }
    for (n, server) in (0..).zip(&flows) {
        assert_eq!(send(&kernel, &packet(n).established()), *server, "flow {n}");
    }

    agent.now += DEAD_AFTER + Duration::from_secs(1);
    agent.write();
    for (n, server) in (0..).zip(&flows) {
        let now = send(&kernel, &packet(n).established());
        if *server == failed {
            assert_ne!(now, failed, "flow {n} goes to a dead server");
        } else {
            assert_eq!(now, *server, "flow {n} has moved without need");
        }
    }
}

#[test]
fn row_30_established_flows_go_on_at_another_node() {
    let mut kernels = [(), ()].map(|()| Kernel::load_sized(SLOTS, BUCKETS));
    let mut agents: Vec<Agent> = kernels
        .iter_mut()
        .map(|kernel| Agent::new(kernel, &servers()))
        .collect();
    let [lost, other] = &kernels;
    let flows: Vec<u8> = (0..FLOWS).map(|n| send(lost, &packet(n))).collect();
    for (n, server) in (0..).zip(&flows) {
        assert_eq!(send(other, &packet(n).established()), *server, "flow {n}");
    }

    // Also while a pool changes: a server is drained, and another one joins.
    let mut changed = servers();
    changed[2].2 = 0;
    changed.push((6, 7, 100));
    for agent in &mut agents {
        agent.set_pool(POOL, &changed);
        agent.write();
    }
    for (n, server) in (0..).zip(&flows) {
        // Every other flow comes by the lost node once more before.
        if n % 2 == 0 {
            assert_eq!(send(lost, &packet(n).established()), *server, "flow {n}");
        }
        assert_eq!(send(other, &packet(n).established()), *server, "flow {n}");
    }

    // What began in changed slots after the change, the other node cannot know: no more than what those slots have.
    let new = FLOWS..2 * FLOWS;
    let moved = new.filter(|n| {
        let server = send(lost, &packet(*n));
        send(other, &packet(*n).established()) != server
    });
    let moved = moved.count();
    assert!((50..300).contains(&moved), "{moved} of {FLOWS} flows moved");
}
