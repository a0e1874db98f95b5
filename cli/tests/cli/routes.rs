use std::path::Path;

use crate::fabric::Fabric;

/// The file of the repository that shows routes.
fn example() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/routes.yaml");
    std::fs::read_to_string(path).expect("the example is there")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_with_routes_applies_and_comes_back_whole() {
    let fabric = Fabric::start().await;
    fabric.apply(&example()).await;
    for format in ["yaml", "json"] {
        let file = fabric.run(&["get", "-o", format]).await;
        let diff = fabric
            .run_with(&["diff", "--prune", "-f", "-"], &file.out)
            .await;
        assert_eq!(
            (diff.code, diff.out.as_str(), diff.err.as_str()),
            (0, "", ""),
            "{}",
            file.out
        );
    }
    let shown = fabric.json(&["get", "services", "-o", "json"]).await;
    let proxy = &shown["services"][0]["proxy"];
    // Defaults are filled in.
    assert_eq!(proxy["rate_limits"][1]["burst"], 1000);
    let routes = &proxy["routes"];
    assert_eq!(routes[0]["forward"]["retries"]["budget_percent"], 20);
    assert_eq!(
        routes[0]["forward"]["retries"]["on"],
        serde_json::json!(["connect", "reset", "503"])
    );
    assert_eq!(
        routes[5]["answer"]["content_type"],
        "text/plain; charset=utf-8"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_routes_are_told_by_name() {
    let fabric = Fabric::start().await;
    fabric.apply(&example()).await;
    let changed = example()
        .replace("weight: 95", "weight: 90")
        .replace("body_bytes: 1048576", "body_bytes: 8589934592")
        .replace("- name: old-name", "- name: older-name");
    let diff = fabric.run_with(&["diff", "-f", "-"], &changed).await;
    assert_eq!(diff.code, 1, "{}", diff.err);
    for expected in [
        "proxy.routes: api, canary, shop, old-name, old-articles, robots, internal -> api, canary, shop, older-name,",
        "proxy.routes.api.limits.body_bytes: 1048576 -> 8589934592",
        "proxy.routes.shop.forward.split[0].weight: 95 -> 90",
        "proxy.routes.old-name.redirect.status: 308 -> ",
        "proxy.routes.older-name.match.host: ",
    ] {
        assert!(diff.out.contains(expected), "{expected}\n{}", diff.out);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_a_route_names_has_to_be_there() {
    let fabric = Fabric::start().await;
    fabric.apply(&example()).await;
    let ran = fabric.run(&["delete", "pools/shop-next"]).await;
    assert_ne!(ran.code, 0, "{ran:?}");
    assert!(
        ran.err
            .contains("`shop-next` is used by the services `shop`"),
        "{ran:?}"
    );
    let text = example().replace("pool: shop-next, weight", "pool: shop-nxt, weight");
    let ran = fabric.run_with(&["apply", "-f", "-"], &text).await;
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
    let expected = "services[0].proxy.routes[2].forward.split[1].pool: there is no pool `shop-nxt`: add it to `pools`, or use one of `api`, ";
    assert!(ran.err.contains(expected), "{}", ran.err);
}

/// Something wrong in nearly every line.
const MISTAKES: &str = "\
pools: [{ name: p }]
services:
  - name: web
    vips: [203.0.113.1]
    ports: [80]
    mode: l7-reverse
    pool: p
    proxy:
      rate_limits: [{ name: slow }]
      routes:
        - name: a
          match: { host: 'a:80', path_prefix: /a/../b, path_regex: '(' }
          forward: { pool: q, request_headers: { set: [{ name: Host, value: b }] } }
        - name: a
          match: { methods: [get] }
          redirect: { status: 304 }
          rate_limits: [fast]
        - name: b
          forward: {}
          answer: { status: 204, body: x }
          limits: { body_bytes: 18446744073709551616, fields: 129 }
        - match: { scheme: gopher }
          forward: { retries: { on: [500] }, rewrite: { path_regex: { pattern: a, replacement: $1 } } }
";

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_in_routes_are_reported_together() {
    let fabric = Fabric::start().await;
    let path = fabric.file("bad.yaml", MISTAKES);
    let path = path.to_str().expect("a UTF-8 path");
    let ran = fabric.run(&["apply", "-f", path]).await;
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
    let service = "services[0].proxy";
    for (place, field, reason) in [
        (
            "9",
            "rate_limits[0].requests",
            "it is required: use 1 to 1000000",
        ),
        ("12", "routes[0].match.host", "`a:80` is not a host"),
        (
            "12",
            "routes[0].match.path_prefix",
            "`/a/../b` has a segment `.` or `..`",
        ),
        (
            "12",
            "routes[0].match.path_regex",
            "`(` is not a regular expression",
        ),
        (
            "12",
            "routes[0].match.path_regex",
            "`path_prefix` is there already",
        ),
        ("13", "routes[0].forward.pool", "there is no pool `q`"),
        (
            "13",
            "routes[0].forward.request_headers.set[0].name",
            "`Host` says whom a request is for: use `rewrite.host`",
        ),
        ("14", "routes[1].name", "`a` is another's name already"),
        (
            "15",
            "routes[1].match.methods[0]",
            "`get` is not a method: write it in upper case",
        ),
        ("16", "routes[1].redirect.status", "304 is no redirect's"),
        ("16", "routes[1].redirect", "it leads to where it came from"),
        (
            "17",
            "routes[1].rate_limits[0]",
            "there is no rate limit `fast`",
        ),
        (
            "18",
            "routes[2]",
            "of `forward`, `redirect` and `answer` there is more than one",
        ),
        (
            "20",
            "routes[2].answer.body",
            "an answer with status 204 has none",
        ),
        (
            "21",
            "routes[2].limits.body_bytes",
            "18446744073709551616 is out of range; use 0 to 18446744073709551615",
        ),
        (
            "21",
            "routes[2].limits.fields",
            "129 is out of range: use 1 to 128, or leave it out",
        ),
        ("22", "routes[3].name", "a name is required"),
        (
            "22",
            "routes[3].match.scheme",
            "`gopher` is no http scheme; use one of `http`, `https`",
        ),
        (
            "23",
            "routes[3].forward.retries.on[0]",
            "`500` is no retry on; ",
        ),
        (
            "23",
            "routes[3].forward.rewrite.path_regex.replacement",
            "`$1` names a group that the expression does not have",
        ),
    ] {
        let found = ran.err.lines().any(|line| {
            let rest = line.strip_prefix(&format!("{path}:{place}:"));
            rest.is_some_and(|rest| rest.contains(&format!(" {service}.{field}: {reason}")))
        });
        assert!(found, "{place} {field}: {reason}\n{}", ran.err);
    }
}
