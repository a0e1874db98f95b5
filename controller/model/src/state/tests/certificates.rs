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
