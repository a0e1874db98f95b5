//! Questions about packets, from any member to a node at the end of another one's stream.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "support/members.rs"]
mod members;

use std::time::{Duration, Instant};

use lbfabric_proto::v1::{self, explain_reply::Outcome, sync_request, sync_response};
use members::{Members, timed};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Status};

/// Connects a node that answers every question in the same way, or not at all. Gives a word for each question that it got.
async fn connect(
    members: &Members,
    id: u64,
    hello: v1::Hello,
    outcome: Option<Outcome>,
) -> mpsc::UnboundedReceiver<()> {
    let (asked, questions) = mpsc::unbounded_channel();
    let (requests, stream) = mpsc::unbounded_channel();
    let say = move |message| {
        let message = Some(message);
        requests.send(v1::SyncRequest { message }).is_ok()
    };
    assert!(say(sync_request::Message::Hello(hello)));
    let opened = members
        .nodes(id)
        .sync(UnboundedReceiverStream::new(stream))
        .await;
    let mut responses = opened.unwrap().into_inner();
    tokio::spawn(async move {
        while let Ok(Some(response)) = responses.message().await {
            let Some(sync_response::Message::Explain(query)) = response.message else {
                continue;
            };
            assert_eq!(query.packet, Some(packet()));
            // The test may have heard enough.
            asked.send(()).ok();
            if let Some(outcome) = outcome.clone() {
                let reply = v1::ExplainReply {
                    id: query.id,
                    outcome: Some(outcome),
                };
                say(sync_request::Message::Explained(reply));
            }
        }
    });
    questions
}

fn hello(name: &str) -> v1::Hello {
    v1::Hello {
        name: name.to_owned(),
        role: v1::NodeRole::LoadBalancer.into(),
        version: "0.0.7".to_owned(),
        explains: true,
        ..v1::Hello::default()
    }
}

fn packet() -> v1::PacketQuestion {
    v1::PacketQuestion {
        source: "198.51.100.7:40000".to_owned(),
        destination: "203.0.113.10:80".to_owned(),
        ..v1::PacketQuestion::default()
    }
}

async fn explain(members: &Members, id: u64, node: &str) -> Result<v1::ExplainResponse, Status> {
    let request = v1::ExplainRequest {
        node: node.to_owned(),
        packet: Some(packet()),
    };
    let response = members.fabric(id).explain(timed(request)).await?;
    Ok(response.into_inner())
}

/// The code and message of a question that has no answer.
async fn refused(members: &Members, id: u64, node: &str) -> (Code, String) {
    let status = explain(members, id, node).await.unwrap_err();
    (status.code(), status.message().to_owned())
}

#[tokio::test]
async fn every_member_asks_through_the_one_that_the_node_is_connected_to() {
    let mut members = Members::start(3);
    members.all_ready().await;
    let said = v1::Explanation {
        service: "web".to_owned(),
        slot: Some(7),
        steps: vec!["The packet is for VIP 203.0.113.10.".to_owned()],
        ..v1::Explanation::default()
    };
    let outcome = Outcome::Explanation(Box::new(said.clone()));
    connect(&members, 3, hello("lb1"), Some(outcome)).await;
    for id in members.ids() {
        let answer = explain(&members, id, "lb1").await.unwrap();
        assert_eq!((answer.node.as_str(), answer.member.as_str()), ("lb1", "3"));
        assert_eq!(answer.explanation, Some(said.clone()));
    }
    // Without its member nobody knows whether the node is there.
    members.kill(3);
    let (code, message) = refused(&members, 1, "lb1").await;
    assert_eq!(code, Code::Unavailable, "{message}");
    assert!(message.contains("could not be asked: 3"), "{message}");
}

#[tokio::test]
async fn a_node_that_cannot_be_asked_is_told_at_once() {
    let members = Members::start(1);
    members.all_ready().await;
    let old = v1::Hello {
        explains: false,
        ..hello("old")
    };
    let server = v1::Hello {
        role: v1::NodeRole::Server.into(),
        ..hello("server")
    };
    let reason = Outcome::Error("its program does not run".to_owned());
    connect(&members, 1, old, None).await;
    connect(&members, 1, server, None).await;
    connect(&members, 1, hello("faulty"), Some(reason)).await;
    for (node, code, part) in [
        ("nobody", Code::NotFound, "`nobody` is not known"),
        (
            "old",
            Code::FailedPrecondition,
            "version 0.0.7, which cannot explain",
        ),
        ("server", Code::FailedPrecondition, "is a server"),
        (
            "faulty",
            Code::FailedPrecondition,
            "`faulty`: its program does not run",
        ),
        ("", Code::InvalidArgument, "node"),
    ] {
        let (got, message) = refused(&members, 1, node).await;
        assert_eq!(got, code, "{message}");
        assert!(message.contains(part), "{message}");
    }
}

#[tokio::test]
async fn a_silent_node_is_waited_for_two_seconds_and_one_that_leaves_is_not() {
    let members = Members::start(1);
    members.all_ready().await;
    let mut questions = connect(&members, 1, hello("silent"), None).await;
    let start = Instant::now();
    let (code, message) = refused(&members, 1, "silent").await;
    assert_eq!(code, Code::Aborted, "{message}");
    assert!(message.contains("did not answer within 2 s"), "{message}");
    assert!(start.elapsed() >= Duration::from_secs(2));
    assert_eq!(questions.recv().await, Some(()));
    // Another stream of the node ends the first one while the question is open.
    let leaving = async {
        assert_eq!(questions.recv().await, Some(()));
        connect(&members, 1, hello("silent"), None).await;
    };
    let ((code, message), ()) = tokio::join!(refused(&members, 1, "silent"), leaving);
    assert_eq!(code, Code::Aborted, "{message}");
    assert!(message.contains("has ended its stream"), "{message}");
}
