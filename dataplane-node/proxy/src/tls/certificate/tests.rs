use rcgen::{CertificateParams, DnType, KeyPair, SanType};

use super::*;

fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params
        .distinguished_name
        .push(DnType::CommonName, "Common.Example");
    params
}

fn read(chain: &[Vec<u8>], key: &[u8]) -> Result<Certificate, String> {
    Certificate::from_der("web", chain, key).map_err(|error| error.to_string())
}

#[test]
fn hosts_are_those_of_the_alternative_names() {
    let names = |params: &CertificateParams| {
        let key = key();
        let chain = [params.self_signed(&key).unwrap().der().to_vec()];
        let read = read(&chain, &key.serialize_der());
        read.map(|it| it.names().collect::<Vec<_>>().join(" "))
    };
    let some = params(&[
        "a.example",
        "*.B.example",
        "192.0.2.1",
        "*",
        "a*.example",
        "x.*.example",
    ]);
    assert_eq!(names(&some), Ok("a.example *.b.example".to_owned()));
    assert_eq!(names(&params(&[])), Ok("common.example".to_owned()));
    let mut address = params(&[]);
    address.subject_alt_names = vec![SanType::IpAddress([192, 0, 2, 1].into())];
    // Clients who come by address ask for no name.
    assert_eq!(names(&address), Ok(String::new()));
    address.subject_alt_names = vec![SanType::Rfc822Name("a@b.example".try_into().unwrap())];
    assert_eq!(
        names(&address),
        Err("certificate web: it names no host".to_owned())
    );
}

#[test]
fn errors_say_what_is_wrong_and_with_which() {
    let (mine, other) = (key(), key());
    let chain = vec![
        params(&["a.example"])
            .self_signed(&mine)
            .unwrap()
            .der()
            .to_vec(),
    ];
    let der = mine.serialize_der();
    assert!(read(&chain, &der).is_ok());
    let error = |chain: &[Vec<u8>], key: &[u8]| read(chain, key).unwrap_err();
    assert_eq!(
        error(&chain, &other.serialize_der()),
        "certificate web: its private key is not the one that the certificate was made for"
    );
    assert_eq!(error(&[], &der), "certificate web: its chain is empty");
    assert_eq!(
        error(&[b"x".to_vec()], &der),
        "certificate web: it cannot be read"
    );
    assert!(error(&chain, b"x").contains("its private key is not one that is supported"));
}
