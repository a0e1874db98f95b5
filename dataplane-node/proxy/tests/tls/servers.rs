//! The engine as the client of servers.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    process::Command,
    sync::Arc,
    thread,
};

use lbfabric_proxy::{
    Http2Config, ProxyConfig, ServerProtocol,
    tls::{Believed, MinimumVersion, ServerTlsConfig, ServerTlsOptions},
};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName},
};

use crate::{
    authority::{Authority, Issued},
    nginx::Nginx,
    worker::engine,
};

/// Nginx that shows a certificate, with more directives.
fn nginx_with(issued: &Issued, directives: &str, files: &[(&str, &str)]) -> Nginx {
    let directives =
        format!("ssl_certificate chain.pem; ssl_certificate_key key.pem; {directives}");
    let mut all = vec![("chain.pem", &*issued.chain), ("key.pem", &*issued.key)];
    all.extend(files);
    Nginx::with(&directives, &all)
}

fn believing(authority: &Authority, name: Option<&str>) -> ServerTlsOptions {
    ServerTlsOptions {
        believed: Believed::IssuedBy(authority.authorities()),
        name: name.map(|name| ServerName::try_from(name.to_owned()).unwrap()),
        minimum: MinimumVersion::Tls12,
        certificate: None,
    }
}

fn before(server: SocketAddr, options: &ServerTlsOptions) -> SocketAddr {
    engine(ProxyConfig {
        server_tls: Some(Arc::new(ServerTlsConfig::new(options).unwrap())),
        ..ProxyConfig::to(&[server])
    })
}

/// The status and the body.
fn get(engine: SocketAddr, path: &str) -> (String, String) {
    let output = Command::new("curl")
        .args([
            "--silent",
            "--max-time",
            "20",
            "--write-out",
            "\n%{http_code}",
        ])
        .arg(format!("http://{engine}{path}"))
        .output()
        .expect("curl is installed");
    let said = String::from_utf8(output.stdout).unwrap();
    let (body, status) = said.rsplit_once('\n').unwrap();
    (status.to_owned(), body.to_owned())
}

#[test]
fn a_server_is_believed_for_its_name_and_its_time_and_its_issuer() {
    let (authority, other) = (Authority::new("authority"), Authority::new("other"));
    let good = authority.issue(&["server.example", "127.0.0.1"]);
    for versions in ["TLSv1.2", "TLSv1.3"] {
        let nginx = nginx_with(&good, &format!("ssl_protocols {versions};"), &[]);
        for name in [Some("server.example"), None] {
            let engine = before(nginx.address, &believing(&authority, name));
            let (status, body) = get(engine, "/large");
            assert_eq!(
                (&*status, body.len()),
                ("200", nginx.large().len()),
                "{versions}"
            );
            assert!(body == nginx.large());
            assert_eq!(get(engine, "/hello").1, "hello\n");
        }
        for refused in [
            believing(&authority, Some("another.example")),
            believing(&other, Some("server.example")),
        ] {
            assert_eq!(get(before(nginx.address, &refused), "/hello").0, "502");
        }
    }
    // Whoever is not asked who it is.
    let anyone = ServerTlsOptions {
        believed: Believed::Anyone,
        ..believing(&other, Some("another.example"))
    };
    let nginx = nginx_with(&good, "", &[]);
    assert_eq!(get(before(nginx.address, &anyone), "/hello").1, "hello\n");
    let expired = nginx_with(&authority.issue_expired(&["server.example"]), "", &[]);
    let engine = before(
        expired.address,
        &believing(&authority, Some("server.example")),
    );
    assert_eq!(get(engine, "/hello").0, "502");
    // One that does not speak TLS.
    let plain = Nginx::start();
    let engine = before(plain.address, &believing(&authority, None));
    assert_eq!(get(engine, "/hello").0, "502");
}

/// For clients of both versions.
#[test]
fn a_server_of_http2_agrees_on_it() {
    let authority = Authority::new("authority");
    let issued = authority.issue(&["server.example"]);
    let options = believing(&authority, Some("server.example"));
    let engine_of = |server: SocketAddr| {
        engine(ProxyConfig {
            http2: Http2Config {
                servers: ServerProtocol::Http2,
                ..Http2Config::default()
            },
            server_tls: Some(Arc::new(ServerTlsConfig::new(&options).unwrap())),
            ..ProxyConfig::to(&[server])
        })
    };
    let nginx = nginx_with(&issued, "http2_max_concurrent_streams 64;", &[]);
    let (asking, old) = (engine_of(nginx.address), nginx_with(&issued, "", &[]));
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        for (path, body) in [("/large", &*nginx.large()), ("/scheme", "https HTTP/2.0\n")] {
            let output = Command::new("curl")
                .args(["--silent", "--max-time", "20", version])
                .arg(format!("http://{asking}{path}"))
                .output()
                .expect("curl is installed");
            assert!(output.stdout == body.as_bytes(), "{version} {path}");
        }
    }
    assert_eq!(get(engine_of(old.address), "/hello").0, "502");
}

#[test]
fn a_server_gets_the_certificate_that_it_asks_for() {
    let (authority, clients) = (Authority::new("authority"), Authority::new("clients"));
    let nginx = nginx_with(
        &authority.issue(&["server.example"]),
        "ssl_client_certificate clients.pem; ssl_verify_client on; keepalive_timeout 0;
         location /who { return 200 \"$ssl_client_s_dn $ssl_session_reused\\n\"; }",
        &[("clients.pem", &clients.pem)],
    );
    let mut options = believing(&authority, Some("server.example"));
    // No required SSL certificate was sent.
    assert_eq!(get(before(nginx.address, &options), "/who").0, "400");
    options.certificate = Some(clients.issue(&["node.example"]).certificate());
    let engine = before(nginx.address, &options);
    assert_eq!(get(engine, "/who").1, "CN=node.example .\n");
    // Over a connection of its own, with a session that goes on.
    assert_eq!(get(engine, "/who").1, "CN=node.example r\n");
    nginx.restart();
    assert_eq!(get(engine, "/who").1, "CN=node.example .\n");
}

/// A server whose answer ends with its connection, in order or not.
fn until_close(issued: &Issued, is_in_order: bool) -> SocketAddr {
    let chain = CertificateDer::from(issued.der.clone());
    let key = PrivatePkcs8KeyDer::from(issued.key_der.clone());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![chain], key.into())
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let connection = ServerConnection::new(config.clone()).unwrap();
            let mut stream = StreamOwned::new(connection, client);
            let mut request = [0; 4096];
            let _asked = stream.read(&mut request).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhello").unwrap();
            if is_in_order {
                stream.conn.send_close_notify();
                stream.flush().unwrap();
            }
        }
    });
    address
}

#[test]
fn a_body_that_anyone_may_have_cut_does_not_end() {
    let authority = Authority::new("authority");
    let issued = authority.issue(&["server.example"]);
    let options = believing(&authority, Some("server.example"));
    let fetch = |is_in_order| {
        let engine = before(until_close(&issued, is_in_order), &options);
        let output = Command::new("curl")
            .args(["--silent", "--max-time", "20", &format!("http://{engine}/")])
            .output()
            .unwrap();
        (output.status.code(), output.stdout)
    };
    assert_eq!(fetch(true), (Some(0), b"hello".to_vec()));
    // CURLE_PARTIAL_FILE.
    assert_eq!(fetch(false), (Some(18), b"hello".to_vec()));
}
