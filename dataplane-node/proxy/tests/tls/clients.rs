//! Clients of the engine.

use std::{net::SocketAddr, process::Command, sync::Arc};

use lbfabric_proxy::{
    ProxyConfig,
    tls::{
        Certificate, Certificates, MinimumVersion, Protocols, TlsConfig, TlsOptions, UnknownName,
    },
};

use crate::{
    authority::Authority,
    nginx::{self, Nginx},
    openssl::s_client,
    worker::engine,
};

pub(crate) fn options(certificates: &[Certificate], unknown: UnknownName) -> TlsOptions {
    TlsOptions::new(Arc::new(Certificates::new(certificates, unknown)))
}

/// The engine behind TLS, before a server without.
pub(crate) fn secured(options: &TlsOptions, nginx: &Nginx) -> SocketAddr {
    engine(ProxyConfig {
        tls: Some(Arc::new(TlsConfig::new(options).unwrap())),
        ..ProxyConfig::to(&[nginx.address])
    })
}

/// Curl, which believes one authority and finds every host at the engine.
pub(crate) struct Curl {
    engine: SocketAddr,
    folder: tempfile::TempDir,
}

impl Curl {
    pub(crate) fn new(engine: SocketAddr, authority: &Authority) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), &authority.pem).unwrap();
        Self { engine, folder }
    }

    /// Writes a file for it, and says its path.
    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// What it prints, or how it fails.
    pub(crate) fn run(&self, host: &str, path: &str, arguments: &[&str]) -> Result<String, i32> {
        let port = self.engine.port();
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "20", "--cacert"])
            .arg(self.folder.path().join("ca.pem"))
            .arg("--resolve")
            .arg(format!("{host}:{port}:127.0.0.1"))
            .args(arguments)
            .arg(format!("https://{host}:{port}{path}"))
            .output()
            .expect("curl is installed");
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap())
        } else {
            Err(output.status.code().unwrap())
        }
    }

    pub(crate) fn get(&self, path: &str, arguments: &[&str]) -> String {
        self.run("a.example", path, arguments).unwrap()
    }
}

#[test]
fn curl_gets_what_nginx_serves_in_both_versions() {
    let authority = Authority::new("authority");
    let nginx = Nginx::start();
    let of_a = authority.issue(&["a.example"]).certificate();
    let engine = secured(&options(&[of_a], UnknownName::First), &nginx);
    let curl = Curl::new(engine, &authority);
    for (version, suites) in [
        (
            ["--tlsv1.3", "--tls-max", "1.3"],
            &["", "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"][..],
        ),
        (
            ["--tlsv1.2", "--tls-max", "1.2"],
            &[
                "",
                "ECDHE-ECDSA-AES128-GCM-SHA256",
                "ECDHE-ECDSA-CHACHA20-POLY1305",
            ][..],
        ),
    ] {
        for suite in suites {
            let flag = if version[2] == "1.3" {
                "--tls13-ciphers"
            } else {
                "--ciphers"
            };
            let mut arguments = version.to_vec();
            if !suite.is_empty() {
                arguments.extend([flag, suite]);
            }
            let large = curl.get("/large", &arguments);
            assert!(large == nginx.large(), "{arguments:?}");
            let seen = curl.get("/seen", &arguments);
            let forwarded = format!(
                "for=127.0.0.1;host=\"a.example:{}\";proto=https",
                engine.port()
            );
            assert_eq!(
                seen,
                format!("127.0.0.1|https|{forwarded}|a.example:{}\n", engine.port())
            );
            // What comes the other way.
            let body = "0123456789abcdef".repeat(50_000);
            let path = curl.file("body", &body);
            curl.get(
                "/put/body",
                &[&arguments[..], &["--upload-file", &path]].concat(),
            );
            assert!(nginx.stored("body") == body.as_bytes(), "{arguments:?}");
        }
    }
    // Several requests over one connection.
    let url = format!("https://a.example:{}/hello", engine.port());
    let several = curl.get("/hello", &[&url, "--write-out", "%{num_connects} "]);
    assert_eq!(several, "hello\n1 hello\n0 ");
    assert_eq!(nginx::LARGE_BYTES, curl.get("/large", &["--http1.0"]).len());
}

