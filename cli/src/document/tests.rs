use lbfabric_proto::v1;

use super::{Reading, Source, read};

fn source(name: &str, text: &str) -> Source {
    Source {
        name: name.to_owned(),
        bytes: text.as_bytes().to_vec(),
    }
}

/// The mistakes of one file, as they are printed.
fn lines(reading: &Reading, sources: &[Source]) -> Vec<String> {
    reading
        .mistakes()
        .iter()
        .map(|mistake| mistake.locate(sources).to_string())
        .collect()
}

fn mistakes(text: &str) -> Vec<String> {
    let sources = [source("f", text)];
    lines(&read(&sources), &sources)
}

const GOOD: &str = "\
pools:
  - name: web
    health_check: { tcp: { port: 80 }, interval_ms: 500 }
    backends:
      - { name: s1, addresses: [10.77.2.21, \"fd77:2::21\"], weight: 0x64, quic_server_id: 01 }
      - { name: s2, addresses: [10.77.2.22], weight: }
services:
  - name: web
    vips: [10.99.0.10, fd99::10]
    ports: [80, \"443\", 8000-8099]
    protocol: PROTOCOL_UDP
    mode: l4-fullnat
    affinity: source-destination
    pool: web
  - name: all
    vips: [198.51.100.0/24]
    ports: [any]
    protocol: any
    mode: l4-tunnel
    tunnel: { encapsulation: gue, outer_source: fixed }
    clamp_mss: true
    client_address_option: False
    limits: { new_flows_per_second: 7 }
    deny_sources: [192.0.2.0/24, \"2001:db8::/32\"]
    pool: web
";

fn good() -> v1::FabricSpec {
    let check = v1::health_check_spec::Check::Tcp(v1::TcpCheckSpec { port: 80 });
    let backend = |name: &str, addresses: &[&str], weight| v1::BackendSpec {
        name: name.to_owned(),
        addresses: addresses.iter().map(ToString::to_string).collect(),
        weight,
        ..v1::BackendSpec::default()
    };
    let s1 = v1::BackendSpec {
        quic_server_id: "01".to_owned(),
        ..backend("s1", &["10.77.2.21", "fd77:2::21"], Some(100))
    };
    v1::FabricSpec {
        pools: vec![v1::PoolSpec {
            name: "web".to_owned(),
            backends: vec![s1, backend("s2", &["10.77.2.22"], None)],
            health_check: Some(v1::HealthCheckSpec {
                check: Some(check),
                interval_ms: 500,
                ..Default::default()
            }),
            ..v1::PoolSpec::default()
        }],
        services: vec![
            v1::ServiceSpec {
                name: "web".to_owned(),
                vips: vec!["10.99.0.10".to_owned(), "fd99::10".to_owned()],
                ports: vec!["80".to_owned(), "443".to_owned(), "8000-8099".to_owned()],
                protocol: v1::Protocol::Udp.into(),
                mode: v1::Mode::L4Fullnat.into(),
                pool: "web".to_owned(),
                affinity: v1::Affinity::SourceDestination.into(),
                ..v1::ServiceSpec::default()
            },
            v1::ServiceSpec {
                name: "all".to_owned(),
                vips: vec!["198.51.100.0/24".to_owned()],
                ports: vec!["any".to_owned()],
                protocol: v1::Protocol::Any.into(),
                mode: v1::Mode::L4Tunnel.into(),
                pool: "web".to_owned(),
                tunnel: Some(v1::TunnelSpec {
                    encapsulation: v1::Encapsulation::Gue.into(),
                    gue_port: 0,
                    outer_source: v1::OuterSource::Fixed.into(),
                }),
                clamp_mss: true,
                limits: Some(v1::LimitsSpec {
                    new_flows_per_second: 7,
                    ..v1::LimitsSpec::default()
                }),
                deny_sources: vec!["192.0.2.0/24".to_owned(), "2001:db8::/32".to_owned()],
                ..v1::ServiceSpec::default()
            },
        ],
        ..v1::FabricSpec::default()
    }
}

#[test]
fn reads_a_file() {
    assert_eq!(mistakes(GOOD), Vec::<String>::new());
    assert_eq!(read(&[source("f", GOOD)]).spec, good());
}

#[test]
fn reads_json_crlf_bom_anchors_and_several_documents() {
    let json = r#"{"pools": [{"name": "a", "max_backends": 5}]}"#;
    let yaml = "\u{feff}pools:\r\n- &a\r\n  name: b\r\n---\r\npools: [{name: c}]\r\n...\r\n---\r\n---\r\nnodes: []\r\n";
    let sources = [source("a", json), source("b", yaml)];
    let reading = read(&sources);
    assert_eq!(lines(&reading, &sources), Vec::<String>::new());
    let names: Vec<_> = reading
        .spec
        .pools
        .iter()
        .map(|pool| pool.name.as_str())
        .collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(reading.spec.pools[0].max_backends, 5);

    let alias = "pools:\n- name: a\n  backends: &b [{name: x}]\n- name: c\n  backends: *b\n";
    let reading = read(&[source("f", alias)]);
    assert_eq!(
        reading.spec.pools[0].backends,
        reading.spec.pools[1].backends
    );
}

#[test]
fn reports_every_mistake_with_its_position() {
    let text = "\
services:
  - name: web
    vips: 10.99.0.10
    ports: [80, [81]]
    mdoe: l4-dnat
    protocol: sctp
    backend_port: -1
    backend_port: 80
    colour: red
  - name: b
    clamp_mss: 'true'
    client_address_option: yes
    tunnel: { encapsulation: gre, gue_prot: 6080 }
    limits: 5
    deny_sources: 10.0.0.0/8
pool:
  - name: web
    max_backends: 5000000000
    health_check: 5
    backends:
      - weight: '5'
      - nonsense
";
    assert_eq!(
        mistakes(text),
        [
            "f:3:11: services[0].vips: expected a list, found `10.99.0.10`; write `[10.99.0.10]`",
            "f:4:17: services[0].ports[1]: expected text, found a list",
            "f:5:5: services[0].mdoe: unknown field; did you mean `mode`?",
            "f:6:15: services[0].protocol: `sctp` is no protocol; use one of `tcp`, `udp`, `any`",
            "f:7:19: services[0].backend_port: -1 is out of range; use 0 to 4294967295",
            "f:8:5: services[0].backend_port: `backend_port` is there already, in line 7; remove one of them",
            "f:9:5: services[0].colour: unknown field; the fields here are `name`, `vips`, `ports`, `protocol`, `mode`, \
             `pool`, `affinity`, `backend_port`, `tunnel`, `clamp_mss`, `client_address_option`, `limits`, `allow_sources`, \
             `deny_sources`, `proxy`, `announce`",
            "f:11:16: services[1].clamp_mss: expected `true` or `false`, found a text; write true without quotes",
            "f:12:28: services[1].client_address_option: expected `true` or `false`, found `yes`",
            "f:13:30: services[1].tunnel.encapsulation: `gre` is no encapsulation; did you mean `gue`? use one of `ipip`, `gue`",
            "f:13:35: services[1].tunnel.gue_prot: unknown field; did you mean `gue_port`?",
            "f:14:13: services[1].limits: expected a mapping with `new_flows_per_second`, `new_flow_burst`, \
             `source_new_flows_per_second`, `source_new_flow_burst`, found `5`",
            "f:15:19: services[1].deny_sources: expected a list, found `10.0.0.0/8`; write `[10.0.0.0/8]`",
            "f:16:1: pool: unknown field; did you mean `pools`?",
            "f:18:19: pool[0].max_backends: 5000000000 is out of range; use 0 to 4294967295",
            "f:19:19: pool[0].health_check: expected a mapping with `tcp`, `interval_ms`, `timeout_ms`, `rise`, `fall`, \
             found `5`",
            "f:21:17: pool[0].backends[0].weight: expected a whole number, found a text; write 5 without quotes",
            "f:22:9: pool[0].backends[1]: expected a mapping with `name`, `addresses`, `weight`, `quic_server_id`, \
             found `nonsense`",
        ]
    );
    let reading = read(&[source("f", text)]);
    assert_eq!(
        reading.spec.services[0].mode,
        v1::Mode::L4Dnat as i32,
        "a misspelt field is read all the same"
    );
    assert_eq!(
        reading.spec.pools[0].backends.len(),
        2,
        "a placeholder keeps the indices"
    );
}

#[test]
fn reports_broken_syntax_and_what_came_before_it() {
    assert_eq!(
        mistakes("services:\n  - name: web\n    mode: l4\n  - name: [x\nports: }\n"),
        [
            "f:3:11: services[0].mode: `l4` is no mode; use one of `l4-dnat`, `l4-fullnat`, `l4-dsr`, `l4-tunnel`, `l7-reverse`, \
             `l7-transparent`",
            "f:4:11: services[1].name: expected text, found a list",
            "f:5:6: not valid YAML: illegal placement of ':' indicator",
        ]
    );
    let bytes = Source {
        name: "f".to_owned(),
        bytes: b"pools:\n- name: \xff".to_vec(),
    };
    assert_eq!(
        lines(&read(std::slice::from_ref(&bytes)), &[bytes]),
        ["f:2:9: not valid UTF-8; save the file in UTF-8"]
    );
}

#[test]
fn reports_what_is_no_file_of_a_fabric() {
    assert_eq!(
        mistakes(""),
        [
            "f:1:1: no objects here; write `pools:`, `services:`, `nodes:` or `certificates:`, or `{}` for none"
        ]
    );
    assert_eq!(mistakes("# only words\n---\n"), mistakes(""));
    assert_eq!(mistakes("{}"), Vec::<String>::new());
    assert_eq!(
        mistakes("- a"),
        [
            "f:1:1: expected a mapping with `pools`, `services`, `nodes`, `certificates`, found a list"
        ]
    );
    assert_eq!(
        mistakes("pools: [{[a]: 5}]"),
        ["f:1:10: pools[0]: a key has to be text, not a list"]
    );
    let deep = format!("a: {}", "[".repeat(100));
    assert_eq!(
        mistakes(&deep).last().map(String::as_str),
        Some("f:1:35: nested too deeply; a fabric needs six levels")
    );
    let bomb = "pools:\n- &a [xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx]\n".to_owned()
        + &"- &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\n- &a [*b, *b, *b, *b, *b, *b, *b, *b, *b]\n"
            .repeat(20);
    assert!(
        mistakes(&bomb)
            .last()
            .is_some_and(|m| m.contains("aliases of this file add too much"))
    );
}

#[test]
fn places_violations_in_the_file_that_they_come_from() {
    let sources = [
        source("a", "services:\n- name: a\n  vips: [10.0.0.1]\n"),
        source(
            "b",
            "services:\n- name: b\n---\nservices:\n- name: c\n  vips:\n  - 1.1.1.1\n  - 127.0.0.1\n",
        ),
    ];
    let mut reading = read(&sources);
    reading.merge(
        [
            ("services[2].vips[1]", "a loopback"),
            ("services[2].vips[1]", "a loopback"),
            ("services[0].mode", "required"),
            ("services[7].mode", "beyond the files"),
            ("pools", "too many"),
        ]
        .map(|(path, reason)| (path.to_owned(), reason.to_owned())),
    );
    assert_eq!(
        lines(&reading, &sources),
        [
            "a:1:1: pools: too many",
            "a:1:1: services[7].mode: beyond the files",
            "a:2:3: services[0].mode: required",
            "b:8:5: services[1].vips[1]: a loopback",
        ]
    );
}

#[test]
fn leaves_out_consequences_of_what_is_reported() {
    let sources = [source(
        "f",
        "services:\n- name: a\n  mode: nat\n  pool: web\n  vips: [[], bad]\n- {mdoe: nat}\npools:\n- name: []\n",
    )];
    let mut reading = read(&sources);
    let before = reading.mistakes().len();
    let merge =
        |reading: &mut Reading, path: &str| reading.merge([(path.to_owned(), "wrong".to_owned())]);
    for path in [
        "services[0].mode",
        "services[0].vips[0]",
        "services[0].pool",
        "pools[0].name",
    ] {
        merge(&mut reading, path);
        assert_eq!(reading.mistakes().len(), before, "{path}");
    }
    merge(&mut reading, "services[0].vips[1]");
    merge(&mut reading, "services[1].mode");
    let text = lines(&reading, &sources).join("\n");
    assert!(
        text.contains("f:5:14: services[0].vips[1]: wrong"),
        "{text}"
    );

    // What stands after a fault of syntax is not missing.
    let sources = [source(
        "f",
        "services:\n- name: a\n  vips: []\n- name: b\n  }\n",
    )];
    let mut reading = read(&sources);
    merge(&mut reading, "services[1].vips");
    assert_eq!(reading.mistakes().len(), 1, "{:?}", reading.mistakes());
    merge(&mut reading, "services[0].vips");
    assert_eq!(reading.mistakes().len(), 2, "{:?}", reading.mistakes());
}
