//! The nodes' stream, from a node's side.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "support/members.rs"]
mod members;
#[path = "node_stream/reports.rs"]
mod reports;

use std::collections::BTreeMap;

use lbfabric_model::{ObjectKey, digest_of_object, digest_of_whole};
use lbfabric_proto::v1::{self, Kind, sync_request, sync_response};
use members::{Members, apply_request, eventually, object_ref, pool, service, timed};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Status, Streaming};

/// A node that holds what it is sent.
struct Node {
    requests: mpsc::UnboundedSender<v1::SyncRequest>,
    responses: Streaming<v1::SyncResponse>,
}

/// What a node holds.
#[derive(Default)]
struct Held {
    generation: u64,
    objects: BTreeMap<ObjectKey, Vec<u8>>,
}

impl Node {
    async fn connect(members: &Members, id: u64, hello: v1::Hello) -> Result<Self, Status> {
        let (requests, stream) = mpsc::unbounded_channel();
        let node = |message| v1::SyncRequest {
            message: Some(message),
        };
        requests
            .send(node(sync_request::Message::Hello(hello)))
            .unwrap();
        let responses = members
            .nodes(id)
            .sync(UnboundedReceiverStream::new(stream))
            .await?
            .into_inner();
        Ok(Self {
            requests,
            responses,
        })
    }

    fn say(&self, message: sync_request::Message) {
        let message = Some(message);
        self.requests.send(v1::SyncRequest { message }).unwrap();
    }

    async fn delta(&mut self) -> Result<v1::Delta, Status> {
        let message = tokio::time::timeout(members::PATIENCE, self.responses.message());
        let message = message.await.expect("a delta in time")?.expect("a message");
        match message.message {
            Some(sync_response::Message::Delta(delta)) => Ok(delta),
            other => panic!("no delta: {other:?}"),
        }
    }

    /// Takes deltas until the generation is reached.
    async fn follow(&mut self, held: &mut Held, generation: u64) {
        while held.generation < generation {
            held.take(self.delta().await.unwrap());
        }
    }
}

impl Held {
    fn take(&mut self, delta: v1::Delta) {
        assert!(delta.generation > self.generation, "{delta:?}");
        self.generation = delta.generation;
        for upsert in delta.upserts {
            let key = ObjectKey::try_from(upsert.key.unwrap()).unwrap();
            self.objects.insert(key, upsert.object);
        }
        for key in delta.removals {
            let key = ObjectKey::try_from(key).unwrap();
            assert!(self.objects.remove(&key).is_some(), "{key:?}");
        }
        assert_eq!(digest_of_whole(&self.digests()), delta.digest);
    }

    fn digests(&self) -> BTreeMap<ObjectKey, u64> {
        let digests = self.objects.iter();
        digests
            .map(|(key, object)| (*key, digest_of_object(object)))
            .collect()
    }

    fn hello(&self, name: &str) -> v1::Hello {
        let held = self
            .digests()
            .into_iter()
            .map(|(key, digest)| v1::HeldObject {
                key: Some(key.into()),
                digest,
            });
        v1::Hello {
            name: name.to_owned(),
            role: v1::NodeRole::LoadBalancer.into(),
            addresses: vec!["192.0.2.1".to_owned()],
            version: "test".to_owned(),
            generation: self.generation,
            held: held.collect(),
            logs: false,
            explains: true,
            speaks: true,
        }
    }

    fn kinds(&self) -> Vec<v1::NodeObjectKind> {
        self.objects.keys().map(|key| key.kind.into()).collect()
    }
}

async fn apply(members: &Members, id: u64, request: v1::ApplyRequest) -> u64 {
    let response = members.fabric(id).apply(timed(request)).await.unwrap();
    response.into_inner().generation
}

fn web() -> v1::ApplyRequest {
    apply_request(
        vec![pool("web", "10.0.0.1")],
        vec![service("www", "203.0.113.10", "web")],
    )
}

async fn status(members: &Members, id: u64, kind: Kind, name: &str) -> v1::object::Status {
    let request = v1::GetRequest {
        r#ref: Some(object_ref(kind, name)),
        with_status: true,
    };
    let response = members.fabric(id).get(timed(request)).await.unwrap();
    response.into_inner().object.unwrap().status.unwrap()
}

