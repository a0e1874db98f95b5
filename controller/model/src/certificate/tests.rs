use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PKCS_ED25519,
};

use super::*;

fn parse(spec: &v1::CertificateSpec) -> Result<Certificate, String> {
    let mut violations = Vec::new();
    let parsed = Certificate::parse(spec, "certificates[0]", &mut violations);
    let told: Vec<_> = violations.iter().map(ToString::to_string).collect();
    parsed.ok_or_else(|| told.join("; "))
}

fn spec(chain: String, key: &KeyPair) -> v1::CertificateSpec {
    v1::CertificateSpec {
        name: "web".to_owned(),
        chain,
        key: key.serialize_pem(),
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn issuer(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn own_signed() -> v1::CertificateSpec {
    let key = KeyPair::generate().unwrap();
    let mut params = params("*.Example.com");
    let ip = "2001:db8::1".parse().unwrap();
    params.subject_alt_names.push(rcgen::SanType::IpAddress(ip));
    spec(params.self_signed(&key).unwrap().pem(), &key)
}

#[test]
fn a_certificate_says_what_it_is() {
    let spec = own_signed();
    let parsed = parse(&spec).unwrap();
    let status = parsed.status();
    assert_eq!(status.names, ["*.example.com", "2001:db8::1"]);
    assert_eq!(status.key_type, "ECDSA P-256");
    assert_eq!(status.subject, "CN=*.Example.com");
    assert_eq!(status.subject, status.issuer);
    assert!(status.not_before < status.not_after);
    assert_eq!(status.fingerprint.len(), 64);
    assert_eq!(certificate_status(&spec), Some(status));
    // As it is stored, it is read again.
    assert_eq!(parse(&parsed.to_spec()).unwrap(), parsed);
}

#[test]
fn kinds_of_keys() {
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let parsed = parse(&spec(
        params("a.example").self_signed(&key).unwrap().pem(),
        &key,
    ))
    .unwrap();
    assert_eq!(parsed.status().key_type, "Ed25519");
    let key = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let parsed = parse(&spec(
        params("a.example").self_signed(&key).unwrap().pem(),
        &key,
    ))
    .unwrap();
    assert_eq!(parsed.status().key_type, "RSA 2048");
}

#[test]
fn a_chain_leads_to_its_issuer() {
    let (issuer, other) = (issuer("issuer"), issuer("other"));
    let key = KeyPair::generate().unwrap();
    let own = params("a.example").signed_by(&key, &issuer).unwrap().pem();
    let right = spec(own.clone() + &issuer.pem(), &key);
    assert_eq!(parse(&right).unwrap().chain.len(), 2);
    for (chain, told) in [
        (
            issuer.pem() + &own,
            "certificate 1 is issued by `CN=issuer`, and certificate 2 is `CN=a.example`",
        ),
        (
            own.clone() + &other.pem(),
            "and certificate 2 is `CN=other`",
        ),
        (own.repeat(11), "11 certificates in PEM"),
        (String::new(), "0 certificates in PEM"),
        (own.replace("END", "EMD"), "it is not PEM"),
        (
            own.clone() + &key.serialize_pem(),
            "a private key stands in it",
        ),
        ("x".repeat(70_000), "70000 bytes: 65536 at most"),
    ] {
        let refused = parse(&spec(chain, &key)).unwrap_err();
        assert!(refused.starts_with("certificates[0].chain: "), "{refused}");
        assert!(refused.contains(told), "{refused}");
    }
}

#[test]
fn a_name_is_needed() {
    let key = KeyPair::generate().unwrap();
    let nameless = CertificateParams::default()
        .self_signed(&key)
        .unwrap()
        .pem();
    let refused = parse(&spec(nameless, &key)).unwrap_err();
    assert!(refused.contains("no subject alternative name"), "{refused}");
}

#[test]
fn keys_are_checked_and_never_repeated() {
    let right = own_signed();
    let other = KeyPair::generate().unwrap().serialize_pem();
    for (key, told) in [
        (other.clone(), "it is another certificate's"),
        (other.repeat(2), "two private keys"),
        (
            other.replace("BEGIN PRIVATE", "BEGIN ENCRYPTED PRIVATE"),
            "it is encrypted",
        ),
        ("secret".to_owned(), "no private key in PEM"),
        (right.chain.clone(), "no private key in PEM"),
    ] {
        let refused = parse(&v1::CertificateSpec {
            key: key.clone(),
            ..right.clone()
        })
        .unwrap_err();
        assert!(refused.starts_with("certificates[0].key: "), "{refused}");
        assert!(refused.contains(told), "{refused}");
        let body = key.lines().nth(1).unwrap_or("secret");
        assert!(!refused.contains(body), "{refused}");
    }
    assert!(!format!("{right:?}").contains(right.key.lines().nth(1).unwrap()));
    let parsed = parse(&right).unwrap();
    assert!(!format!("{parsed:?}").contains(right.key.lines().nth(1).unwrap()));
    // None is another matter: the fabric may have it.
    assert!(
        parse(&v1::CertificateSpec {
            key: String::new(),
            ..right
        })
        .unwrap()
        .key
        .is_none()
    );
}
