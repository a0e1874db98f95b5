//! VIPs with leases: three members, and nodes that answer into memory. At no time do two nodes answer for one VIP.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "support/lease_nodes.rs"]
mod lease_nodes;
#[path = "support/members.rs"]
mod members;

use std::{net::IpAddr, time::Duration};

use lbfabric_proto::v1::{
    self, change_vip_request::Change, lease_service_client::LeaseServiceClient, renew_request,
    renew_response, vip_service_client::VipServiceClient,
};
use lease_nodes::{Nodes, apply_leased, vips};
use members::{Members, apply_request, timed};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming, transport::Channel};

/// A lease, its margin, a round that is as old as one may be, what comes afterwards, and a busy machine.
const TAKE_OVER: Duration = Duration::from_millis(400);

/// Nodes try a member again after a quarter of a second at the latest. Until they have found it, it can tell them nothing.
const FOUND_AGAIN: Duration = Duration::from_millis(750);

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
        tokio::time::sleep(FOUND_AGAIN).await;
    }
}

/// A stream of a node that asks the member of nothing but who leads.
struct Asking {
    requests: mpsc::Sender<v1::RenewRequest>,
    answers: Streaming<v1::RenewResponse>,
}

impl Asking {
    async fn start(members: &Members, id: u64) -> Self {
        let (requests, receiver) = mpsc::channel(1);
        let hello = v1::LeaseHello {
            node: "asking".to_owned(),
            peer_port: 0,
        };
        let message = Some(renew_request::Message::Hello(hello));
        requests.send(v1::RenewRequest { message }).await.unwrap();
        let channel = lbfabric_lease::channel(&members.address(id)).unwrap();
        let requests_of_it = ReceiverStream::new(receiver);
        let answers = LeaseServiceClient::new(channel).renew(requests_of_it).await;
        Self {
            requests,
            answers: answers.unwrap().into_inner(),
        }
    }

    async fn hears_that_nobody_leads(&mut self) -> bool {
        let question = v1::LeaderQuestion { asked_nanos: 1 };
        let message = Some(renew_request::Message::Question(question));
        let request = v1::RenewRequest { message };
        self.requests.send(request).await.unwrap();
        loop {
            let said = self.answers.message().await.unwrap();
            let said = said.expect("the stream goes on").message;
            if let Some(renew_response::Message::Answer(answer)) = said {
                return answer.nobody_leads;
            }
        }
    }
}

