use std::net::IpAddr;
use std::time::Instant;

use lbfabric_bgp::AttributesSpec;

use super::*;

fn node() -> NodeTruth {
    NodeTruth {
        has_applied: true,
        fault: None,
        links_down: None,
        drain: Drain::Not,
    }
}

fn vip(last: u8) -> Prefix {
    Prefix::host(IpAddr::from([203, 0, 113, last]))
}

fn attributes(med: u32) -> Arc<Attributes> {
    let spec = AttributesSpec {
        med: Some(med),
        ..AttributesSpec::default()
    };
    Arc::new(spec.try_into().unwrap())
}

fn service(name: &str, vips: &[u8]) -> ServiceTruth {
    ServiceTruth {
        name: name.into(),
        vips: vips.iter().copied().map(vip).collect(),
        attributes: attributes(7),
        missing_label: None,
        refusal: None,
        healthy_servers: 2,
        min_healthy_servers: 0,
    }
}

fn decided<const N: usize>(node: &NodeTruth, services: [ServiceTruth; N]) -> Decision {
    let mut decided = Decided::default();
    decided.follow(node, services);
    let announced = decided.decision.announced().count();
    assert_eq!(
        decided.counts(),
        (announced, decided.decision.vips.len() - announced)
    );
    decided.decision
}

/// Why the VIP is withheld; nothing if it is announced.
fn why(decision: &Decision, last: u8) -> Vec<String> {
    match &decision.vips[&vip(last)] {
        Verdict::Announced(with) => {
            assert_eq!(*with, attributes(7));
            vec![]
        }
        Verdict::Withheld(reasons) => reasons.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn what_can_be_served_is_announced() {
    let decision = decided(&node(), [service("a", &[1, 2]), service("b", &[2, 3])]);
    let announced: Vec<_> = decision.announced().map(|(prefix, _)| prefix).collect();
    assert_eq!(announced, [1, 2, 3].map(vip));
    assert!(!decision.is_draining);
}

#[test]
fn what_is_not_true_of_the_node_withholds_everything() {
    let with = |change: fn(&mut NodeTruth)| {
        let mut node = node();
        change(&mut node);
        let decision = decided(&node, [service("a", &[1]), service("b", &[2])]);
        assert_eq!(decision.announced().count(), 0);
        assert_eq!(why(&decision, 1), why(&decision, 2));
        why(&decision, 1)
    };
    let started = with(|it| it.has_applied = false);
    assert_eq!(started, ["the node has not applied what it holds yet"]);
    let fault = with(|it| it.fault = Some("interface lb0 is gone".into()));
    let expected = "the packet program does not run: interface lb0 is gone";
    assert_eq!(fault, [expected]);
    let links = with(|it| it.links_down = Some("lb0, lb1".into()));
    assert_eq!(links, ["no interface is up: lb0, lb1"]);
    let drained = with(|it| it.drain = Drain::Over);
    assert_eq!(drained, ["the node is drained"]);
    let both = with(|it| {
        it.drain = Drain::Over;
        it.links_down = Some("lb0".into());
    });
    assert_eq!(both.len(), 2);
}

#[test]
fn a_drain_begins_with_a_word_and_all_routes() {
    let mut node = node();
    node.drain = Drain::Asking {
        until: Instant::now(),
    };
    let decision = decided(&node, [service("a", &[1])]);
    assert!(decision.is_draining);
    assert_eq!(why(&decision, 1), [""; 0]);
}

#[test]
fn a_vip_needs_all_of_its_services() {
    let few = |healthy| ServiceTruth {
        healthy_servers: healthy,
        min_healthy_servers: 1,
        ..service("b", &[2, 3])
    };
    let decision = decided(&node(), [service("a", &[1, 2]), few(0)]);
    assert_eq!(why(&decision, 1), [""; 0]);
    let expected = ["service `b` has 0 healthy servers and needs 1"];
    assert_eq!(why(&decision, 2), expected);
    assert_eq!(why(&decision, 3), expected);
    let decision = decided(&node(), [service("a", &[1, 2]), few(1)]);
    assert_eq!(decision.announced().count(), 3);
}

#[test]
fn the_reason_that_others_follow_from_is_told() {
    let mut service = service("a", &[1]);
    service.min_healthy_servers = 3;
    service.refusal = Some("no source address".into());
    let told = |service: &ServiceTruth| why(&decided(&node(), [service.clone()]), 1);
    let expected = "the node has refused service `a`: no source address";
    assert_eq!(told(&service), [expected]);
    service.missing_label = Some("site=east".into());
    let expected = "service `a` wants nodes with the label site=east";
    assert_eq!(told(&service), [expected]);
}

#[test]
fn what_is_lacking_of_several_services_is_told_of_each() {
    let lacking = |name| ServiceTruth {
        min_healthy_servers: 3,
        ..service(name, &[1])
    };
    let decision = decided(&node(), [lacking("a"), service("b", &[1]), lacking("c")]);
    assert_eq!(why(&decision, 1).len(), 2);
}

#[test]
fn nothing_is_decided_anew_while_nothing_has_changed() {
    let mut decided = Decided::default();
    let few = |healthy_servers| ServiceTruth {
        healthy_servers,
        min_healthy_servers: 2,
        ..service("b", &[2])
    };
    let (one, lacking, enough) = (service("a", &[1]), few(1), few(2));
    assert!(
        decided
            .follow(&node(), [one.clone(), lacking.clone()])
            .is_some()
    );
    let reasons = |of: &Decided| match &of.decision().vips[&vip(2)] {
        Verdict::Withheld(reasons) => Arc::as_ptr(reasons),
        Verdict::Announced(_) => panic!("it has too few servers"),
    };
    let before = reasons(&decided);
    assert_eq!(decided.follow(&node(), [one.clone(), lacking]), None);
    // What is made anew lies elsewhere.
    assert_eq!(reasons(&decided), before);
    let withheld = decided.follow(&node(), [one.clone(), enough]);
    assert_eq!(withheld.map(|it| it.announced().count()), Some(1));
    assert_eq!(decided.counts(), (2, 0));
    // More than enough is the same.
    assert_eq!(decided.follow(&node(), [one, few(5)]), None);
}
