//! Three members: any of them serves any call, and none of them is needed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "support/members.rs"]
mod members;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use lbfabric_proto::v1::{self, fabric_service_client::FabricServiceClient};
use members::{Members, apply_request, eventually, pool, pool_names, timed};
use nix::sys::signal::Signal;
use tonic::{Code, transport::Channel};

async fn apply(members: &Members, id: u64, name: &str) -> Result<u64, tonic::Status> {
    let request = apply_request(vec![pool(name, "10.0.0.1")], Vec::new());
    let response = members.fabric(id).apply(timed(request)).await?;
    Ok(response.into_inner().generation)
}

async fn names(members: &Members, id: u64) -> BTreeSet<String> {
    pool_names(&mut members.fabric(id))
        .await
        .into_iter()
        .collect()
}

#[tokio::test]
async fn any_member_takes_writes_and_reads_what_others_wrote() {
    let members = Members::start(3);
    members.all_ready().await;
    for round in 0..5 {
        for writer in members.ids() {
            let name = format!("p{round}-{writer}");
            apply(&members, writer, &name).await.unwrap();
            for reader in members.ids() {
                assert!(
                    names(&members, reader).await.contains(&name),
                    "{name} at {reader}"
                );
            }
        }
    }
    // An object that another member has only just made can be referred to.
    for writer in members.ids() {
        let request = apply_request(
            Vec::new(),
            vec![members::service(
                &format!("s{writer}"),
                &format!("203.0.113.{writer}"),
                "p4-3",
            )],
        );
        members.fabric(writer).apply(timed(request)).await.unwrap();
    }
}

#[tokio::test]
async fn killed_leader_costs_less_than_two_seconds_and_nothing_acknowledged() {
    let mut members = Members::start(3);
    members.all_ready().await;
    let mut acknowledged = BTreeSet::new();
    for round in 0..3 {
        for i in 0..10 {
            let name = format!("p{round}-{i}");
            apply(&members, 1 + i % 3, &name).await.unwrap();
            acknowledged.insert(name);
        }
        let leader = members.leader().await;
        let other = members.ids().into_iter().find(|id| *id != leader).unwrap();
        members.kill(leader);
        let killed = Instant::now();
        let name = format!("p{round}-after");
        apply(&members, other, &name).await.unwrap();
        let outage = killed.elapsed();
        eprintln!(
            "round {round}: next write {} ms after the kill",
            outage.as_millis()
        );
        assert!(outage < Duration::from_secs(2), "{outage:?}");
        acknowledged.insert(name);
        assert_eq!(names(&members, other).await, acknowledged);

        members.run(leader);
        members.ready(leader).await;
        assert_eq!(names(&members, leader).await, acknowledged);
    }
}

#[tokio::test]
async fn all_killed_come_back_with_everything() {
    let mut members = Members::start_with(3, 7);
    members.all_ready().await;
    let mut acknowledged = BTreeSet::new();
    for i in 0..25 {
        let name = format!("p{i}");
        apply(&members, 1 + i % 3, &name).await.unwrap();
        acknowledged.insert(name);
    }
    for id in members.ids() {
        members.kill(id);
    }
    for id in members.ids() {
        members.run(id);
    }
    for id in members.ids() {
        members.ready(id).await;
        assert_eq!(names(&members, id).await, acknowledged);
    }
}

