//! An agent whose VIP another host has as well.

use aya::maps::{Array, HashMap, Map};
use lbfabric_abi::{Address, LeasedVip, LinkAddress};
use lbfabric_node::Role;
use lbfabric_proto::v1;
use nix::net::if_::if_nametoindex;

use crate::{
    fixture::{Fixture, attached, eventually},
    flat_network::says_as,
    load_balancer::web,
    played_controller::PlayedController,
};

#[test]
fn a_rival_is_told_of_in_the_status_of_its_services() {
    let fixture = Fixture::new();
    fixture.run(|| async {
        let mut controller = PlayedController::start().await;
        controller.apply(&web(v1::Mode::L4Dsr));
        let agent = fixture
            .start(fixture.config(Role::LoadBalancer, controller.address))
            .await;
        eventually("attached", || controller.report_if(attached)).await;

        let index = if_nametoindex("lb0").expect("it is there");
        let links = Map::HashMap(fixture.map("LINKS").expect("it is pinned"));
        let links = HashMap::<_, u32, LinkAddress>::try_from(links).expect("its kind");
        let link = eventually("the link's address", || links.get(&index, 0).ok()).await;
        let text = fixture.node.ip(&["-br", "link", "show", "lb0"]);
        let own = link.mac.map(|byte| format!("{byte:02x}")).join(":");
        assert!(text.contains(&own), "{text}");

        // As leases will have it.
        let vips = Map::HashMap(fixture.map("LEASED_VIPS").expect("it is pinned"));
        let mut vips = HashMap::<_, Address, LeasedVip>::try_from(vips).expect("its kind");
        let vip: std::net::IpAddr = "10.99.0.1".parse().expect("an address");
        vips.insert(Address::from(vip), LeasedVip::held(1), 0)
            .expect("it is writable");
        let lease = Map::Array(fixture.map("LEASE").expect("it is pinned"));
        let mut lease = Array::<_, u64>::try_from(lease).expect("its kind");
        lease.set(0, u64::MAX, 0).expect("it is writable");

        let peer = &fixture.peer;
        peer.ip(&["addr", "add", "10.99.0.1/32", "dev", "sv0"]);
        let mac = fixture
            .peer_mac()
            .map(|byte| format!("{byte:02x}"))
            .join(":");
        let expected = format!("another host, {mac} on lb0, answers for VIP {vip} as well");
        let is_told = |report: &v1::NodeReport| {
            let mut services = report.services.iter();
            services.any(|it| it.warnings.contains(&expected))
        };
        eventually("a warning", || {
            peer.flush_neighbours("sv0");
            let node = "10.88.0.1".parse().expect("an address");
            peer.within(|| says_as(vip, node));
            controller.report_if(is_told)
        })
        .await;
        agent.stop().await;
    });
}
