//! One member: the API's calls and what they refuse.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "support/members.rs"]
mod members;

use lbfabric_proto::v1::{self, Action, Kind};
use members::{Members, apply_request, eventually, object_ref, pool, pool_names, service, timed};
use tonic::Code;
use tonic_types::StatusExt;

fn actions(changes: &[v1::Change]) -> Vec<(String, Action)> {
    changes
        .iter()
        .map(|change| (change.r#ref.clone().unwrap().name, change.action()))
        .collect()
}

/// A caller that is as quick as it can be gets a generation that stands until somebody changes something.
#[tokio::test]
async fn founding_does_not_outdate_the_first_write() {
    for _ in 0..5 {
        let members = Members::start(1);
        let mut fabric = members.fabric(1);
        let request = apply_request(vec![pool("web", "10.0.0.1")], Vec::new());
        let applied = eventually("the first write", async || {
            fabric.apply(timed(request.clone())).await.ok()
        })
        .await
        .into_inner();
        members.serving(1).await;
        let list = v1::ListRequest {
            kind: Kind::Pool.into(),
            with_status: false,
        };
        let listed = fabric.list(timed(list)).await.unwrap().into_inner();
        assert_eq!(listed.generation, applied.generation);
    }
}

#[tokio::test]
async fn objects_come_change_and_go() {
    let members = Members::start(1);
    members.ready(1).await;
    let mut fabric = members.fabric(1);
    let request = apply_request(
        vec![pool("web", "10.0.0.1")],
        vec![service("www", "203.0.113.10", "web")],
    );

    let diff = v1::DiffRequest {
        fabric: request.fabric.clone(),
        prune: false,
    };
    let diff = fabric.diff(timed(diff)).await.unwrap().into_inner();
    let created = [
        ("web".to_owned(), Action::Create),
        ("www".to_owned(), Action::Create),
    ];
    assert_eq!(actions(&diff.changes), created);
    assert!(
        pool_names(&mut fabric).await.is_empty(),
        "diff changed something"
    );

    let applied = fabric
        .apply(timed(request.clone()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(actions(&applied.changes), created);
    assert_eq!(pool_names(&mut fabric).await, ["web"]);

    let again = fabric.apply(timed(request)).await.unwrap().into_inner();
    assert_eq!(again.generation, applied.generation);
    assert!(
        again
            .changes
            .iter()
            .all(|change| change.action() == Action::Unchanged)
    );

    let changed = apply_request(vec![pool("web", "10.0.0.2")], Vec::new());
    let changed = fabric.apply(timed(changed)).await.unwrap().into_inner();
    assert_eq!(
        actions(&changed.changes),
        [("web".to_owned(), Action::Update)]
    );
    assert!(changed.generation > applied.generation);

    let got = v1::GetRequest {
        r#ref: Some(object_ref(Kind::Pool, "web")),
        with_status: true,
    };
    let got = fabric
        .get(timed(got))
        .await
        .unwrap()
        .into_inner()
        .object
        .unwrap();
    assert_eq!(got.generation, changed.generation);
    let Some(v1::object::Spec::Pool(spec)) = got.spec else {
        panic!("no pool: {:?}", got.spec)
    };
    assert_eq!(spec.backends[0].addresses, ["10.0.0.2"]);
    assert_eq!(spec.max_backends, 32, "defaults are filled in");

    let both = v1::DeleteRequest {
        refs: vec![
            object_ref(Kind::Pool, "web"),
            object_ref(Kind::Service, "www"),
        ],
        expected_generation: 0,
    };
    fabric.delete(timed(both)).await.unwrap();
    assert!(pool_names(&mut fabric).await.is_empty());
}

#[tokio::test]
async fn refusals_have_their_codes() {
    let members = Members::start(1);
    members.ready(1).await;
    let mut fabric = members.fabric(1);
    let request = apply_request(
        vec![pool("web", "10.0.0.1")],
        vec![service("www", "203.0.113.10", "web")],
    );
    let applied = fabric
        .apply(timed(request.clone()))
        .await
        .unwrap()
        .into_inner();

    let delete = |kind, name: &str, expected_generation| v1::DeleteRequest {
        refs: vec![object_ref(kind, name)],
        expected_generation,
    };
    for (request, code) in [
        (delete(Kind::Pool, "web", 0), Code::FailedPrecondition),
        (delete(Kind::Pool, "none", 0), Code::NotFound),
        (delete(Kind::Unspecified, "web", 0), Code::InvalidArgument),
        (
            delete(Kind::Service, "www", applied.generation - 1),
            Code::FailedPrecondition,
        ),
        (v1::DeleteRequest::default(), Code::InvalidArgument),
    ] {
        let refused = fabric.delete(timed(request.clone())).await.unwrap_err();
        assert_eq!(refused.code(), code, "{request:?}: {refused}");
    }
    let stale = v1::ApplyRequest {
        expected_generation: applied.generation - 1,
        ..apply_request(vec![pool("other", "10.0.0.9")], Vec::new())
    };
    let refused = fabric.apply(timed(stale)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let empty = v1::ApplyRequest::default();
    let refused = fabric.apply(timed(empty)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let get = |kind, name: &str| v1::GetRequest {
        r#ref: Some(object_ref(kind, name)),
        with_status: false,
    };
    let refused = fabric
        .get(timed(get(Kind::Pool, "none")))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    let refused = fabric
        .get(timed(get(Kind::Node, "none")))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    let list = v1::ListRequest {
        kind: 99,
        with_status: false,
    };
    let refused = fabric.list(timed(list)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(
        pool_names(&mut fabric).await,
        ["web"],
        "a refusal changed something"
    );
}

#[tokio::test]
async fn five_mistakes_are_all_reported() {
    let members = Members::start(1);
    members.ready(1).await;
    let mut fabric = members.fabric(1);
    let mut bad_pool = pool("Web!", "10.0.0.1");
    bad_pool.backends[0].addresses = vec!["10.0.0.999".to_owned()];
    let mut bad_service = service("www", "127.0.0.1", "none");
    bad_service.ports = vec!["70000".to_owned()];
    let request = apply_request(vec![bad_pool, pool("good", "10.0.0.3")], vec![bad_service]);
    let refused = fabric.apply(timed(request)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let details = refused.get_error_details();
    let mut paths: Vec<_> = details
        .bad_request()
        .unwrap()
        .field_violations
        .iter()
        .map(|violation| violation.field.as_str())
        .collect();
    paths.sort_unstable();
    assert_eq!(
        paths,
        [
            "pools[0].backends[0].addresses[0]",
            "pools[0].name",
            "services[0].pool",
            "services[0].ports[0]",
            "services[0].vips[0]",
        ]
    );
    for path in paths {
        assert!(
            refused.message().contains(path),
            "{path} is not in the message"
        );
    }
    assert!(pool_names(&mut fabric).await.is_empty());
}

#[tokio::test]
async fn watcher_sees_what_is_there_and_what_changes() {
    let members = Members::start(1);
    members.ready(1).await;
    let mut fabric = members.fabric(1);
    let first = apply_request(vec![pool("one", "10.0.0.1")], Vec::new());
    fabric.apply(timed(first)).await.unwrap();

    let request = v1::WatchRequest {
        kind: Kind::Pool.into(),
    };
    let mut watch = fabric.watch(request).await.unwrap().into_inner();
    let mut next = async || {
        let message = tokio::time::timeout(members::PATIENCE, watch.message()).await;
        let message = message.unwrap().unwrap().unwrap();
        let name = message
            .object
            .clone()
            .and_then(|object| object.r#ref)
            .map_or(String::new(), |name| name.name);
        (message.synced, message.action(), name)
    };
    assert_eq!(next().await, (false, Action::Create, "one".to_owned()));
    assert_eq!(next().await, (true, Action::Unspecified, String::new()));

    let changes = apply_request(
        vec![pool("one", "10.0.0.9"), pool("two", "10.0.0.2")],
        Vec::new(),
    );
    fabric.apply(timed(changes)).await.unwrap();
    let mut seen = [next().await, next().await];
    seen.sort_by(|a, b| a.2.cmp(&b.2));
    assert_eq!(seen[0], (false, Action::Update, "one".to_owned()));
    assert_eq!(seen[1], (false, Action::Create, "two".to_owned()));

    // A service is not watched, so the next message is the deletion.
    let other = apply_request(Vec::new(), vec![service("www", "203.0.113.1", "one")]);
    fabric.apply(timed(other)).await.unwrap();
    let delete = v1::DeleteRequest {
        refs: vec![object_ref(Kind::Pool, "two")],
        expected_generation: 0,
    };
    fabric.delete(timed(delete)).await.unwrap();
    assert_eq!(next().await, (false, Action::Delete, "two".to_owned()));
}

#[tokio::test]
async fn health_says_serving() {
    let members = Members::start(1);
    members.serving(1).await;
}

#[tokio::test]
async fn state_survives_kill_and_stop() {
    let mut members = Members::start_with(1, 5);
    members.ready(1).await;
    for i in 0..20 {
        let request = apply_request(vec![pool(&format!("p{i}"), "10.0.0.1")], Vec::new());
        members.fabric(1).apply(timed(request)).await.unwrap();
    }
    members.kill(1);
    members.run(1);
    members.ready(1).await;
    assert_eq!(pool_names(&mut members.fabric(1)).await.len(), 20);
    let status = members.stop(1);
    assert!(status.success(), "{status}");
    members.run(1);
    members.ready(1).await;
    assert_eq!(pool_names(&mut members.fabric(1)).await.len(), 20);
}
