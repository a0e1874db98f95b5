use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use lbfabric_node::{Role, XdpModeChoice};
use lbfabric_proto::v1;

use crate::fixture::{Fixture, eventually};
use crate::namespace::Namespace;
use crate::played_controller::PlayedController;

const BYTES: usize = 16 << 20;

fn pattern() -> Vec<u8> {
    (0..BYTES).map(|n| (n % 251).to_le_bytes()[0]).collect()
}

/// Packets and bytes that an interface has received.
fn received(namespace: &Namespace, link: &str) -> (u64, u64) {
    let text = namespace.ip(&["-j", "-s", "link", "show", link]);
    let links: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let count = |name: &str| {
        let rx = &links[0]["stats64"]["rx"];
        rx[name].as_u64().expect("a count")
    };
    (count("packets"), count("bytes"))
}

/// The program attaches natively where frames take more than a page, and what passes it arrives whole, with offloads on.
#[test]
fn row_44_a_bulk_transfer_in_jumbo_frames() {
    let fixture = Fixture::new();
    for (namespace, link) in [(&fixture.node, "lb0"), (&fixture.peer, "sv0")] {
        namespace.ip(&["link", "set", link, "mtu", "9000"]);
    }
    fixture.run(|| async {
        let controller = PlayedController::start().await;
        let mut config = fixture.config(Role::LoadBalancer, controller.address);
        config.xdp_mode = XdpModeChoice::Native;
        config.keep_on_exit = false;
        let agent = fixture.start(config).await;
        let is_up = |report: &v1::NodeReport| {
            report.fault.is_empty() && report.xdp_mode() == v1::XdpMode::Native
        };
        eventually("attached", || controller.report_if(is_up)).await;

        let before = received(&fixture.node, "lb0");
        let listener = TcpListener::bind("10.88.0.1:9000").expect("a free port");
        let arrived = std::thread::scope(|scope| {
            scope.spawn(|| {
                fixture.peer.enter();
                let mut stream = TcpStream::connect("10.88.0.1:9000").expect("the node listens");
                stream.write_all(&pattern()).expect("all is taken");
            });
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).expect("all arrives");
            bytes
        });
        assert!(arrived == pattern(), "{} bytes arrived", arrived.len());
        let after = received(&fixture.node, "lb0");
        let (packets, bytes) = (after.0 - before.0, after.1 - before.1);
        assert!(
            bytes / packets > 4096,
            "{packets} packets of {bytes} bytes: none took more than a page"
        );
        agent.stop().await;
    });
}
