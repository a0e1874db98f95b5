//! What nodes report stands in objects' statuses, at every member.

use super::*;

fn warnings(service: &v1::ServiceStatus) -> Vec<(&str, &str)> {
    let warnings = service.warnings.iter();
    warnings
        .map(|w| (w.node.as_str(), w.text.as_str()))
        .collect()
}

/// What a node says of a service, with so many warnings.
fn service_report(id: u32, warnings: usize) -> v1::NodeServiceReport {
    v1::NodeServiceReport {
        id,
        packets: 10,
        bytes: 1_000,
        warnings: (0..warnings).map(|n| format!("warning {n}")).collect(),
        proxy: Some(v1::ProxyTraffic {
            connections: 1,
            requests: 5,
            refusals: 2,
            times: vec![0, 3],
            ..v1::ProxyTraffic::default()
        }),
    }
}

/// Whether the reports of so many nodes are added up.
fn is_counted(service: &v1::ServiceStatus, nodes: u64) -> bool {
    let proxy = v1::ProxyTraffic {
        connections: nodes,
        requests: 5 * nodes,
        refusals: 2 * nodes,
        times: vec![0, 3 * nodes],
        ..v1::ProxyTraffic::default()
    };
    service.packets == 10 * nodes && service.bytes == 1_000 * nodes && service.proxy == Some(proxy)
}

#[tokio::test]
async fn reports_show_at_every_member() {
    let mut members = Members::start(3);
    members.serving(1).await;
    let generation = apply(&members, 1, web()).await;
    let mut nodes = Vec::new();
    for (member, name) in [(1, "n1"), (2, "n2"), (3, "n3")] {
        let mut held = Held::default();
        let mut node = Node::connect(&members, member, held.hello(name))
            .await
            .unwrap();
        node.follow(&mut held, generation).await;
        nodes.push((node, held));
    }
    let refused = *nodes[1].1.objects.keys().last().unwrap();
    let refusal = v1::NodeObjectRefusal {
        key: Some(refused.into()),
        generation,
        reason: "the map is full".to_owned(),
    };
    nodes[1]
        .0
        .say(sync_request::Message::Result(v1::DeltaResult {
            generation,
            refusals: vec![refusal.clone()],
        }));
    for (i, (node, _)) in nodes.iter().enumerate() {
        let refusals = if i == 1 {
            vec![refusal.clone()]
        } else {
            Vec::new()
        };
        node.say(sync_request::Message::Report(v1::NodeReport {
            applied_generation: generation,
            interface: "eth0".to_owned(),
            xdp_mode: v1::XdpMode::Native.into(),
            map_memory_bytes: 1 << 26,
            refusals,
            backends: vec![v1::NodeBackendReport {
                id: 1,
                healthy: i != 2,
                ..v1::NodeBackendReport::default()
            }],
            services: vec![service_report(refused.id, i)],
            ..v1::NodeReport::default()
        }));
    }
    for member in members.ids() {
        eventually("the service's status", async || {
            let v1::object::Status::ServiceStatus(service) =
                status(&members, member, Kind::Service, "www").await
            else {
                panic!("no status of a service")
            };
            let applied = service.applied_nodes == ["n1", "n3"];
            let refused = service.refusals.len() == 1
                && service.refusals[0].node == "n2"
                && service.refusals[0].reason == "the map is full";
            let warned = warnings(&service)
                == [
                    ("n2", "warning 0"),
                    ("n3", "warning 0"),
                    ("n3", "warning 1"),
                ];
            let counted = is_counted(&service, 3);
            (applied && refused && warned && counted).then_some(())
        })
        .await;
        let v1::object::Status::NodeStatus(node) = status(&members, member, Kind::Node, "n3").await
        else {
            panic!("no status of a node")
        };
        assert!(node.connected);
        assert_eq!(
            (node.member.as_str(), node.interface.as_str()),
            ("3", "eth0")
        );
        assert_eq!(node.map_memory_bytes, 1 << 26);
    }
    // A member that is gone is named, and its node is known to be away by nobody.
    members.kill(3);
    let request = v1::ListRequest {
        kind: Kind::Node.into(),
        with_status: true,
    };
    let list = members
        .fabric(1)
        .list(timed(request))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(list.missing_members, ["3"]);
    let names: Vec<_> = list
        .objects
        .iter()
        .map(|o| o.r#ref.clone().unwrap().name)
        .collect();
    assert_eq!(names, ["n1", "n2"]);
}