#[tokio::test]
async fn member_that_was_away_gets_a_snapshot() {
    let mut members = Members::start_with(3, 5);
    members.all_ready().await;
    apply(&members, 1, "before").await.unwrap();
    let leader = members.leader().await;
    let away = members.ids().into_iter().find(|id| *id != leader).unwrap();
    members.kill(away);
    // Far more than the log keeps behind a snapshot.
    for i in 0..60 {
        apply(&members, leader, &format!("p{i}")).await.unwrap();
    }
    // Without its old log the snapshot is the only way.
    let folder = members.data_dir(away);
    std::fs::rename(&folder, folder.with_extension("lost")).unwrap();
    members.run(away);
    members.ready(away).await;
    assert_eq!(names(&members, away).await.len(), 61);
    eventually("the snapshot to be on disk", async || {
        let files = std::fs::read_dir(folder.join("snapshots")).ok()?;
        (files.count() > 0).then_some(())
    })
    .await;
    // It is a full member: the others can do without one of them.
    let third = members
        .ids()
        .into_iter()
        .find(|id| *id != leader && *id != away)
        .unwrap();
    members.kill(third);
    apply(&members, away, "after").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_leaders_die_under_load() {
    const WRITERS: u64 = 6;
    let mut members = Members::start_with(3, 40);
    members.all_ready().await;
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let clients: Vec<_> = members.ids().iter().map(|id| members.fabric(*id)).collect();
            tokio::spawn(write_until(writer, clients, stop.clone()))
        })
        .collect();
    for _ in 0..4 {
        // Long enough for writes to be under way at any stage.
        tokio::time::sleep(Duration::from_millis(400)).await;
        let leader = members.leader().await;
        members.kill(leader);
        members.run(leader);
        members.ready(leader).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = BTreeSet::new();
    for writer in writers {
        acknowledged.extend(writer.await.unwrap());
    }
    eprintln!("{} writes were acknowledged", acknowledged.len());
    assert!(
        acknowledged.len() > 20,
        "hardly any writes: {}",
        acknowledged.len()
    );
    let mut listed = Vec::new();
    for id in members.ids() {
        members.ready(id).await;
        let names = names(&members, id).await;
        let lost: Vec<_> = acknowledged.difference(&names).collect();
        assert!(lost.is_empty(), "member {id} lacks {lost:?}");
        listed.push(names);
    }
    assert!(
        listed.windows(2).all(|pair| pair[0] == pair[1]),
        "members differ"
    );
}

/// Creates pools at one member after the other, and returns those that were acknowledged.
async fn write_until(
    writer: u64,
    mut clients: Vec<FabricServiceClient<Channel>>,
    stop: Arc<AtomicBool>,
) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for i in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("w{writer}-{i}");
        let request = apply_request(vec![pool(&name, "10.0.0.1")], Vec::new());
        let at = i % clients.len();
        if clients[at].apply(timed(request)).await.is_ok() {
            acknowledged.push(name);
        }
    }
    acknowledged
}

#[tokio::test]
async fn hung_leader_is_replaced() {
    let members = Members::start(3);
    members.all_ready().await;
    apply(&members, 1, "before").await.unwrap();
    let leader = members.leader().await;
    let other = members.ids().into_iter().find(|id| *id != leader).unwrap();
    members.signal(leader, Signal::SIGSTOP);
    let hung = Instant::now();
    apply(&members, other, "after").await.unwrap();
    let outage = hung.elapsed();
    eprintln!("next write {} ms after the leader hung", outage.as_millis());
    assert!(outage < Duration::from_secs(2), "{outage:?}");
    assert_eq!(names(&members, other).await.len(), 2);
    members.signal(leader, Signal::SIGCONT);
    // The old leader must not answer from what it had.
    assert_eq!(names(&members, leader).await.len(), 2);
}

#[tokio::test]
async fn stopped_leader_hands_over() {
    let mut members = Members::start(3);
    members.all_ready().await;
    apply(&members, 1, "before").await.unwrap();
    let leader = members.leader().await;
    let other = members.ids().into_iter().find(|id| *id != leader).unwrap();
    assert!(members.stop(leader).success());
    let started = Instant::now();
    apply(&members, other, "after").await.unwrap();
    eprintln!(
        "write after a stop took {} ms",
        started.elapsed().as_millis()
    );
    assert_eq!(names(&members, other).await.len(), 2);
}

#[tokio::test]
async fn minority_refuses_in_time_and_says_why() {
    let mut members = Members::start(3);
    members.all_ready().await;
    apply(&members, 1, "before").await.unwrap();
    members.kill(2);
    members.kill(3);
    let started = Instant::now();
    let mut request = timed(apply_request(vec![pool("never", "10.0.0.1")], Vec::new()));
    request.set_timeout(Duration::from_secs(2));
    let refused = members.fabric(1).apply(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert!(started.elapsed() < Duration::from_secs(3));
    let mut request = timed(v1::ListRequest::default());
    request.set_timeout(Duration::from_millis(700));
    let refused = members.fabric(1).list(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    // Mistakes are found without a majority.
    let bad = apply_request(vec![pool("Not A Name", "10.0.0.1")], Vec::new());
    let mut request = timed(bad);
    request.set_timeout(Duration::from_secs(1));
    let refused = members.fabric(1).apply(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    members.run(2);
    members.ready(1).await;
    apply(&members, 2, "after").await.unwrap();
}