/// A new leader sends the log long before a slow disk has its first entry, and grants nothing until then.
#[tokio::test]
async fn a_member_does_not_take_the_logs_traffic_for_a_leader_of_leases() {
    let members = Members::start(3);
    members.all_ready().await;
    let _turn = Nodes::new(&members, vips(1));
    // Nothing is leased, and nobody leads leases.
    for id in members.ids() {
        let mut asking = Asking::start(&members, id).await;
        // One that has just started waits for half a lease.
        members::eventually("the member to say so", async || {
            asking.hears_that_nobody_leads().await.then_some(())
        })
        .await;
        for _ in 0..50 {
            assert!(asking.hears_that_nobody_leads().await, "member {id}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    apply_leased(&members, vips(1)).await;
    for id in members.ids() {
        let mut asking = Asking::start(&members, id).await;
        members::eventually("a leader to be heard", async || {
            (!asking.hears_that_nobody_leads().await).then_some(())
        })
        .await;
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

/// Without controllers nothing changes, as long as the nodes find each other.
#[tokio::test]
async fn owners_keep_their_vips_while_all_members_are_away() {
    let mut members = Members::start_with(3, 5);
    members.all_ready().await;
    let mut nodes = Nodes::new(&members, vips(3));
    nodes.start("n1");
    nodes.start("n2");
    apply_leased(&members, vips(3)).await;
    let before = nodes.settled().await;
    let kept_for = async |nodes: &Nodes, time| {
        let deadline = tokio::time::Instant::now() + Duration::from_millis(time);
        while tokio::time::Instant::now() < deadline {
            for (vip, owner) in &before {
                assert_eq!(nodes.answering(*vip), [owner.as_str()], "{vip}");
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    // The last assignments may have new peers.
    kept_for(&nodes, 500).await;
    for id in members.ids() {
        members.kill(id);
    }
    kept_for(&nodes, 2_000).await;
    for id in members.ids() {
        members.run(id);
    }
    kept_for(&nodes, 2_000).await;
    members.all_ready().await;
    kept_for(&nodes, 500).await;

    // A node whose peer is gone cannot tell that from one that has the controllers.
    for id in members.ids() {
        members.kill(id);
    }
    let (lost, left) = if before[&vip()] == "n1" {
        ("n2", "n1")
    } else {
        ("n1", "n2")
    };
    nodes.kill(lost);
    members::eventually("the leases to end", async || {
        (nodes.shares()[left] == 0).then_some(())
    })
    .await;
    for id in members.ids() {
        members.run(id);
    }
    nodes.start(lost);
    nodes.settled().await;
}

fn vips_at(members: &Members, id: u64) -> VipServiceClient<Channel> {
    VipServiceClient::new(members.channel(id))
}

async fn change(members: &Members, id: u64, change: Change) -> Result<(), tonic::Status> {
    let request = v1::ChangeVipRequest {
        address: vip().to_string(),
        change: Some(change),
    };
    let answer = vips_at(members, id).change_vip(timed(request)).await;
    answer.map(|_| ())
}

/// The VIP of the tests, as a member tells it.
async fn told(members: &Members, id: u64) -> v1::Vip {
    let request = timed(v1::ListVipsRequest {});
    let answer = vips_at(members, id).list_vips(request).await.unwrap();
    answer.into_inner().vips.remove(0)
}

async fn told_with(members: &Members, state: v1::VipState) -> v1::Vip {
    members::eventually("the VIP's state", async || {
        let vip = told(members, 1).await;
        (vip.state() == state).then_some(vip)
    })
    .await
}

#[tokio::test]
async fn operators_move_and_drain_a_vip_at_any_member_and_see_it_there() {
    let (members, nodes) = site(1, &["n1", "n2"]).await;
    let owner = nodes.settled().await[&vip()].clone();
    let other = if owner == "n1" { "n2" } else { "n1" };
    for id in members.ids() {
        let seen = told(&members, id).await;
        assert_eq!(
            (seen.owner.as_str(), seen.state()),
            (owner.as_str(), v1::VipState::Served)
        );
        assert_eq!(seen.services, ["s0"]);
        assert!(
            seen.since_unix_ms > 1_600_000_000_000 && seen.epoch > 0,
            "{seen:?}"
        );
    }
    change(&members, 1, Change::MoveTo(other.to_owned()))
        .await
        .unwrap();
    let gap = nodes.until_owned_by(vip(), |node| node == other).await;
    eprintln!("nobody answered for {} ms", gap.as_millis());
    assert!(gap < Duration::from_millis(100), "{gap:?}");
    let seen = told_with(&members, v1::VipState::Served).await;
    assert_eq!((seen.pinned_to.as_str(), seen.moved), (other, true));

    change(&members, 2, Change::Drain(true)).await.unwrap();
    let seen = told_with(&members, v1::VipState::Drained).await;
    assert_eq!(
        (seen.owner.as_str(), seen.epoch, seen.drained),
        ("", 0, true)
    );
    assert!(nodes.answering(vip()).is_empty());
    change(&members, 3, Change::Drain(false)).await.unwrap();
    told_with(&members, v1::VipState::Served).await;

    let refused = change(&members, 1, Change::PinTo("n9".to_owned()))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    let request = v1::ChangeVipRequest {
        address: "203.0.113.99".to_owned(),
        change: Some(Change::Unpin(true)),
    };
    let refused = vips_at(&members, 1)
        .change_vip(timed(request))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "{refused}");
    assert!(refused.message().contains("announce.lease"), "{refused}");
}

#[tokio::test]
async fn a_vip_without_nodes_is_down_and_says_why() {
    let (members, mut nodes) = site(1, &["n1"]).await;
    nodes.kill("n1");
    let seen = members::eventually("the node to be lost", async || {
        let vip = told(&members, 1).await;
        vip.reason.contains("n1 is lost").then_some(vip)
    })
    .await;
    assert_eq!(seen.state(), v1::VipState::Down, "{seen:?}");
    // It is nobody else's.
    assert_eq!(seen.owner, "n1");
}
