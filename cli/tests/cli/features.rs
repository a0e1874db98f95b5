use std::path::Path;

use crate::fabric::{Fabric, WEB};

/// The file of the repository that shows every option.
fn example() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/features.yaml");
    std::fs::read_to_string(path).expect("the example is there")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_with_every_option_applies_and_comes_back_whole() {
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
    let service = |name: &str| {
        let services = shown["services"].as_array().expect("a list");
        services
            .iter()
            .find(|service| service["name"] == name)
            .expect("the service")
            .clone()
    };
    assert_eq!(service("prefixes")["vips"][0], "198.51.100.0/24");
    assert_eq!(service("prefixes")["ports"], serde_json::json!(["any"]));
    assert_eq!(service("everything")["protocol"], "any");
    assert_eq!(service("one-of-them")["client_address_option"], true);
    // Defaults are filled in.
    assert_eq!(service("limited")["limits"]["source_new_flow_burst"], 50);
    assert_eq!(
        service("tunnelled")["tunnel"],
        serde_json::json!({"encapsulation": "gue", "gue_port": 6080, "outer_source": "spread"})
    );
    assert_eq!(service("http")["proxy"]["forwarded"]["forwarded"], "leave");
    assert_eq!(service("http")["proxy"]["http2"]["clients"], false);
    assert_eq!(
        service("passed-through")["proxy"]["carries"],
        "tls-passthrough"
    );
    assert_eq!(service("datagrams")["proxy"]["udp"]["max_sessions"], 4096);
    assert_eq!(service("quic")["proxy"], serde_json::Value::Null);
    let balancing = service("http")["proxy"]["balancing"].clone();
    assert_eq!(balancing["algorithm"], "least-connections");
    assert_eq!(balancing["sticky_cookie"]["same_site"], "lax");
    assert_eq!(balancing["outlier_ejection"]["failure_percent"], 50);
    // A change of one option is told by its path.
    let changed = example().replace("slow_start_ms: 30000", "slow_start_ms: 20000");
    let diff = fabric.run_with(&["diff", "-f", "-"], &changed).await;
    assert_eq!(
        (diff.code, diff.out.lines().nth(1)),
        (1, Some("    proxy.balancing.slow_start_ms: 30000 -> 20000")),
        "{}",
        diff.out
    );
    let changed = example().replace("new_flow_burst: 40000", "new_flow_burst: 30000");
    let diff = fabric.run_with(&["diff", "-f", "-"], &changed).await;
    assert_eq!(
        (diff.code, diff.out.lines().nth(1)),
        (1, Some("    limits.new_flow_burst: 40000 -> 30000")),
        "{}",
        diff.out
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_in_the_options_are_reported_together() {
    let fabric = Fabric::start().await;
    let text = "\
pools:
  - name: p
    backends:
      - { name: a, addresses: [10.77.2.21], quic_server_id: 0a0 }
services:
  - name: web
    vips: [198.51.100.7/24]
    ports: [80, any]
    mode: l4-dsr
    limits: { new_flow_burst: 5 }
    deny_sources: [10.0.0.0/8, 10.0.0.1/8]
    pool: p
  - name: tun
    vips: [203.0.113.1]
    ports: [80]
    mode: l4-dsr
    tunnel: { encapsulation: gue }
    clamp_mss: yes
    pool: p
  - name: http
    vips: [203.0.113.0/24, 203.0.113.9]
    ports: [80]
    mode: l7-reverse
    clamp_mss: true
    proxy: { timeouts: { idle_ms: 3600001 }, head_limits: { fields: 129 }, balancing: { algorithm: random, slow_start_ms: 3600001 } }
    pool: p
  - name: http2
    vips: [203.0.113.9]
    ports: [any]
    mode: l7-reverse
    clamp_mss: true
    limits: { new_flows_per_second: 5 }
    pool: p
  - name: packets
    vips: [203.0.113.10]
    ports: [80]
    mode: l4-dsr
    proxy: {}
    pool: p
";
    let path = fabric.file("bad.yaml", text);
    let path = path.to_str().expect("a UTF-8 path");
    let ran = fabric.run(&["apply", "-f", path]).await;
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    for expected in [
        "4:61: pools[0].backends[0].quic_server_id: `0a0` is not a server ID",
        "7:12: services[0].vips[0]: `198.51.100.7/24` has bits set behind the prefix: write `198.51.100.0/24`",
        "8:17: services[0].ports[1]: `any` is every port: let it stand alone",
        "10:31: services[0].limits.new_flow_burst: a burst needs a rate: set `new_flows_per_second` too",
        "11:32: services[0].deny_sources[1]: `10.0.0.1/8` has bits set",
        "17:13: services[1].tunnel: `l4-dsr` does not encapsulate",
        "18:16: services[1].clamp_mss: expected `true` or `false`, found `yes`",
        "25:35: services[2].proxy.timeouts.idle_ms: 3600001 is out of range: use 1 to 3600000, or leave it out for 60000",
        "25:69: services[2].proxy.head_limits.fields: 129 is out of range: use 1 to 128, or leave it out for 100",
        "25:100: services[2].proxy.balancing.algorithm: `random` is no balancing algorithm; use one of `round-robin`, `least-connections`, `peak-ewma`, `hash`",
        "25:123: services[2].proxy.balancing.slow_start_ms: 3600001 is out of range: use 1 to 3600000, or leave it out for 0",
        "29:12: services[3].ports: `l7-reverse` listens at ports: name them",
        "31:16: services[3].clamp_mss: it works on packets, and `l7-reverse` ends connections",
        "32:13: services[3].limits: it works on packets",
        "38:12: services[4].proxy: `l4-dsr` forwards packets: leave it out, or use `l7-reverse`",
    ] {
        assert!(
            ran.err.contains(&format!("{path}:{expected}")),
            "{expected}\n{}",
            ran.err
        );
    }
    assert!(
        ran.err
            .ends_with("error: 15 mistakes; nothing was changed\n"),
        "{}",
        ran.err
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn explaining_needs_a_node_that_is_there() {
    let fabric = Fabric::start().await;
    fabric
        .apply(&format!("{WEB}nodes: [{{name: declared}}]\n"))
        .await;
    let packet = [
        "explain",
        "--from",
        "198.51.100.7:40000",
        "--to",
        "10.99.0.10:80",
    ];
    let ran = fabric.run(&packet).await;
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.err.contains("no load balancer is connected"), "{ran:?}");
    let ask = async |node: &str| fabric.run(&[&packet[..], &["--node", node]].concat()).await;
    let ran = ask("nobody").await;
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.err.contains("node `nobody` is not known"), "{ran:?}");
    let ran = ask("declared").await;
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(
        ran.err
            .contains("is not connected to any controller member"),
        "{ran:?}"
    );
    let mixed = [
        "explain",
        "--node",
        "declared",
        "--from",
        "[::1]:1",
        "--to",
        "10.99.0.10:80",
    ];
    let ran = fabric.run(&mixed).await;
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("packet.destination"), "{ran:?}");
}
