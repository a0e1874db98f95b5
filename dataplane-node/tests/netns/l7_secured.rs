//! What the engine says to servers and hears from clients beside their requests: the PROXY protocol, certificates, and TLS and HTTP/2 with
//! servers.

use std::{
    io::{self, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    time::Duration,
};

use lbfabric_proto::v1;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::{
    fixture::Fixture,
    l7_clients::curl,
    l7_served::{document, served, service},
    nginx::Nginx,
};

/// Where health checks find something.
const PROBED: &str = "server { listen 10.88.0.2:80; listen [fd88::2]:80; return 204; }";

/// What a request behind some bytes is answered with, over a connection of its own.
fn ask_behind(bytes: &str, vip: &str) -> io::Result<String> {
    let mut client = TcpStream::connect(vip)?;
    client.set_read_timeout(Some(Duration::from_secs(5)))?;
    let request = format!("{bytes}GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n");
    client.write_all(request.as_bytes())?;
    let mut answer = String::new();
    client.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
    Ok(body.unwrap_or_default().to_owned())
}

#[test]
fn proxies_before_nodes_are_believed_and_servers_behind_are_told() {
    let fixture = Fixture::new();
    fixture.route_vips();
    let directives = format!(
        "{PROBED} server {{
            listen 10.88.0.2:8080 proxy_protocol; listen [fd88::2]:8080 proxy_protocol;
            location / {{
                return 200 \"$http_x_forwarded_for $proxy_protocol_addr:$proxy_protocol_port $proxy_protocol_server_addr:$proxy_protocol_server_port\";
            }}
        }}"
    );
    let listens = ["10.88.0.2:80", "10.88.0.2:8080"];
    let _nginx = Nginx::start(&fixture.peer, &directives, &[], &listens);
    let proxied = |name: &str, port: &str, send: v1::ProxyProtocolHeader, sources: &[&str]| {
        let proxy_protocol = v1::ProxyProtocolSpec {
            sources: sources.iter().map(|&it| it.to_owned()).collect(),
            others: if sources.is_empty() {
                v1::ProxyProtocolOthers::Serve
            } else {
                v1::ProxyProtocolOthers::Refuse
            }
            .into(),
            send: send.into(),
        };
        let proxy = v1::ProxySpec {
            proxy_protocol: Some(proxy_protocol),
            ..v1::ProxySpec::default()
        };
        service(name, port, 8080, proxy)
    };
    let peers = ["10.88.0.0/24", "fd88::/64"];
    let spec = document(vec![
        proxied("one", "81", v1::ProxyProtocolHeader::V1, &peers),
        proxied("two", "82", v1::ProxyProtocolHeader::V2, &peers),
        proxied("open", "83", v1::ProxyProtocolHeader::V2, &[]),
        proxied(
            "other",
            "84",
            v1::ProxyProtocolHeader::V1,
            &["192.0.2.0/24"],
        ),
    ]);
    fixture.run(|| async {
        let (_controller, agent) = served(&fixture, &spec).await;
        let ask = |bytes: &str, vip: &str| fixture.peer.within(|| ask_behind(bytes, vip));
        for port in [81, 82] {
            for (vip, header, told, own) in [
                (
                    format!("10.99.0.1:{port}"),
                    "PROXY TCP4 192.0.2.7 192.0.2.1 5 443\r\n",
                    "192.0.2.7 192.0.2.7:5 192.0.2.1:443",
                    "10.88.0.2 10.88.0.2:",
                ),
                (
                    format!("[fd99::1]:{port}"),
                    "PROXY TCP6 2001:db8::7 2001:db8::1 5 443\r\n",
                    "2001:db8::7 2001:db8::7:5 2001:db8::1:443",
                    "fd88::2 fd88::2:",
                ),
            ] {
                assert_eq!(ask(header, &vip).expect("an answer"), told);
                assert!(ask("", &vip).is_err(), "a proxy has to say it");
                let url = format!("http://{vip}/");
                let said = curl(&fixture.peer, &["--haproxy-protocol", &url]).expect("an answer");
                assert!(said.starts_with(own), "{said}");
                assert!(curl(&fixture.peer, &[&url]).is_err());
            }
        }
        let said = ask("", "10.99.0.1:83").expect("an answer");
        assert!(said.starts_with("10.88.0.2 10.88.0.2:"), "{said}");
        assert!(said.ends_with(" 10.99.0.1:83"), "{said}");
        assert!(ask("", "10.99.0.1:84").is_err(), "nobody else is served");
        agent.stop().await;
    });
}