#[tokio::test]
async fn node_gets_a_snapshot_then_changes_and_nothing_twice() {
    use v1::NodeObjectKind::{Pool, Service, Settings};
    let members = Members::start(1);
    members.serving(1).await;
    let generation = apply(&members, 1, web()).await;
    let mut held = Held::default();
    let mut node = Node::connect(&members, 1, held.hello("n1")).await.unwrap();
    node.follow(&mut held, generation).await;
    assert_eq!(held.kinds(), [Settings, Pool, Service]);

    // Only what differs comes.
    let changed = apply_request(vec![pool("web", "10.0.0.2")], Vec::new());
    let changed = apply(&members, 1, changed).await;
    let delta = node.delta().await.unwrap();
    assert_eq!((delta.generation, delta.upserts.len()), (changed, 1));
    held.take(delta);
    let delete = v1::DeleteRequest {
        refs: vec![object_ref(Kind::Service, "www")],
        expected_generation: 0,
    };
    members.fabric(1).delete(timed(delete)).await.unwrap();
    let delta = node.delta().await.unwrap();
    assert_eq!((delta.upserts.len(), delta.removals.len()), (0, 1));
    held.take(delta);
    drop(node);

    // What the node holds is not sent again; what it has lost or holds wrongly is.
    let mut node = Node::connect(&members, 1, held.hello("n1")).await.unwrap();
    let delta = node.delta().await.unwrap();
    assert_eq!((delta.upserts.len(), delta.removals.len()), (0, 0));
    assert_eq!(delta.digest, digest_of_whole(&held.digests()));
    let mut hello = held.hello("n1");
    hello.held.remove(0);
    hello.held[0].digest ^= 1;
    hello.held.push(v1::HeldObject {
        key: Some(v1::NodeObjectKey {
            kind: Service.into(),
            id: 77,
        }),
        digest: 1,
    });
    let mut node = Node::connect(&members, 1, hello).await.unwrap();
    let delta = node.delta().await.unwrap();
    assert_eq!((delta.upserts.len(), delta.removals.len()), (2, 1));
}

#[tokio::test]
async fn server_gets_its_vips() {
    let members = Members::start(1);
    members.serving(1).await;
    let mut www = service("www", "203.0.113.10", "web");
    www.mode = v1::Mode::L4Dsr.into();
    let request = apply_request(vec![pool("web", "10.0.0.1")], vec![www]);
    let generation = apply(&members, 1, request).await;
    let hello = v1::Hello {
        role: v1::NodeRole::Server.into(),
        addresses: vec!["10.0.0.1".to_owned()],
        ..Held::default().hello("server-1")
    };
    let mut held = Held::default();
    let mut node = Node::connect(&members, 1, hello).await.unwrap();
    node.follow(&mut held, generation).await;
    assert_eq!(held.kinds(), [v1::NodeObjectKind::ServerVips]);
}

/// Which node warns of what.
#[tokio::test]
async fn pool_status_lists_health() {
    let members = Members::start(1);
    members.serving(1).await;
    let generation = apply(&members, 1, web()).await;
    let mut held = Held::default();
    let mut node = Node::connect(&members, 1, held.hello("n1")).await.unwrap();
    node.follow(&mut held, generation).await;
    let backend = held.objects.iter().find_map(|(_, object)| {
        match lbfabric_model::snapshot::SnapshotObject::decode(object)
            .unwrap()
            .body
        {
            lbfabric_model::snapshot::SnapshotBody::Pool(pool) => Some(pool.backends[0].id.0),
            _ => None,
        }
    });
    node.say(sync_request::Message::Report(v1::NodeReport {
        applied_generation: generation,
        backends: vec![v1::NodeBackendReport {
            id: backend.unwrap(),
            healthy: false,
            reason: "connection refused".to_owned(),
            packets: 3,
        }],
        ..v1::NodeReport::default()
    }));
    eventually("the pool's status", async || {
        let v1::object::Status::PoolStatus(pool) = status(&members, 1, Kind::Pool, "web").await
        else {
            panic!("no status of a pool")
        };
        let health = pool.health.first()?;
        assert_eq!(
            (health.node.as_str(), health.backend.as_str()),
            ("n1", "s1")
        );
        assert_eq!((health.healthy, health.packets), (false, 3));
        assert_eq!(health.reason, "connection refused");
        Some(())
    })
    .await;
}

