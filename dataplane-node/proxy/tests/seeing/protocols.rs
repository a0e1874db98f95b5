//! Requests of HTTP/2, over TLS, and connections whose content is not looked at.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr},
    process::Command,
    sync::Arc,
};

use lbfabric_proxy::{
    Protocol, ProxyConfig, ServerProtocol,
    observe::{Sampling, ServerFailure, TraceConfig},
    tls::{Certificates, Protocols, TlsConfig, TlsOptions, UnknownName},
};

use crate::{
    authority::Authority,
    connect, head,
    nginx::{LARGE_BYTES, Nginx},
    seen::{Seen, millis, text},
    server,
    servers::Servers,
    timeouts,
    worker::engine,
};

fn curl(arguments: &[&str]) -> std::process::Output {
    Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20"])
        .args(arguments)
        .output()
        .expect("curl is installed")
}

/// What curl is answered by the engine over HTTP/2 in clear text.
fn status(engine: SocketAddr, path: &str, arguments: &[&str]) -> String {
    let url = format!("http://{engine}{path}");
    let format = "%{http_version} %{http_code}";
    let output = curl(
        &[
            &["--http2-prior-knowledge", "-o", "/dev/null", "-w", format],
            arguments,
            &[&url],
        ]
        .concat(),
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn requests_over_http2_are_seen_as_others_are() {
    let nginx = Nginx::start();
    let seen = Seen::start(&[nginx.address], Sampling::ALL, |_| {});
    let agent = ["--user-agent", "two"];
    assert_eq!(status(seen.engine, "/large?a=b", &agent), "2 200");
    assert_eq!(
        status(seen.engine, "/put/x", &["-T", "/etc/hostname"]),
        "2 201"
    );
    let [large, put] = seen.lines(2).try_into().unwrap();
    for (name, value) in [
        ("protocol", "HTTP/2.0"),
        ("method", "GET"),
        ("path", "/large?a=b"),
        ("host", &seen.engine.to_string()),
        ("user_agent", "two"),
        ("server", "one"),
        ("termination", "--"),
    ] {
        assert_eq!(text(&large, name), Some(value), "{large}");
    }
    assert_eq!(
        (&large["status"], &put["status"]),
        (&200.into(), &201.into())
    );
    // Of the bodies alone: heads are compressed.
    assert_eq!(large["sent_bytes"], LARGE_BYTES);
    let sent = std::fs::metadata("/etc/hostname").unwrap().len();
    assert_eq!(put["received_bytes"], sent);
    assert!(millis(&large, "connect_ms") > 0.0 && millis(&put, "connect_ms") == 0.0);
    assert!(millis(&large, "response_ms") > 0.0, "{large}");
    let reading = seen.reading();
    assert_eq!(reading.connections_total, 2);
    let server = &reading.servers["one"];
    assert_eq!((server.connections_total, server.requests), (1, 0));
    assert_eq!(reading.all_routes().answers.classes, [0, 0, 2, 0, 0, 0]);
}

#[test]
fn servers_of_http2_are_seen_too() {
    // Another engine is a server of HTTP/2.
    let nginx = Nginx::start();
    let two = engine(ProxyConfig::to(&[nginx.address]));
    let seen = Seen::start(&[two], Sampling::ALL, |it| {
        it.http2.servers = ServerProtocol::Http2;
        it.observe.traces = Some(TraceConfig { sample_one_in: 1 });
    });
    for path in ["/hello", "/none"] {
        status(seen.engine, path, &[]);
    }
    let [hello, none] = seen.lines(2).try_into().unwrap();
    assert_eq!(
        (&hello["status"], &none["status"]),
        (&200.into(), &404.into())
    );
    assert!(text(&hello, "trace_id").is_some(), "{hello}");
    let server = &seen.reading().servers["one"];
    assert_eq!((server.connections_total, server.requests), (1, 0));
    assert_eq!(server.answers.classes, [0, 0, 1, 0, 1, 0]);
}

#[test]
fn what_goes_wrong_over_http2_is_told_apart() {
    let closes = server(|mut it| drop(head(&mut it)));
    let seen = Seen::start(&[closes], Sampling::ALL, |_| {});
    assert_eq!(status(seen.engine, "/a", &[]), "2 502");
    let [line] = seen.lines(1).try_into().unwrap();
    assert_eq!(text(&line, "termination"), Some("SH"), "{line}");
    let failures = seen.reading().servers["one"].failures;
    assert_eq!(failures[ServerFailure::NoAnswer as usize], 1);

    let stalls = server(|mut it| {
        head(&mut it);
        it.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello")
            .unwrap();
        std::thread::spawn(move || it.read(&mut [0]));
    });
    let seen = Seen::start(&[stalls], Sampling::ALL, |it| it.timeouts = timeouts());
    assert_eq!(status(seen.engine, "/a", &[]), "2 200");
    let [line] = seen.lines(1).try_into().unwrap();
    assert_eq!(text(&line, "termination"), Some("sD"), "{line}");

    // The client gives up while the server thinks.
    let thinks = server(|mut it| {
        head(&mut it);
        std::thread::spawn(move || it.read(&mut [0]));
    });
    let seen = Seen::start(&[thinks], Sampling::ALL, |_| {});
    let given_up = status(seen.engine, "/a", &["--max-time", "0.3"]);
    assert!(given_up.ends_with("000"), "{given_up}");
    let [line] = seen.lines(1).try_into().unwrap();
    assert_eq!(
        (text(&line, "termination"), &line["status"]),
        (Some("CH"), &0.into())
    );
    assert_eq!(seen.reading().servers["one"].requests, 0);
}

#[test]
fn tls_is_logged_with_its_version_and_name() {
    let authority = Authority::new("authority");
    let issued = authority.issue(&["a.example"]);
    let certificates = Certificates::new(&[issued.certificate()], UnknownName::Refuse);
    let mut options = TlsOptions::new(Arc::new(certificates));
    options.protocols = Protocols::Http2;
    let nginx = Nginx::start();
    let seen = Seen::start(&[nginx.address], Sampling::ALL, |it| {
        it.tls = Some(Arc::new(TlsConfig::new(&options).unwrap()));
    });
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, &authority.pem).unwrap();
    let resolve = format!("a.example:{}:127.0.0.1", seen.engine.port());
    let url = format!("https://a.example:{}/hello", seen.engine.port());
    for more in [&["--http1.1", "--tls-max", "1.2"][..], &["--http2"]] {
        let common = [
            "--cacert",
            ca.to_str().unwrap(),
            "--resolve",
            &resolve,
            &url,
        ];
        assert!(curl(&[more, &common].concat()).status.success());
    }
    let lines = seen.lines(2);
    for (line, version, protocol) in [
        (&lines[0], "TLSv1.2", "HTTP/1.1"),
        (&lines[1], "TLSv1.3", "HTTP/2.0"),
    ] {
        assert_eq!(text(line, "tls_version"), Some(version), "{line}");
        assert_eq!(text(line, "sni"), Some("a.example"));
        assert_eq!(text(line, "protocol"), Some(protocol));
    }
}

#[test]
fn a_relayed_connection_is_a_record() {
    let echo = server(|mut it| {
        let mut said = Vec::new();
        it.read_to_end(&mut said).unwrap();
        it.write_all(&said.repeat(2)).unwrap();
    });
    let seen = Seen::start(&[echo], Sampling::ALL, |it| it.protocol = Protocol::Tcp);
    let mut client = connect(seen.engine);
    client.write_all(b"hello").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut echoed = String::new();
    client.read_to_string(&mut echoed).unwrap();
    assert_eq!(echoed, "hellohello");
    let [line] = seen.lines(1).try_into().unwrap();
    for (name, value) in [
        ("protocol", "TCP"),
        ("server", "one"),
        ("termination", "--"),
        ("client", "127.0.0.1"),
    ] {
        assert_eq!(text(&line, name), Some(value), "{line}");
    }
    assert_eq!(
        (&line["received_bytes"], &line["sent_bytes"]),
        (&5.into(), &10.into())
    );
    assert!(millis(&line, "connect_ms") > 0.0, "{line}");
    let reading = seen.reading();
    let all = reading.all_routes();
    // It has no requests.
    assert_eq!((all.answers.requests(), all.received, all.sent), (0, 5, 10));
    assert_eq!(reading.servers["one"].connections_total, 1);

    // Nobody takes it, the client resets it, the server does.
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let waits = server(|mut it| {
        std::thread::spawn(move || it.read(&mut [0; 10]));
    });
    let resets = server(|mut it| {
        it.read_exact(&mut [0]).unwrap();
        socket2::SockRef::from(&it)
            .set_linger(Some(std::time::Duration::ZERO))
            .unwrap();
    });
    for (server, state) in [(gone, "SC"), (waits, "CD"), (resets, "SD")] {
        let seen = Seen::start(&[server], Sampling::ALL, |it| it.protocol = Protocol::Tcp);
        let mut client = connect(seen.engine);
        if state == "SD" {
            client.write_all(b"x").unwrap();
        }
        if state == "CD" {
            seen.until("it is relayed", |it| {
                it.reading()
                    .servers
                    .get("one")
                    .is_some_and(|it| it.connections_total == 1)
            });
            socket2::SockRef::from(&client)
                .set_linger(Some(std::time::Duration::ZERO))
                .unwrap();
            drop(client);
        }
        let [line] = seen.lines(1).try_into().unwrap();
        assert_eq!(text(&line, "termination"), Some(state), "{line}");
    }
}

#[test]
fn tls_that_goes_through_is_logged_with_its_name() {
    const NAME: &str = "one.example";
    let servers = Servers::start(&[NAME]);
    let seen = Seen::start(&servers.addresses, Sampling::ALL, |it| {
        it.protocol = Protocol::TlsPassthrough;
    });
    let port = seen.engine.port();
    let certificate = servers.certificate(NAME);
    let output = curl(&[
        "--cacert",
        certificate.to_str().unwrap(),
        "--resolve",
        &format!("{NAME}:{port}:127.0.0.1"),
        &format!("https://{NAME}:{port}/"),
    ]);
    assert!(output.status.success(), "{output:?}");
    let [line] = seen.lines(1).try_into().unwrap();
    assert_eq!(
        ["protocol", "sni", "server", "termination"].map(|it| text(&line, it)),
        [Some("TLS"), Some(NAME), Some("one"), Some("--")],
        "{line}"
    );
    assert!(line["received_bytes"].as_u64().unwrap() > 500, "{line}");
}
