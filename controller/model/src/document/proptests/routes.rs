use lbfabric_proto::v1;

/// Routes of every kind, some of them with another pool, sound if the pool is there.
pub(super) fn routes(pool: &str, pick: u32) -> Vec<v1::RouteSpec> {
    let route = |name: &str| v1::RouteSpec {
        name: name.to_owned(),
        ..v1::RouteSpec::default()
    };
    let forward = v1::RouteForwardSpec {
        pool: pool.to_owned(),
        retries: Some(v1::RouteRetriesSpec::default()),
        ..v1::RouteForwardSpec::default()
    };
    let part = v1::SplitSpec {
        pool: pool.to_owned(),
        weight: None,
    };
    let split = v1::RouteForwardSpec {
        split: vec![part],
        split_by: Some(v1::RequestKeySpec::default()),
        ..v1::RouteForwardSpec::default()
    };
    let redirect = v1::RouteRedirectSpec {
        host: "Example.COM".to_owned(),
        ..v1::RouteRedirectSpec::default()
    };
    let answer = v1::RouteAnswerSpec {
        body: "hello".to_owned(),
        ..v1::RouteAnswerSpec::default()
    };
    let mut all = vec![
        route("plain"),
        v1::RouteSpec {
            forward: Some(forward),
            ..route("pool")
        },
        v1::RouteSpec {
            forward: Some(split),
            ..route("split")
        },
        v1::RouteSpec {
            redirect: Some(redirect),
            ..route("redirect")
        },
        v1::RouteSpec {
            answer: Some(answer),
            ..route("answer")
        },
    ];
    let kept = usize::try_from(pick % 6).unwrap_or_default();
    all.rotate_left(kept % 5);
    all.truncate(kept);
    all
}
