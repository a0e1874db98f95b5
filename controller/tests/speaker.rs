//! Questions about BGP, from any member and to all nodes, whichever members these are connected to.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "support/members.rs"]
mod members;

use lbfabric_proto::v1::{
    self, speaker_question::About, speaker_reply::Outcome,
    speaker_service_client::SpeakerServiceClient, sync_request, sync_response,
};
use members::{Members, eventually, timed};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Code;

/// Connects a node that speaks BGP if it can, and answers with its name.
async fn connect(members: &Members, id: u64, name: &str, speaks: bool) {
    let (requests, stream) = mpsc::unbounded_channel();
    let say = move |message| {
        let message = Some(message);
        requests.send(v1::SyncRequest { message }).is_ok()
    };
    assert!(say(sync_request::Message::Hello(v1::Hello {
        name: name.to_owned(),
        role: v1::NodeRole::LoadBalancer.into(),
        speaks,
        ..v1::Hello::default()
    })));
    assert!(say(sync_request::Message::Report(v1::NodeReport {
        bgp: speaks.then(|| v1::BgpStatus {
            announced_vips: 2,
            ..v1::BgpStatus::default()
        }),
        ..v1::NodeReport::default()
    })));
    let opened = members
        .nodes(id)
        .sync(UnboundedReceiverStream::new(stream))
        .await;
    let mut responses = opened.unwrap().into_inner();
    let name = name.to_owned();
    tokio::spawn(async move {
        while let Ok(Some(response)) = responses.message().await {
            if let Some(sync_response::Message::Speaker(query)) = response.message {
                let outcome = answer(&name, query.question.unwrap().about.unwrap());
                say(sync_request::Message::Spoken(v1::SpeakerReply {
                    id: query.id,
                    outcome: Some(outcome),
                }));
            }
        }
    });
}

fn answer(name: &str, about: About) -> Outcome {
    let mut answer = v1::SpeakerAnswer::default();
    match about {
        About::Neighbors(_) => answer.neighbors.push(v1::BgpNeighborStatus {
            name: format!("of-{name}"),
            ..v1::BgpNeighborStatus::default()
        }),
        About::Routes(question) if question.neighbor == "nobody" => {
            return Outcome::Error("there is no neighbor `nobody`".to_owned());
        }
        About::Routes(question) => answer.left_out = question.limit,
        About::Vip(question) => {
            answer.vip = Some(v1::VipAnnouncement {
                vip: question.vip,
                node: name.to_owned(),
                ..v1::VipAnnouncement::default()
            });
        }
    }
    Outcome::Answer(answer)
}

#[tokio::test]
async fn every_member_asks_the_nodes_of_all() {
    let members = Members::start(3);
    members.all_ready().await;
    connect(&members, 3, "lb1", true).await;
    connect(&members, 1, "lb2", true).await;
    connect(&members, 2, "old", false).await;
    for id in members.ids() {
        let mut client = SpeakerServiceClient::new(members.channel(id));
        let all = v1::ListNeighborsRequest::default();
        let answer = eventually("both nodes", async || {
            let answer = client.clone().list_neighbors(timed(all.clone())).await;
            let answer = answer.ok()?.into_inner();
            (answer.nodes.len() == 2).then_some(answer)
        })
        .await;
        let names: Vec<_> = answer
            .nodes
            .iter()
            .map(|it| &it.neighbors[0].name)
            .collect();
        assert_eq!(names, ["of-lb1", "of-lb2"]);
        assert_eq!(answer.nodes[0].status.as_ref().unwrap().announced_vips, 2);
        assert!(answer.failures.is_empty() && answer.missing_members.is_empty());
        let request = v1::ListRoutesRequest {
            node: "lb1".to_owned(),
            limit: 7,
            ..v1::ListRoutesRequest::default()
        };
        let answer = client
            .list_routes(timed(request))
            .await
            .unwrap()
            .into_inner();
        assert_eq!((answer.nodes.len(), answer.nodes[0].left_out), (1, 7));
        let request = v1::GetVipAnnouncementsRequest {
            vip: "203.0.113.10".to_owned(),
        };
        let answer = client.get_vip_announcements(timed(request)).await;
        let told = answer.unwrap().into_inner().announcements;
        let nodes: Vec<_> = told.iter().map(|it| it.node.as_str()).collect();
        assert_eq!(nodes, ["lb1", "lb2"]);
    }
}

#[tokio::test]
async fn who_cannot_answer_is_named() {
    let members = Members::start(1);
    members.all_ready().await;
    connect(&members, 1, "lb1", true).await;
    connect(&members, 1, "old", false).await;
    let client = SpeakerServiceClient::new(members.channel(1));
    let neighbors = async |node: &str| {
        let request = v1::ListNeighborsRequest {
            node: node.to_owned(),
        };
        client.clone().list_neighbors(timed(request)).await
    };
    eventually("the nodes", async || {
        neighbors("lb1").await.ok()?;
        (neighbors("old").await.unwrap_err().code() != Code::NotFound).then_some(())
    })
    .await;
    let unknown = neighbors("lb9").await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let old = neighbors("old").await.unwrap_err();
    assert_eq!(old.code(), Code::FailedPrecondition);
    assert!(old.message().contains("cannot tell of BGP"), "{old}");
    let routes = async |neighbor: &str, prefix: &str| {
        let request = v1::ListRoutesRequest {
            neighbor: neighbor.to_owned(),
            prefix: prefix.to_owned(),
            ..v1::ListRoutesRequest::default()
        };
        client.clone().list_routes(timed(request)).await
    };
    let answer = routes("nobody", "").await.unwrap().into_inner();
    let expected = "node `lb1`: there is no neighbor `nobody`";
    assert_eq!(answer.failures[0].reason, expected);
    let wrong = routes("", "203.0.113.1/24").await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);
}