/// Who issues certificates.
fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().expect("a key");
    CertifiedIssuer::self_signed(params, key).expect("it signs itself")
}

/// A certificate for a host.
fn issue(by: &CertifiedIssuer<'static, KeyPair>, host: &str) -> v1::CertificateSpec {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new([host.to_owned()]).expect("a name");
    params.distinguished_name.push(DnType::CommonName, host);
    v1::CertificateSpec {
        name: host.split('.').next().unwrap_or_default().to_owned(),
        chain: params.signed_by(&key, by).expect("it is signed").pem(),
        key: key.serialize_pem(),
    }
}

fn file(folder: &Path, name: &str, content: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).expect("the folder takes a file");
    path.to_str().expect("the path is UTF-8").to_owned()
}

/// Services by how they speak to servers, of which the first authority has issued the certificates.
fn spoken_to(
    ca: &CertifiedIssuer<'static, KeyPair>,
    other: &CertifiedIssuer<'static, KeyPair>,
) -> v1::FabricSpec {
    let http2 = Some(v1::Http2Spec {
        servers: true,
        ..v1::Http2Spec::default()
    });
    let believing = |authorities: String, name: &str| v1::ServerTlsSpec {
        authorities,
        name: name.to_owned(),
        ..v1::ServerTlsSpec::default()
    };
    let over = |tls: v1::ServerTlsSpec| v1::ProxySpec {
        server_tls: Some(tls),
        ..v1::ProxySpec::default()
    };
    let unverified = v1::ServerTlsSpec {
        verification: v1::ServerVerification::None.into(),
        min_version: v1::TlsVersion::Tls13.into(),
        ..v1::ServerTlsSpec::default()
    };
    let known = v1::ServerTlsSpec {
        certificate: "node".to_owned(),
        ..believing(ca.pem(), "server.example")
    };
    let mut spec = document(vec![
        service("known", "81", 8443, over(known.clone())),
        service(
            "http2",
            "82",
            8443,
            v1::ProxySpec {
                http2,
                ..over(known)
            },
        ),
        service(
            "foreign",
            "83",
            8443,
            over(believing(other.pem(), "server.example")),
        ),
        service(
            "misnamed",
            "84",
            8443,
            over(believing(ca.pem(), "else.example")),
        ),
        service("any", "85", 8443, over(unverified)),
        service(
            "h2c",
            "86",
            8081,
            v1::ProxySpec {
                http2,
                ..v1::ProxySpec::default()
            },
        ),
    ]);
    spec.certificates = vec![issue(other, "node.example")];
    spec
}

#[test]
fn servers_are_spoken_to_over_tls_and_in_http2() {
    let fixture = Fixture::new();
    fixture.route_vips();
    let (ca, other) = (authority("servers"), authority("others"));
    let server = issue(&ca, "server.example");
    let seen = "return 200 \"$server_protocol|$ssl_server_name|$ssl_protocol|$ssl_client_s_dn\";";
    let directives = format!(
        "{PROBED}
         server {{
            listen 10.88.0.2:8443 ssl http2; listen [fd88::2]:8443 ssl http2;
            ssl_certificate chain.pem; ssl_certificate_key key.pem; ssl_protocols TLSv1.2 TLSv1.3;
            ssl_client_certificate ca.pem; ssl_verify_client optional;
            location / {{ {seen} }}
         }}
         server {{ listen 10.88.0.2:8081 http2; listen [fd88::2]:8081 http2; location / {{ {seen} }} }}"
    );
    let files = [
        ("chain.pem", &*server.chain),
        ("key.pem", &*server.key),
        ("ca.pem", &*other.pem()),
    ];
    let listens = ["10.88.0.2:80", "10.88.0.2:8443", "[fd88::2]:8081"];
    let _nginx = Nginx::start(&fixture.peer, &directives, &files, &listens);
    let spec = spoken_to(&ca, &other);
    fixture.run(|| async {
        let (_controller, agent) = served(&fixture, &spec).await;
        let name = "server.example|TLSv1.3|CN=node.example";
        for (port, told) in [
            (81, format!("HTTP/1.1|{name}")),
            (82, format!("HTTP/2.0|{name}")),
            (85, "HTTP/1.1||TLSv1.3|".to_owned()),
            (86, "HTTP/2.0|||".to_owned()),
        ] {
            for vip in ["10.99.0.1", "[fd99::1]"] {
                let said = curl(&fixture.peer, &[&format!("http://{vip}:{port}/")]);
                assert_eq!(said, Ok(format!("{told}HTTP/1.1")), "{vip}:{port}");
            }
        }
        for port in [83, 84] {
            let url = format!("http://10.99.0.1:{port}/");
            let status = curl(
                &fixture.peer,
                &["--output", "/dev/null", "--write-out", "%{http_code}", &url],
            );
            assert_eq!(status, Ok("502".to_owned()), "{port}");
        }
        agent.stop().await;
    });
}

