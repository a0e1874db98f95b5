//! What a client brings with it: a session from before, or a certificate of its own.

use std::{net::SocketAddr, process::Command, time::Duration};

use lbfabric_proxy::{
    http1::IdentityField,
    tls::{ClientCertificates, IdentityFields, TicketConfig, TicketKey, TlsOptions, UnknownName},
};
use rcgen::{DnType, PKCS_ECDSA_P256_SHA256};

use crate::{
    authority::{Authority, Issued},
    clients::{Curl, options, secured},
    nginx::Nginx,
    openssl::s_client,
};

/// For both versions, whether a session that began at one engine goes on at another.
fn is_resumed(version: &str, first: SocketAddr, second: SocketAddr) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let session = folder.path().join("session");
    let session = session.to_str().unwrap();
    let name = ["-servername", "a.example", version];
    let said = s_client(first, &[&name[..], &["-sess_out", session]].concat());
    assert!(said.contains("New, TLSv1."), "{said}");
    let said = s_client(second, &[&name[..], &["-sess_in", session]].concat());
    assert!(said.contains("200 OK"), "{said}");
    let is_new = said.contains("New, TLSv1.");
    assert_ne!(is_new, said.contains("Reused, TLSv1."), "{said}");
    !is_new
}

#[test]
fn sessions_go_on_wherever_the_keys_of_their_tickets_are() {
    let (authority, clients) = (Authority::new("authority"), Authority::new("clients"));
    let nginx = Nginx::start();
    let of_a = [authority.issue(&["a.example"]).certificate()];
    let with = |keys: &[u8]| TlsOptions {
        tickets: Some(TicketConfig {
            keys: keys
                .iter()
                .map(|byte| TicketKey::new([*byte; 32]))
                .collect(),
            lifetime: Duration::from_hours(1),
        }),
        ..options(&of_a, UnknownName::First)
    };
    let [one, another, rotated, anew] =
        [&[1][..], &[1], &[2, 1], &[2]].map(|keys| secured(&with(keys), &nginx));
    let asking = secured(
        &TlsOptions {
            clients: ClientCertificates::Optional(clients.authorities()),
            ..with(&[1])
        },
        &nginx,
    );
    let without = secured(&options(&of_a, UnknownName::First), &nginx);
    for version in ["-tls1_2", "-tls1_3"] {
        assert!(is_resumed(version, one, one));
        assert!(is_resumed(version, one, another));
        assert!(is_resumed(version, one, rotated));
        assert!(is_resumed(version, rotated, anew));
        assert!(!is_resumed(version, one, anew));
        assert!(!is_resumed(version, rotated, one));
        // The certificates of clients are verified otherwise there.
        assert!(!is_resumed(version, one, asking));
        assert!(is_resumed(version, asking, asking));
    }
    assert!(!s_client(without, &["-tls1_2"]).contains("TLS session ticket:"));
    assert!(s_client(one, &["-tls1_2"]).contains("TLS session ticket:"));
}

#[test]
fn servers_learn_of_a_clients_certificate_and_not_from_the_client() {
    let (authority, clients, others) = (
        Authority::new("authority"),
        Authority::new("clients"),
        Authority::new("others"),
    );
    let nginx = Nginx::with(
        "underscores_in_headers on;
         location /who { return 200 \"$http_x_client|$http_x_client_print\\n\"; }",
        &[],
    );
    let engine_of = |certificates| {
        let options = TlsOptions {
            clients: certificates,
            identity: IdentityFields {
                subject: IdentityField::new("X-Client"),
                fingerprint: IdentityField::new("X-Client-Print"),
            },
            tickets: Some(TicketConfig {
                keys: vec![TicketKey::random().unwrap()],
                lifetime: Duration::from_hours(1),
            }),
            ..options(
                &[authority.issue(&["a.example"]).certificate()],
                UnknownName::First,
            )
        };
        Curl::new(secured(&options, &nginx), &authority)
    };
    let subject = "client, \u{fc}\r\nX-Evil: 1";
    let mine = clients.issue_with(&[], &PKCS_ECDSA_P256_SHA256, |params| {
        params.distinguished_name.push(DnType::CommonName, subject);
    });
    let foreign = others.issue(&["client"]);
    let forged = [
        "--header",
        "X-Client: CN=root",
        "--header",
        "x_client_print: 00",
        "--header",
        "X_CLIENT: CN=root",
    ];
    let shown = |curl: &Curl, issued: &Issued| {
        let (chain, key) = (
            curl.file("mine.pem", &issued.chain),
            curl.file("mine.key", &issued.key),
        );
        curl.run(
            "a.example",
            "/who",
            &[&forged[..], &["--cert", &chain, "--key", &key]].concat(),
        )
    };
    let print = fingerprint(&mine);
    let told = format!("CN=client\\, \\c3\\bc\\0d\\0aX-Evil: 1|{print}\n");
    let nothing = Ok("|\n".to_owned());

    let off = engine_of(ClientCertificates::Off);
    assert_eq!(off.run("a.example", "/who", &forged), nothing);
    assert_eq!(shown(&off, &mine), nothing);
    let optional = engine_of(ClientCertificates::Optional(clients.authorities()));
    assert_eq!(optional.run("a.example", "/who", &forged), nothing);
    assert_eq!(shown(&optional, &mine), Ok(told.clone()));
    assert!(shown(&optional, &foreign).is_err());
    let required = engine_of(ClientCertificates::Required(clients.authorities()));
    assert_eq!(shown(&required, &mine), Ok(told));
    assert!(shown(&required, &foreign).is_err());
    assert!(required.run("a.example", "/who", &[]).is_err());
}

/// As openssl has it.
fn fingerprint(issued: &Issued) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("certificate");
    std::fs::write(&path, &issued.chain).unwrap();
    let output = Command::new("openssl")
        .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
        .arg(path)
        .output()
        .expect("openssl is installed");
    let said = String::from_utf8(output.stdout).unwrap();
    let (_, print) = said.trim().split_once('=').unwrap();
    print.replace(':', "").to_lowercase()
}