#[test]
fn certificates_go_by_the_name_that_is_asked_for() {
    let authority = Authority::new("authority");
    let nginx = Nginx::start();
    let certificates = [
        authority.issue(&["first.example"]).certificate(),
        authority
            .issue(&["*.wild.example", "wild.example"])
            .certificate(),
        authority.issue(&["own.wild.example"]).certificate(),
    ];
    let lenient = secured(&options(&certificates, UnknownName::First), &nginx);
    let strict = secured(&options(&certificates, UnknownName::Refuse), &nginx);
    for engine in [lenient, strict] {
        let subject = |arguments: &[&str]| {
            let said = s_client(engine, arguments);
            let line = said.lines().find(|line| line.starts_with("subject="));
            line.map(ToOwned::to_owned).unwrap_or(said)
        };
        let name = |name: &str| subject(&["-servername", name]);
        assert_eq!(name("first.example"), "subject=CN = first.example");
        assert_eq!(name("FIRST.example"), "subject=CN = first.example");
        assert_eq!(name("wild.example"), "subject=CN = *.wild.example");
        assert_eq!(name("any.wild.example"), "subject=CN = *.wild.example");
        assert_eq!(name("own.wild.example"), "subject=CN = own.wild.example");
        let unknown = [
            name("two.any.wild.example"),
            name("nobody.example"),
            subject(&["-noservername"]),
        ];
        for said in unknown {
            if engine == lenient {
                assert_eq!(said, "subject=CN = first.example");
            } else {
                assert!(said.contains("SSL alert number 112"), "{said}");
            }
        }
    }
    let curl = Curl::new(strict, &authority);
    assert_eq!(
        curl.run("any.wild.example", "/hello", &[]).unwrap(),
        "hello\n"
    );
    // CURLE_SSL_CONNECT_ERROR.
    assert_eq!(curl.run("nobody.example", "/hello", &[]), Err(35));
}

#[test]
fn protocols_and_versions_are_those_that_are_configured() {
    let authority = Authority::new("authority");
    let nginx = Nginx::start();
    let of_a = [authority.issue(&["a.example"]).certificate()];
    let engine_of = |protocols, minimum| {
        let options = TlsOptions {
            protocols,
            minimum,
            ..options(&of_a, UnknownName::First)
        };
        secured(&options, &nginx)
    };
    let http1 = engine_of(Protocols::Http1, MinimumVersion::Tls12);
    let http2 = engine_of(Protocols::Http2, MinimumVersion::Tls13);
    let none = engine_of(Protocols::None, MinimumVersion::Tls12);
    let says = |engine, arguments: &[&str], what: &str| {
        let said = s_client(engine, arguments);
        assert!(said.contains(what), "{arguments:?}: {said}");
    };
    says(http1, &["-alpn", "h2,http/1.1"], "ALPN protocol: http/1.1");
    says(http2, &["-alpn", "http/1.1,h2"], "ALPN protocol: h2");
    says(http2, &["-alpn", "http/1.1"], "ALPN protocol: http/1.1");
    says(none, &["-alpn", "h2,http/1.1"], "No ALPN negotiated");
    says(http1, &[], "No ALPN negotiated");
    // no_application_protocol.
    says(http1, &["-alpn", "h2"], "SSL alert number 120");
    says(
        http1,
        &["-tls1_2"],
        "New, TLSv1.2, Cipher is ECDHE-ECDSA-AES128-GCM-SHA256",
    );
    says(
        http1,
        &["-tls1_3"],
        "New, TLSv1.3, Cipher is TLS_AES_128_GCM_SHA256",
    );
    // Whoever prefers ChaCha20 gets it.
    let chacha = "TLS_CHACHA20_POLY1305_SHA256";
    let suites = format!("{chacha}:TLS_AES_128_GCM_SHA256");
    says(http1, &["-tls1_3", "-ciphersuites", &suites], chacha);
    // protocol_version.
    says(http2, &["-tls1_2"], "SSL alert number 70");
    says(
        http1,
        &["-tls1_1", "-cipher", "ALL@SECLEVEL=0"],
        "Cipher is (NONE)",
    );
}
