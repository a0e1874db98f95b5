use super::*;

fn parse(spec: &v1::AnnouncementSpec) -> Result<Announcement, Vec<String>> {
    let mut violations = Vec::new();
    let parsed = Announcement::parse(spec, "announce", &mut violations);
    parsed.ok_or_else(|| violations.into_iter().map(|it| it.path).collect())
}

fn bgp(route: v1::BgpRouteSpec) -> v1::AnnouncementSpec {
    v1::AnnouncementSpec {
        by: Some(By::Bgp(route)),
        nodes: vec!["rack=a".to_owned()],
    }
}

fn lease(group: &str, over: &str) -> v1::AnnouncementSpec {
    let spread = v1::SpreadSpec {
        group: group.to_owned(),
        over: over.to_owned(),
    };
    v1::AnnouncementSpec {
        by: Some(By::Lease(v1::LeaseSpec {
            spread: Some(spread),
            min_healthy_servers: 3,
        })),
        nodes: vec![],
    }
}

#[test]
fn what_is_read_is_written_again() {
    let plain = v1::AnnouncementSpec {
        by: Some(By::Lease(v1::LeaseSpec::default())),
        nodes: vec![],
    };
    let route = v1::BgpRouteSpec {
        communities: vec!["65000:1".to_owned(), "no-export".to_owned()],
        med: Some(0),
        prepend: 32,
        local_preference: Some(200),
        min_healthy_servers: 2,
    };
    for spec in [plain, lease("web", ""), lease("web", "rack"), bgp(route)] {
        assert_eq!(parse(&spec).unwrap().to_spec(), spec);
    }
}

#[test]
fn each_mistake_says_where_it_is() {
    let nothing = v1::AnnouncementSpec::default();
    assert_eq!(parse(&nothing), Err(vec!["announce".to_owned()]));
    let spread = |field: &str| Err(vec![format!("announce.lease.spread.{field}")]);
    assert_eq!(parse(&lease("", "rack")), spread("group"));
    assert_eq!(parse(&lease("web", "a b")), spread("over"));
    let servers = v1::AnnouncementSpec {
        by: Some(By::Lease(v1::LeaseSpec {
            spread: None,
            min_healthy_servers: 513,
        })),
        nodes: vec![],
    };
    let path = "announce.lease.min_healthy_servers".to_owned();
    assert_eq!(parse(&servers), Err(vec![path]));
    let all = v1::BgpRouteSpec {
        communities: ["1:1", "x", "1:1"].map(str::to_owned).into(),
        med: None,
        prepend: 33,
        local_preference: None,
        min_healthy_servers: 513,
    };
    let found = [
        "communities[1]",
        "communities[2]",
        "prepend",
        "min_healthy_servers",
    ];
    let found = found.map(|field| format!("announce.bgp.{field}"));
    assert_eq!(parse(&bgp(all)), Err(found.into()));
    let many = v1::BgpRouteSpec {
        communities: (0..65).map(|n| format!("1:{n}")).collect(),
        ..v1::BgpRouteSpec::default()
    };
    assert_eq!(
        parse(&bgp(many)),
        Err(vec!["announce.bgp.communities".to_owned()])
    );
}

#[test]
fn an_announcement_is_a_change_of_its_own() {
    let fields = |spec: Option<&v1::AnnouncementSpec>| {
        let mut fields = Fields::default();
        if let Some(spec) = spec {
            parse(spec).unwrap().fields(&mut fields);
        }
        fields
    };
    let plain = v1::AnnouncementSpec {
        by: Some(By::Lease(v1::LeaseSpec::default())),
        nodes: vec![],
    };
    let changes = fields(None).changes(&fields(Some(&plain)));
    assert_eq!(changes.len(), 1);
    assert_eq!(
        (&*changes[0].path, &*changes[0].after),
        ("announce", "lease")
    );
}
