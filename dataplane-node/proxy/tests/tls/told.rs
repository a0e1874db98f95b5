//! What servers are told of a client's TLS ahead of the connection.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread,
    time::Duration,
};

use lbfabric_proxy::{
    Protocol, ProxyConfig,
    proxy_protocol::{Origin, ProxyProtocolConfig, Version, read},
    tls::{ClientCertificates, Protocols, TlsConfig, TlsOptions, UnknownName},
};

use crate::{
    authority::Authority,
    clients::{Curl, options},
    worker::engine,
};

/// What a header has said: version, cipher, ALPN, name, common name, whether a certificate was verified.
type Said = (String, String, String, String, String, bool);

/// Takes one connection, answers its request, and says what its header has said.
fn told_server() -> (SocketAddr, thread::JoinHandle<Said>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let said = thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        connection
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let mut got = Vec::new();
        while !got.ends_with(b"\r\n\r\n") {
            let mut part = [0; 4096];
            let count = connection.read(&mut part).unwrap();
            assert!(count > 0);
            got.extend(&part[..count]);
        }
        connection
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n")
            .unwrap();
        let (header, length) = read(&got).unwrap().unwrap();
        assert!(got[length..].starts_with(b"GET / HTTP/1.1\r\n"));
        assert!(matches!(header.origin, Origin::Client { .. }));
        let tls = header.extras.tls.unwrap();
        assert!(tls.is_used);
        let text = |it: Option<&str>| it.unwrap_or_default().to_owned();
        let alpn = header.extras.alpn.unwrap_or_default().to_vec();
        (
            text(tls.version),
            text(tls.cipher),
            String::from_utf8(alpn).unwrap(),
            text(header.extras.authority),
            text(tls.common_name),
            tls.is_verified && tls.has_certificate,
        )
    });
    (address, said)
}

#[test]
fn a_header_says_what_a_client_has_agreed_to_and_shown() {
    let (authority, clients) = (Authority::new("authority"), Authority::new("clients"));
    let of_a = [authority.issue(&["a.example"]).certificate()];
    let mine = clients.issue(&["client"]);
    for (protocol, protocols, arguments, version, cipher, alpn) in [
        (
            Protocol::Http,
            Protocols::Http2,
            &["--http2"][..],
            "TLSv1.3",
            "TLS_AES_128_GCM_SHA256",
            "h2",
        ),
        (
            Protocol::Tcp,
            Protocols::None,
            &["--http1.1", "--tls-max", "1.2"],
            "TLSv1.2",
            "ECDHE-ECDSA-AES128-GCM-SHA256",
            "",
        ),
    ] {
        for shows in [true, false] {
            let (server, said) = told_server();
            let options = TlsOptions {
                protocols,
                clients: ClientCertificates::Optional(clients.authorities()),
                ..options(&of_a, UnknownName::First)
            };
            let engine = engine(ProxyConfig {
                protocol,
                proxy_protocol: ProxyProtocolConfig {
                    send: Some(Version::Two),
                    ..ProxyProtocolConfig::default()
                },
                tls: Some(Arc::new(TlsConfig::new(&options).unwrap())),
                ..ProxyConfig::to(&[server])
            });
            let curl = Curl::new(engine, &authority);
            let (chain, key) = (
                curl.file("mine.pem", &mine.chain),
                curl.file("mine.key", &mine.key),
            );
            let mut all = arguments.to_vec();
            if shows {
                all.extend(["--cert", &chain, "--key", &key]);
            }
            assert_eq!(curl.get("/", &all), "ok\n");
            let expected = (
                version.to_owned(),
                cipher.to_owned(),
                alpn.to_owned(),
                "a.example".to_owned(),
                if shows { "client" } else { "" }.to_owned(),
                shows,
            );
            assert_eq!(said.join().unwrap(), expected);
        }
    }
}
