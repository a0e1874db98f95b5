//! Lines of access logs, from any member and of all nodes, whichever members these are connected to.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "support/members.rs"]
mod members;

use std::collections::BTreeMap;

use lbfabric_proto::v1::{self, sync_request, sync_response};
use members::{Members, apply_request, eventually, pool, service, timed};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Streaming};

/// What a node is told about its log.
type Told = mpsc::UnboundedReceiver<sync_response::Message>;

/// Connects a node that answers each question with a line of its own, and goes on where it is followed.
async fn connect(members: &Members, id: u64, name: &str) -> Told {
    let (heard, told) = mpsc::unbounded_channel();
    let (requests, stream) = mpsc::unbounded_channel();
    let say = move |message| {
        let message = Some(message);
        requests.send(v1::SyncRequest { message }).is_ok()
    };
    assert!(say(sync_request::Message::Hello(v1::Hello {
        name: name.to_owned(),
        role: v1::NodeRole::LoadBalancer.into(),
        logs: true,
        ..v1::Hello::default()
    })));
    let opened = members
        .nodes(id)
        .sync(UnboundedReceiverStream::new(stream))
        .await;
    let mut responses = opened.unwrap().into_inner();
    let name = name.to_owned();
    tokio::spawn(async move {
        while let Ok(Some(response)) = responses.message().await {
            if let Some(sync_response::Message::FollowLog(query)) = &response.message {
                say(sync_request::Message::LogLines(v1::LogLines {
                    id: query.id,
                    lines: vec![format!("{name} {} {}", query.service, query.last)],
                    lost: 1,
                    ends: !query.follow,
                }));
            }
            if let Some(
                message @ (sync_response::Message::FollowLog(_)
                | sync_response::Message::StopLog(_)),
            ) = response.message
            {
                // The test may have heard enough.
                heard.send(message).ok();
            }
        }
    });
    told
}

async fn logs(
    members: &Members,
    id: u64,
    service: &str,
    follow: bool,
) -> Result<Streaming<v1::LogsResponse>, tonic::Status> {
    let request = v1::LogsRequest {
        service: service.to_owned(),
        last: 3,
        follow,
    };
    let response = members.fabric(id).logs(request).await?;
    Ok(response.into_inner())
}

/// So many answers, or all, by node.
async fn read(
    stream: &mut Streaming<v1::LogsResponse>,
    most: usize,
) -> BTreeMap<String, v1::LogsResponse> {
    let mut answers = BTreeMap::new();
    while answers.len() < most {
        let next = tokio::time::timeout(members::PATIENCE, stream.message());
        let Some(answer) = next.await.unwrap().unwrap() else {
            break;
        };
        answers.insert(answer.node.clone(), answer);
    }
    answers
}

/// A service with an access log, and one without.
async fn apply(members: &Members) {
    let logged = v1::ServiceSpec {
        mode: v1::Mode::L7Reverse.into(),
        proxy: Some(v1::ProxySpec {
            access_log: Some(v1::AccessLogSpec::default()),
            ..v1::ProxySpec::default()
        }),
        ..service("shop", "203.0.113.10", "web")
    };
    let quiet = service("quiet", "203.0.113.11", "web");
    let request = apply_request(vec![pool("web", "10.0.0.1")], vec![logged, quiet]);
    members.fabric(1).apply(timed(request)).await.unwrap();
}

#[tokio::test]
async fn every_member_gives_the_lines_of_all_nodes() {
    let members = Members::start(3);
    members.all_ready().await;
    apply(&members).await;
    let mut told = connect(&members, 3, "lb1").await;
    connect(&members, 1, "lb2").await;
    for id in members.ids() {
        let both = async || {
            let mut stream = logs(&members, id, "shop", false).await.ok()?;
            let answers = read(&mut stream, usize::MAX).await;
            (answers.len() == 2).then_some(answers)
        };
        let answers = eventually("the lines of both", both).await;
        for (name, answer) in answers {
            assert_eq!(answer.lines, [format!("{name} shop 3")]);
            assert_eq!(answer.lost, 1);
        }
    }
    while told.try_recv().is_ok() {}

    // Who follows gets those of nodes that come later as well; and nodes hear when nobody does any more.
    let mut stream = logs(&members, 2, "shop", true).await.unwrap();
    assert_eq!(read(&mut stream, 2).await.len(), 2);
    connect(&members, 2, "lb3").await;
    let late = read(&mut stream, 1).await;
    assert_eq!(late["lb3"].lines, ["lb3 shop 0"]);
    let asked = told.recv().await.unwrap();
    let sync_response::Message::FollowLog(v1::LogQuery {
        id, follow: true, ..
    }) = asked
    else {
        panic!("{asked:?}");
    };
    drop(stream);
    let stop = tokio::time::timeout(members::PATIENCE, told.recv()).await;
    assert_eq!(stop.unwrap(), Some(sync_response::Message::StopLog(id)));
}

#[tokio::test]
async fn what_has_no_log_is_refused() {
    let members = Members::start(1);
    members.all_ready().await;
    apply(&members).await;
    for (service, code, part) in [
        ("nobody", Code::NotFound, "no service `nobody`"),
        ("quiet", Code::FailedPrecondition, "proxy.access_log"),
    ] {
        let status = logs(&members, 1, service, true).await.unwrap_err();
        assert_eq!(status.code(), code, "{status:?}");
        assert!(status.message().contains(part), "{status:?}");
    }
}
