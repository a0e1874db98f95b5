use rcgen::{CertificateParams, KeyPair};

use super::*;

fn certificate(name: &str, key: &KeyPair) -> v1::CertificateSpec {
    let params = CertificateParams::new([format!("{name}.example")]).unwrap();
    v1::CertificateSpec {
        name: name.to_owned(),
        chain: params.self_signed(key).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

fn with(certificate: &v1::CertificateSpec) -> v1::FabricSpec {
    v1::FabricSpec {
        certificates: vec![certificate.clone()],
        ..v1::FabricSpec::default()
    }
}

fn without_key(certificate: &v1::CertificateSpec) -> v1::CertificateSpec {
    v1::CertificateSpec {
        key: String::new(),
        ..certificate.clone()
    }
}

#[test]
fn a_key_is_kept_and_never_given_back() {
    let (mut state, key) = (loaded(), KeyPair::generate().unwrap());
    let web = certificate("web", &key);
    let bare = without_key(&web);
    let refused = refusal(state.apply(Generation(6), &apply(&with(&bare))));
    assert_eq!(
        refused,
        (RefusalKind::Invalid, vec!["certificates[0].key".to_owned()])
    );
    assert_eq!(state.violations(&with(&bare), false).len(), 1);

    let created = [("web".to_owned(), v1::Action::Create)];
    assert_eq!(
        actions(&state.apply(Generation(7), &apply(&with(&web)))),
        created
    );
    let object = state.object(v1::Kind::Certificate, "web").unwrap();
    let Some(v1::object::Spec::Certificate(read)) = object.spec else {
        panic!("{object:?}");
    };
    assert_eq!(read, bare);
    // What was read changes nothing where it is applied, and neither does what was written.
    for same in [&read, &web] {
        let unchanged = [("web".to_owned(), v1::Action::Unchanged)];
        assert_eq!(
            actions(&state.apply(Generation(8), &apply(&with(same)))),
            unchanged
        );
    }
    // A snapshot has the key.
    let restored = FabricState::from_snapshot(state.to_snapshot()).unwrap();
    assert_eq!(restored.to_snapshot(), state.to_snapshot());
    let stored = &state.to_snapshot().certificates[0];
    assert_eq!(stored.spec.as_ref().unwrap().key, web.key);
}

#[test]
fn a_renewed_certificate_may_keep_its_key() {
    let (mut state, key) = (loaded(), KeyPair::generate().unwrap());
    state.apply(Generation(6), &apply(&with(&certificate("web", &key))));
    let renewed = without_key(&certificate("web", &key));
    let Outcome::Applied { changes, .. } = state.apply(Generation(7), &apply(&with(&renewed)))
    else {
        panic!("refused");
    };
    let paths: Vec<_> = changes[0].fields.iter().map(|it| &it.path).collect();
    assert_eq!(paths, ["chain.fingerprint"]);

    let other = certificate("web", &KeyPair::generate().unwrap());
    let refused = refusal(state.apply(Generation(8), &apply(&with(&without_key(&other)))));
    assert_eq!(refused.1, ["certificates[0].key"]);
    let id = state.to_snapshot().certificates[0].id;
    actions(&state.apply(Generation(8), &apply(&with(&other))));
    assert_eq!(state.to_snapshot().certificates[0].id, id);

    let gone = [("web".to_owned(), v1::Action::Delete)];
    let deleted = state.apply(Generation(9), &delete(&[(v1::Kind::Certificate, "web")]));
    assert_eq!(actions(&deleted), gone);
    assert!(state.object(v1::Kind::Certificate, "web").is_none());
}

/// A service that speaks TLS, with these certificates.
fn secured(certificates: &[&str]) -> v1::ServiceSpec {
    v1::ServiceSpec {
        proxy: Some(v1::ProxySpec {
            tls: Some(v1::TlsSpec {
                certificates: certificates.iter().map(ToString::to_string).collect(),
                ..v1::TlsSpec::default()
            }),
            ..v1::ProxySpec::default()
        }),
        ..service("tls", "192.0.2.9", "443", v1::Mode::L7Reverse, "web")
    }
}

#[test]
fn certificates_go_to_nodes_with_the_services_that_use_them() {
    let mut state = loaded();
    let (web, api) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut spec = v1::FabricSpec {
        services: vec![secured(&["web", "api"])],
        ..with(&certificate("web", &web))
    };
    let refused = refusal(state.apply(Generation(6), &apply(&spec)));
    assert_eq!(refused.1, ["services[0].proxy.tls.certificates[1]"]);
    // One that is there but broken is one mistake, not two.
    let mut broken = certificate("api", &api);
    broken.key = web.serialize_pem();
    spec.certificates.push(broken);
    let told = state.violations(&spec, false);
    let paths: Vec<_> = told.iter().map(|it| it.path.as_str()).collect();
    assert_eq!(paths, ["certificates[1].key"]);

    let unused = certificate("unused", &KeyPair::generate().unwrap());
    spec.certificates[1] = certificate("api", &api);
    spec.certificates.push(unused);
    actions(&state.apply(Generation(6), &apply(&spec)));
    let facts = NodeFacts {
        name: "n1".to_owned(),
        role: Role::LoadBalancer,
        addresses: Vec::new(),
    };
    let compiled = CompiledFabric::compile(&state, None);
    let snapshot = compiled.for_node(&facts);
    let decoded = snapshot.objects.iter().map(|(key, object)| {
        let object = SnapshotObject::decode(&object.bytes).unwrap();
        (key.id, object.name, object.body)
    });
    let (mut certificates, mut used) = (Vec::new(), Vec::new());
    for (id, name, body) in decoded {
        match body {
            SnapshotBody::Certificate(it) => certificates.push((id, name, it)),
            SnapshotBody::Proxy(proxy) => used = proxy.certificates,
            _ => {}
        }
    }
    let sent: Vec<_> = certificates
        .iter()
        .map(|(_, name, _)| name.as_str())
        .collect();
    assert_eq!(sent, ["web", "api"]);
    let ids: Vec<_> = certificates.iter().map(|(id, ..)| *id).collect();
    assert_eq!(used.iter().map(|id| id.0).collect::<Vec<_>>(), ids);
    assert_eq!(certificates[1].2.key.secret_der(), api.serialized_der());

    // A new certificate under the same name changes that object alone.
    let renewed = certificate("api", &KeyPair::generate().unwrap());
    actions(&state.apply(Generation(7), &apply(&with(&renewed))));
    let next = CompiledFabric::compile(&state, Some(&compiled)).for_node(&facts);
    let delta = next.delta(&snapshot.held());
    assert_eq!(delta.upserts.len(), 1);
    assert!(delta.removals.is_empty());

    let in_use = refusal(state.apply(Generation(8), &delete(&[(v1::Kind::Certificate, "web")])));
    assert_eq!(
        in_use,
        (RefusalKind::InUse, vec!["refs[0].name".to_owned()])
    );
    let both = delete(&[(v1::Kind::Certificate, "web"), (v1::Kind::Service, "tls")]);
    actions(&state.apply(Generation(8), &both));
}
