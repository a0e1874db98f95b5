//! VIPs with leases: three members, and nodes that answer into memory. At no time do two nodes answer for one VIP.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "support/lease_nodes.rs"]
mod lease_nodes;
#[path = "support/members.rs"]
mod members;

use std::{net::IpAddr, time::Duration};

use lbfabric_proto::v1;
use lease_nodes::{Nodes, apply_leased, vips};
use members::{Members, apply_request, timed};

/// A lease, its margin, a round that is as old as one may be, what comes afterwards, and a busy machine.
const TAKE_OVER: Duration = Duration::from_millis(400);

fn vip() -> IpAddr {
    vips(1).next().unwrap()
}

/// Three members with nodes that all VIPs have an owner among.
async fn site(count: u8, names: &[&str]) -> (Members, Nodes) {
    let members = Members::start(3);
    members.all_ready().await;
    let mut nodes = Nodes::new(&members, vips(count));
    for name in names {
        nodes.start(name);
    }
    apply_leased(&members, vips(count)).await;
    nodes.settled().await;
    (members, nodes)
}

#[tokio::test]
async fn a_vip_of_a_lost_node_moves_in_time_and_no_other_does() {
    let (_members, mut nodes) = site(30, &["n1", "n2", "n3"]).await;
    let before = nodes.settled().await;
    let lost = before[&vip()].clone();
    nodes.kill(&lost);
    let outage = nodes.until_owned_by(vip(), |node| node != lost).await;
    eprintln!("nobody answered for {} ms", outage.as_millis());
    assert!(outage < TAKE_OVER, "{outage:?}");
    let after = nodes.settled().await;
    for (vip, owner) in &before {
        if *owner != lost {
            assert_eq!(after[vip], *owner, "{vip} had an owner that lives");
        }
    }
    assert!(!after.values().any(|owner| *owner == lost));
    let kept = before.values().filter(|owner| **owner != lost).count();
    assert!(kept > 0 && kept < 30, "nothing to be seen: {before:?}");
}

#[tokio::test]
async fn owners_keep_their_vips_while_leaders_change() {
    let (mut members, nodes) = site(4, &["n1", "n2"]).await;
    for _ in 0..2 {
        let before = nodes.settled().await;
        let leader = members.leader().await;
        members.kill(leader);
        let deadline = tokio::time::Instant::now() + Duration::from_secs(3);
        while tokio::time::Instant::now() < deadline {
            for (vip, owner) in &before {
                assert_eq!(nodes.answering(*vip), [owner.as_str()], "{vip}");
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        members.run(leader);
        members.all_ready().await;
    }
}

#[tokio::test]
async fn a_restarted_agent_goes_on_and_one_that_cannot_serve_gives_up() {
    let (_members, mut nodes) = site(1, &["n1", "n2"]).await;
    let owner = nodes.settled().await[&vip()].clone();
    nodes.kill(&owner);
    nodes.start(&owner);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(1);
    while tokio::time::Instant::now() < deadline {
        assert_eq!(nodes.answering(vip()), [owner.as_str()]);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    nodes.is_able(&owner, false);
    let outage = nodes.until_owned_by(vip(), |node| node != owner).await;
    assert!(outage < TAKE_OVER, "{outage:?}");
}

#[tokio::test]
async fn a_drained_node_is_emptied_without_a_gap_that_counts() {
    let (members, nodes) = site(6, &["n1", "n2"]).await;
    let before = nodes.settled().await;
    let drained = before[&vip()].clone();
    let mut request = apply_request(Vec::new(), Vec::new());
    request.fabric.as_mut().unwrap().nodes = vec![v1::NodeSpec {
        name: drained.clone(),
        drained: true,
        ..v1::NodeSpec::default()
    }];
    members.fabric(2).apply(timed(request)).await.unwrap();
    let gap = nodes.until_owned_by(vip(), |node| node != drained).await;
    eprintln!("nobody answered for {} ms", gap.as_millis());
    assert!(gap < Duration::from_millis(100), "{gap:?}");
    members::eventually("the node to be empty", async || {
        (nodes.shares()[drained.as_str()] == 0).then_some(())
    })
    .await;
    nodes.settled().await;
}

#[tokio::test]
async fn owners_are_the_same_after_all_members_were_killed() {
    let mut members = Members::start_with(3, 5);
    members.all_ready().await;
    let mut nodes = Nodes::new(&members, vips(3));
    nodes.start("n1");
    nodes.start("n2");
    apply_leased(&members, vips(3)).await;
    let before = nodes.settled().await;
    for id in members.ids() {
        members.kill(id);
    }
    members::eventually("the leases to end", async || {
        vips(3)
            .all(|vip| nodes.answering(vip).is_empty())
            .then_some(())
    })
    .await;
    for id in members.ids() {
        members.run(id);
    }
    assert_eq!(nodes.settled().await, before);
}