#[tokio::test]
async fn wrong_messages_end_the_stream_with_a_reason() {
    let members = Members::start(1);
    members.serving(1).await;
    let bad = v1::Hello {
        name: "Not A Name".to_owned(),
        ..Held::default().hello("n1")
    };
    let refused = Node::connect(&members, 1, bad).await.err().unwrap();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("hello.name"), "{refused}");

    let (requests, stream) = mpsc::unbounded_channel();
    let report = sync_request::Message::Report(v1::NodeReport::default());
    requests
        .send(v1::SyncRequest {
            message: Some(report),
        })
        .unwrap();
    let refused = members
        .nodes(1)
        .sync(UnboundedReceiverStream::new(stream))
        .await;
    assert_eq!(refused.err().unwrap().code(), Code::InvalidArgument);

    let mut node = Node::connect(&members, 1, Held::default().hello("n1"))
        .await
        .unwrap();
    node.delta().await.unwrap();
    node.say(sync_request::Message::Hello(Held::default().hello("n1")));
    assert_eq!(
        node.delta().await.unwrap_err().code(),
        Code::InvalidArgument
    );

    let mut old = Node::connect(&members, 1, Held::default().hello("n1"))
        .await
        .unwrap();
    old.delta().await.unwrap();
    let mut new = Node::connect(&members, 1, Held::default().hello("n1"))
        .await
        .unwrap();
    new.delta().await.unwrap();
    let ended = old.delta().await.unwrap_err();
    assert_eq!(ended.code(), Code::Aborted, "{ended:?}");
}

#[tokio::test]
async fn node_moves_to_another_member_and_misses_nothing() {
    let mut members = Members::start(3);
    members.serving(1).await;
    let generation = apply(&members, 1, web()).await;
    let mut held = Held::default();
    let mut node = Node::connect(&members, 1, held.hello("n1")).await.unwrap();
    node.follow(&mut held, generation).await;
    members.kill(1);
    assert!(node.delta().await.is_err());
    let changed = apply_request(vec![pool("web", "10.0.0.2")], Vec::new());
    let changed = apply(&members, 2, changed).await;
    let mut node = Node::connect(&members, 3, held.hello("n1")).await.unwrap();
    let first = node.delta().await.unwrap();
    assert!(first.upserts.len() <= 1, "{first:?}");
    if first.generation > held.generation {
        held.take(first);
    }
    node.follow(&mut held, changed).await;
    assert_eq!(held.objects.len(), 3);
}

#[tokio::test]
async fn election_leaves_the_other_members_nodes_alone() {
    let mut members = Members::start(3);
    members.serving(1).await;
    let generation = apply(&members, 1, web()).await;
    let leader = members.leader().await;
    let followers = members.ids().into_iter().filter(|id| *id != leader);
    let mut nodes = Vec::new();
    for id in followers {
        let mut held = Held::default();
        let mut node = Node::connect(&members, id, held.hello(&format!("n{id}")))
            .await
            .unwrap();
        node.follow(&mut held, generation).await;
        nodes.push((id, node, held));
    }
    members.kill(leader);
    let changed = apply_request(vec![pool("web", "10.0.0.2")], Vec::new());
    let changed = apply(&members, nodes[0].0, changed).await;
    for (_, node, held) in &mut nodes {
        node.follow(held, changed).await;
    }
}

#[tokio::test]
async fn member_without_a_leader_sends_its_nodes_away_once() {
    let mut members = Members::start(3);
    members.serving(3).await;
    let generation = apply(&members, 3, web()).await;
    let mut held = Held::default();
    let mut node = Node::connect(&members, 3, held.hello("n1")).await.unwrap();
    node.follow(&mut held, generation).await;
    members.kill(1);
    members.kill(2);
    assert_eq!(node.delta().await.unwrap_err().code(), Code::Unavailable);
    // It takes the node back, as there is nobody better, and keeps it.
    let mut node = Node::connect(&members, 3, held.hello("n1")).await.unwrap();
    let delta = node.delta().await.unwrap();
    assert_eq!(
        (delta.generation, delta.upserts.len()),
        (held.generation, 0)
    );
    members.run(1);
    members.ready(3).await;
    let changed = apply_request(vec![pool("web", "10.0.0.3")], Vec::new());
    let changed = apply(&members, 1, changed).await;
    node.follow(&mut held, changed).await;
}

#[tokio::test]
async fn member_that_is_behind_a_node_sends_it_nothing() {
    let members = Members::start(1);
    members.serving(1).await;
    let generation = apply(&members, 1, web()).await;
    let hello = v1::Hello {
        generation: generation + 2,
        ..Held::default().hello("n1")
    };
    let mut node = Node::connect(&members, 1, hello).await.unwrap();
    // Two log entries bring it there.
    for address in ["10.0.0.2", "10.0.0.3"] {
        let request = apply_request(vec![pool("web", address)], Vec::new());
        apply(&members, 1, request).await;
    }
    let delta = node.delta().await.unwrap();
    assert!(delta.generation >= generation + 2, "{}", delta.generation);
}
