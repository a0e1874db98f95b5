//! The lab's network by itself: plain kernel routing, no part of the fabric. Needs root, as the lab does.

use lbfabric::lab::topology::{Family, Host, Listening, Segment, address, backend_address};
use lbfabric::lab::{Interrupt, Lab, mode::Mode};

#[test]
fn the_kernel_alone_carries_requests_over_every_leg() {
    let lab = Lab::build(&Interrupt::default()).expect("the lab's network can be built, as root");
    for family in Family::ALL {
        for server in 1..=3 {
            for mode in [Mode::Fullnat, Mode::Tunnel] {
                let called = backend_address(mode, Listening::Addresses, server, family);
                let authority = std::net::SocketAddr::new(called, 80);
                let mut curl = lab.command(Host::Client, "curl");
                curl.args(["--silent", "--show-error", "--max-time", "5"]);
                let output = curl
                    .arg(format!("http://{authority}/"))
                    .output()
                    .expect("curl starts");
                let client = address(Segment::Client, Host::Client, family);
                assert_eq!(
                    String::from_utf8_lossy(&output.stdout),
                    format!("srv{server} {client} {called}\n"),
                    "{}",
                    String::from_utf8_lossy(&output.stderr)
                );
            }
        }
    }
    let id = lab.id().to_owned();
    lab.remove().expect("nothing stays");
    for folder in ["/var/run/netns", "/run/lbfabric-lab"] {
        let left = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let left: Vec<_> = left
            .map(|entry| entry.file_name())
            .filter(|name| name.to_string_lossy().contains(&id))
            .collect();
        assert!(left.is_empty(), "{folder} still has {left:?}");
    }
}
