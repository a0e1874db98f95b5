//! Any specification is either refused with paths or understood in full, and what was understood survives every encoding.

use lbfabric_proto::{internal::v1 as internal, v1};
use proptest::prelude::*;
use prost::Message as _;

use crate::{
    Apply, Command, CompiledFabric, Document, FabricState, Generation, Mode, NodeFacts, ObjectKey,
    Outcome, Role, Service, ServiceMode, digest_of_whole,
    snapshot::{NodeProxy, NodeService, SnapshotBody, SnapshotObject},
};

mod announcement;
mod balancing;
mod bgp;
mod routes;
mod sound_proxy;
mod specs;

use self::specs::{fabric, sound_fabric};

/// The valid objects of a specification, which is what a user has after mending every mistake by deleting the object.
fn valid(spec: &v1::FabricSpec) -> Document {
    match Document::parse(spec) {
        Ok(document) => document,
        Err(invalid) => {
            assert!(!invalid.violations.is_empty());
            invalid.valid
        }
    }
}

/// Does the path lead to something in a specification of this size?
fn leads_somewhere(path: &str, spec: &v1::FabricSpec) -> bool {
    let Some((field, rest)) = path.split_once('[') else {
        return matches!(path, "pools" | "services" | "nodes");
    };
    let length = match field {
        "pools" => spec.pools.len(),
        "services" => spec.services.len(),
        "nodes" => spec.nodes.len(),
        _ => return false,
    };
    let index = rest.split(']').next().and_then(|i| i.parse::<usize>().ok());
    index.is_some_and(|i| i < length)
}

proptest! {
    #[test]
    fn every_mistake_has_a_path_and_a_reason(spec in fabric()) {
        for violation in FabricState::default().violations(&spec, false) {
            prop_assert!(leads_somewhere(&violation.path, &spec), "{violation}");
            prop_assert!(!violation.reason.is_empty());
        }
    }

    #[test]
    fn no_mistake_means_that_apply_works(spec in fabric(), prune in any::<bool>()) {
        let mut state = FabricState::default();
        if state.violations(&spec, prune).is_empty() {
            let document = Document::parse(&spec).expect("it has no mistake");
            let command = Command::Apply(Apply { document, prune, expected_generation: None });
            let outcome = state.apply(Generation(3), &command);
            prop_assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
        }
    }

    #[test]
    fn the_sound_is_accepted(spec in sound_fabric()) {
        prop_assert_eq!(FabricState::default().violations(&spec, false), vec![]);
    }

    #[test]
    fn what_was_understood_is_written_as_it_is_read(spec in fabric()) {
        let document = valid(&spec);
        let command = Command::Apply(Apply { document, prune: false, expected_generation: None });
        let bytes = internal::Command::from(&command).encode_to_vec();
        let proto = internal::Command::decode(bytes.as_slice()).unwrap();
        match Command::try_from(proto) {
            Ok(again) => prop_assert_eq!(internal::Command::from(&again), internal::Command::from(&command)),
            // Only the whole shows that a name stands twice.
            Err(violations) => prop_assert!(
                violations.iter().all(|v| v.reason.contains("twice")), "{violations:?}"
            ),
        }
    }

    #[test]
    fn random_histories_keep_the_state_sound(
        history in prop::collection::vec((fabric(), any::<bool>()), 1..12),
    ) {
        let mut state = FabricState::default();
        state.apply(Generation(1), &Command::SetHashKey([1; 16]));
        let facts = NodeFacts { name: "n".into(), role: Role::LoadBalancer, addresses: vec![] };
        let mut compiled = CompiledFabric::compile(&state, None);
        let mut held = compiled.for_node(&facts).held();
        for (index, (spec, prune)) in (2..).zip(history) {
            let apply = |document, prune| Command::Apply(Apply { document, prune, expected_generation: None });
            state.apply(Generation(index * 2), &apply(valid(&v1::FabricSpec { services: vec![], ..spec.clone() }), false));
            let services = apply(valid(&spec), prune);
            let before = state.to_snapshot();
            if let Outcome::Refused(_) = state.apply(Generation(index * 2 + 1), &services) {
                prop_assert_eq!(&before, &state.to_snapshot());
            }
            // The state is one that may be applied as a whole, and a snapshot of it is the same state.
            let restored = FabricState::from_snapshot(state.to_snapshot()).unwrap();
            prop_assert_eq!(restored.to_snapshot(), state.to_snapshot());
            let all = whole(&state);
            prop_assert_eq!(state.violations(&all, true), vec![]);
            // A node that follows the deltas holds what a node that starts afresh gets.
            let next = CompiledFabric::compile(&state, Some(&compiled));
            let snapshot = next.for_node(&facts);
            let delta = snapshot.delta(&held);
            for upsert in &delta.upserts {
                check_decoded(&state, &upsert.object)?;
                let key = ObjectKey::try_from(upsert.key.unwrap()).unwrap();
                held.insert(key, crate::digest_of_object(&upsert.object));
            }
            for removal in &delta.removals {
                held.remove(&ObjectKey::try_from(*removal).unwrap());
            }
            let afresh = CompiledFabric::compile(&state, None).for_node(&facts);
            prop_assert_eq!(&held, &afresh.held());
            prop_assert_eq!(delta.digest, digest_of_whole(&held));
            compiled = next;
        }
    }

    #[test]
    fn what_was_understood_is_shown_with_defaults_and_stays_the_same(spec in sound_fabric()) {
        let document = valid(&spec);
        let shown = document.to_spec();
        let again = Document::parse(&shown).map_err(|invalid| invalid.violations);
        prop_assert_eq!(again.as_ref().map(Document::to_spec), Ok(shown));
        prop_assert_eq!(again, Ok(document));
    }

    #[test]
    fn any_bytes_of_a_snapshot_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let read = SnapshotObject::decode(&bytes);
        prop_assert!(read.is_ok() || read.is_err_and(|e| !e.to_string().is_empty()));
    }
}

