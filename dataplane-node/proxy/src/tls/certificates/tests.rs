use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SignatureAlgorithm};

use super::*;

fn certificate(names: &[&str], algorithm: &'static SignatureAlgorithm) -> Certificate {
    let key = KeyPair::generate_for(algorithm).unwrap();
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    let certificate = CertificateParams::new(names).unwrap();
    let chain = [certificate.self_signed(&key).unwrap().der().to_vec()];
    Certificate::from_der("test", &chain, &key.serialize_der()).unwrap()
}

#[test]
fn one_of_ten_thousand_is_found() {
    let wild = certificate(&["*.example"], &PKCS_ECDSA_P256_SHA256);
    let one = certificate(&["a.example"], &PKCS_ECDSA_P256_SHA256);
    // Each has another name; the key is the same, as making ten thousand takes long.
    let many = (0..10_000).map(|number| {
        let mut certificate = one.clone();
        certificate.rename(&format!("{number}.many.example"));
        certificate
    });
    let many: Vec<_> = many.chain([wild.clone()]).collect();
    let all = Certificates::new(&many, UnknownName::Refuse);
    let is = |name, of: &Certificate| {
        let found = all.find(Some(name));
        found.is_some_and(|keys| keys.len() == 1 && Arc::ptr_eq(&keys[0], &of.key))
    };
    assert!(is("0.many.example", &one));
    assert!(is("9999.many.example", &one));
    assert!(is("many.example", &wild));
    for unknown in [
        Some("10000.many.example"),
        Some("example"),
        Some(""),
        Some("."),
        None,
    ] {
        assert!(all.find(unknown).is_none(), "{unknown:?}");
    }
}

#[test]
fn the_first_is_for_who_asks_for_another() {
    let one = certificate(&["a.example", "b.example"], &PKCS_ECDSA_P256_SHA256);
    let twin = certificate(&["a.example", "b.example"], &PKCS_ED25519);
    let other = certificate(&["c.example"], &PKCS_ECDSA_P256_SHA256);
    let all = Certificates::new([&one, &other, &twin], UnknownName::First);
    let keys = |name| all.find(name).unwrap();
    let is = |keys: &[Arc<CertifiedKey>], of: &[&Certificate]| {
        keys.len() == of.len()
            && keys
                .iter()
                .zip(of)
                .all(|(key, of)| Arc::ptr_eq(key, &of.key))
    };
    assert!(is(keys(None), &[&one, &twin]));
    assert!(is(keys(Some("d.example")), &[&one, &twin]));
    assert!(is(keys(Some("b.example")), &[&one, &twin]));
    assert!(is(keys(Some("c.example")), &[&other]));
    let none = Certificates::new([], UnknownName::First);
    assert!(none.find(None).is_none());
}
