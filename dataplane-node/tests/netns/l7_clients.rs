//! What clients speak with a service of the layer-7 engine: versions of HTTP, and sessions of TLS that go on at another node.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use lbfabric_node::Role;
use lbfabric_proto::v1;

use crate::{
    fixture::{Fixture, eventually},
    l7_reverse::{VIPS, certificate, is_applied, serve_in},
    load_balancer::web,
    namespace::Namespace,
    played_controller::PlayedController,
};

/// A client's program, which runs in a namespace until its end.
pub(crate) fn client(from: &Namespace, program: &str, arguments: &[&str]) -> Output {
    Command::new("nsenter")
        .arg(format!("--net=/var/run/netns/{}", from.name))
        .args(["timeout", "20", program])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("these tests need nsenter")
}

/// What curl writes: the body, then the version of HTTP; or its exit code.
pub(crate) fn curl(from: &Namespace, arguments: &[&str]) -> Result<String, Option<i32>> {
    let always = ["--silent", "--max-time", "5", "--noproxy", "*"];
    let format = ["--write-out", "HTTP/%{http_version}"];
    let output = client(from, "curl", &[&always[..], &format, arguments].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output
        .status
        .success()
        .then_some(text)
        .ok_or(output.status.code())
}

/// The service with a certificate, which a file has.
fn secured(folder: &Path) -> (v1::FabricSpec, String) {
    let (certificate, file) = certificate("web.example", folder);
    let mut spec = web(v1::Mode::L7Reverse);
    spec.certificates = vec![certificate];
    spec.services[0].proxy = Some(v1::ProxySpec {
        tls: Some(v1::TlsSpec {
            certificates: vec!["web".to_owned()],
            ..v1::TlsSpec::default()
        }),
        ..v1::ProxySpec::default()
    });
    let file = file.to_str().expect("the path is UTF-8").to_owned();
    (spec, file)
}

#[test]
fn clients_speak_http2_unless_it_is_off() {
    let fixture = Fixture::new();
    fixture.route_vips();
    serve_in(&fixture.peer, "10.88.0.2:80");
    serve_in(&fixture.peer, "[fd88::2]:80");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (mut spec, file) = secured(folder.path());
    let mut clear = web(v1::Mode::L7Reverse).services.remove(0);
    clear.name = "clear".to_owned();
    clear.ports = vec!["81".to_owned()];
    clear.backend_port = 80;
    clear.proxy = Some(v1::ProxySpec::default());
    spec.services.push(clear);
    fixture.run(|| async {
        let mut controller = PlayedController::start().await;
        controller.apply(&spec);
        let agent = fixture
            .start(fixture.config(Role::LoadBalancer, controller.address))
            .await;
        eventually("the service", || controller.report_if(is_applied)).await;
        let over_tls = |vip: &str| {
            let to = format!("::{vip}");
            let arguments = ["--http2", "--connect-to", &to, "--cacert", &file];
            curl(
                &fixture.peer,
                &[&arguments[..], &["https://web.example/"]].concat(),
            )
        };
        let in_clear_text = |address: &str| {
            let url = format!("http://{address}:81/");
            curl(&fixture.peer, &["--http2-prior-knowledge", &url])
        };
        for (vip, address, seen) in [
            (VIPS[0], "10.99.0.1", "10.88.0.1 10.88.0.2\n"),
            (VIPS[1], "[fd99::1]", "fd88::1 fd88::2\n"),
        ] {
            assert_eq!(over_tls(vip), Ok(format!("{seen}HTTP/2")));
            assert_eq!(in_clear_text(address), Ok(format!("{seen}HTTP/2")));
        }
        for service in &mut spec.services {
            service.proxy.as_mut().expect("it has one").http2 = Some(v1::Http2Spec {
                clients: Some(false),
                servers: false,
            });
        }
        controller.apply(&spec);
        let is_off = || over_tls(VIPS[0]).ok()?.ends_with("HTTP/1.1").then_some(());
        eventually("HTTP/1.1", is_off).await;
        let refused = || in_clear_text("10.99.0.1").is_err().then_some(());
        eventually("no HTTP/2 in clear text", refused).await;
        agent.stop().await;
    });
}

/// What openssl says of a connection.
fn s_client(from: &Namespace, arguments: &[&str]) -> String {
    let always = [
        "s_client",
        "-connect",
        VIPS[0],
        "-servername",
        "web.example",
    ];
    let output = client(from, "openssl", &[&always[..], arguments].concat());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_session_of_tls_goes_on_at_another_node() {
    let fixture = Fixture::new();
    fixture.route_vips();
    serve_in(&fixture.peer, "10.88.0.2:80");
    serve_in(&fixture.peer, "[fd88::2]:80");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (spec, _file) = secured(folder.path());
    let session = folder.path().join("session");
    let session = session.to_str().expect("the path is UTF-8");
    fixture.run(|| async {
        let mut controller = PlayedController::start().await;
        controller.apply(&spec);
        // Each has an engine of its own, and nothing in common but the controller.
        let mut config = fixture.config(Role::LoadBalancer, controller.address);
        let agent = fixture.start(config.clone()).await;
        eventually("the service", || controller.report_if(is_applied)).await;
        let version = "-tls1_2";
        let said = s_client(&fixture.peer, &[version, "-sess_out", session]);
        assert!(said.contains("New, TLSv1.2"), "{said}");
        agent.stop().await;

        controller.forget_agent();
        let state = tempfile::tempdir().expect("a temporary folder");
        config.state_dir = state.path().to_owned();
        "lb2".clone_into(&mut config.name);
        let agent = fixture.start(config).await;
        eventually("the other node", || controller.report_if(is_applied)).await;
        let said = s_client(&fixture.peer, &[version, "-sess_in", session]);
        assert!(said.contains("Reused, TLSv1.2"), "{said}");

        // Other keys, and the session begins anew.
        for period in 10..13 {
            controller.add_ticket_key(period);
        }
        let is_new = || {
            let said = s_client(&fixture.peer, &[version, "-sess_in", session]);
            said.contains("New, TLSv1.2").then_some(())
        };
        eventually("the new keys", is_new).await;
        agent.stop().await;
    });
}
