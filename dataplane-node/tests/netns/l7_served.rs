//! Layer-7 services by themselves, and an agent that serves them.

use lbfabric_node::{NodeAgent, Role};
use lbfabric_proto::v1;

use crate::{
    fixture::{Fixture, eventually},
    l7_reverse::is_applied,
    load_balancer::web,
    played_controller::PlayedController,
    specs,
};

/// A service at another port, to a port of the servers.
pub(crate) fn service(
    name: &str,
    port: &str,
    backend_port: u32,
    proxy: v1::ProxySpec,
) -> v1::ServiceSpec {
    v1::ServiceSpec {
        name: name.to_owned(),
        ports: vec![port.to_owned()],
        backend_port,
        proxy: Some(proxy),
        ..web(v1::Mode::L7Reverse).services.remove(0)
    }
}

/// Services, to servers that are probed.
pub(crate) fn document(services: Vec<v1::ServiceSpec>) -> v1::FabricSpec {
    v1::FabricSpec {
        pools: vec![specs::probed_pool()],
        services,
        ..v1::FabricSpec::default()
    }
}

/// An agent that serves them, as its controller was told.
pub(crate) async fn served(
    fixture: &Fixture,
    spec: &v1::FabricSpec,
) -> (PlayedController, NodeAgent) {
    let mut controller = PlayedController::start().await;
    controller.apply(spec);
    let config = fixture.config(Role::LoadBalancer, controller.address);
    let agent = fixture.start(config).await;
    eventually("the services", || controller.report_if(is_applied)).await;
    (controller, agent)
}