/// A node reads of a pool or service what the state holds.
fn check_decoded(state: &FabricState, bytes: &[u8]) -> Result<(), TestCaseError> {
    let object = SnapshotObject::decode(bytes).unwrap();
    match object.body {
        SnapshotBody::Pool(pool) => {
            let mut pools = state.pools().map(|stored| &stored.pool);
            let stored = pools
                .find(|pool| pool.name.as_str() == object.name)
                .unwrap();
            prop_assert_eq!(pool.flow_keeping, stored.flow_keeping);
            let ids = pool.backends.iter().map(|b| b.quic_server_id);
            prop_assert!(ids.eq(stored.backends.iter().map(|b| b.quic_server_id)));
        }
        SnapshotBody::Service(NodeService {
            vips,
            ports,
            protocol,
            mode,
            affinity,
            pool,
            backend_port,
            tunnel,
            clamp_mss,
            client_address_option,
            limits,
            source_rules,
            exact_state,
        }) => {
            let mut services = state.services().map(|stored| &stored.service);
            let stored = services.find(|s| s.name.as_str() == object.name).unwrap();
            prop_assert!(mode == Mode::Dnat || !exact_state);
            let read = Service {
                name: stored.name.clone(),
                vips,
                ports,
                protocol,
                mode: ServiceMode::L4(mode),
                pool: state
                    .pools()
                    .find(|p| p.id == pool)
                    .unwrap()
                    .pool
                    .name
                    .clone(),
                affinity,
                backend_port,
                tunnel,
                clamp_mss,
                client_address_option,
                limits,
                source_rules,
                proxy: None,
                announcement: object.announcement,
            };
            prop_assert_eq!(&read, stored);
        }
        SnapshotBody::Proxy(service) => {
            let NodeProxy {
                vips,
                ports,
                protocol,
                mode,
                pool: _,
                route_pools,
                backend_port,
                proxy,
                certificates,
            } = *service;
            let mut services = state.services().map(|stored| &stored.service);
            let stored = services.find(|s| s.name.as_str() == object.name).unwrap();
            prop_assert_eq!(&stored.vips, &vips);
            prop_assert_eq!(&stored.ports, &ports);
            prop_assert_eq!(stored.protocol, protocol);
            prop_assert_eq!(stored.mode, ServiceMode::L7(mode));
            prop_assert_eq!(stored.backend_port, backend_port);
            let named = proxy.pools().into_iter();
            let named: Vec<_> = named.map(|name| state.pool(name).unwrap().id).collect();
            prop_assert_eq!(named, route_pools);
            prop_assert_eq!(&stored.proxy, &Some(proxy));
            prop_assert_eq!(&stored.announcement, &object.announcement);
            prop_assert!(certificates.is_empty());
        }
        SnapshotBody::Settings(_) | SnapshotBody::ServerVips(_) | SnapshotBody::Certificate(_) => {}
    }
    Ok(())
}

fn whole(state: &FabricState) -> v1::FabricSpec {
    let mut spec = v1::FabricSpec::default();
    for object in state.objects(v1::Kind::Unspecified) {
        match object.spec.expect("stored objects have a specification") {
            v1::object::Spec::Service(service) => spec.services.push(*service),
            v1::object::Spec::Pool(pool) => spec.pools.push(pool),
            v1::object::Spec::Node(node) => spec.nodes.push(node),
            v1::object::Spec::Certificate(certificate) => spec.certificates.push(certificate),
        }
    }
    spec
}