#[test]
fn clients_show_certificates_and_servers_learn_of_them() {
    let fixture = Fixture::new();
    fixture.route_vips();
    let directives = "server {
            listen 10.88.0.2:80; listen [fd88::2]:80;
            location / { return 200 \"$http_x_client|$http_x_print\"; }
        }";
    let _nginx = Nginx::start(&fixture.peer, directives, &[], &["10.88.0.2:80"]);
    let (ca, clients, other) = (
        authority("servers"),
        authority("clients"),
        authority("others"),
    );
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ca_file = file(folder.path(), "ca.pem", &ca.pem());
    let shown = |by: &CertifiedIssuer<'static, KeyPair>, name: &str| {
        let issued = issue(by, name);
        [
            "--cert".to_owned(),
            file(folder.path(), &format!("{name}.pem"), &issued.chain),
            "--key".to_owned(),
            file(folder.path(), &format!("{name}.key"), &issued.key),
        ]
    };
    let asking = |name: &str, port: &str, policy: v1::ClientCertificatePolicy| {
        let tls = v1::TlsSpec {
            certificates: vec!["web".to_owned()],
            client_certificates: Some(v1::ClientCertificatesSpec {
                policy: policy.into(),
                authorities: clients.pem(),
                subject_field: "X-Client".to_owned(),
                fingerprint_field: "X-Print".to_owned(),
            }),
            ..v1::TlsSpec::default()
        };
        let proxy = v1::ProxySpec {
            tls: Some(tls),
            ..v1::ProxySpec::default()
        };
        service(name, port, 80, proxy)
    };
    let mut spec = document(vec![
        asking("required", "443", v1::ClientCertificatePolicy::Required),
        asking("optional", "8443", v1::ClientCertificatePolicy::Optional),
    ]);
    spec.certificates = vec![issue(&ca, "web.example")];
    fixture.run(|| async {
        let (_controller, agent) = served(&fixture, &spec).await;
        let ask = |port: u16, certificate: &[String]| {
            let to = format!("::10.99.0.1:{port}");
            let mut arguments = vec!["--connect-to", &to, "--cacert", &ca_file];
            arguments.extend(["--header", "X-Client: CN=root", "--http1.1"]);
            arguments.extend(certificate.iter().map(String::as_str));
            arguments.push("https://web.example/");
            curl(&fixture.peer, &arguments)
        };
        let (mine, foreign) = (shown(&clients, "client"), shown(&other, "foreign"));
        for port in [443, 8443] {
            let said = ask(port, &mine).expect("an answer");
            let print = said
                .strip_prefix("CN=client|")
                .and_then(|it| it.strip_suffix("HTTP/1.1"));
            assert_eq!(print.map(str::len), Some(64), "{said}");
            assert!(ask(port, &foreign).is_err());
        }
        assert!(ask(443, &[]).is_err());
        assert_eq!(ask(8443, &[]), Ok("|HTTP/1.1".to_owned()));
        agent.stop().await;
    });
}
