use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use futures::TryStreamExt as _;
use lbfabric_model::Prefix;
use rtnetlink::{
    RouteMessageBuilder,
    packet_route::route::{RouteAttribute, RouteMessage, RouteType},
};

use super::{
    answers::PROTOCOL,
    requests::{NetlinkError, Requests, failed, local_route},
    table::ip_of_route_address,
};

impl Requests {
    /// The prefixes that [`Self::add_steered`] has made the node's own.
    pub(crate) async fn steered(&self) -> Result<BTreeSet<Prefix>, NetlinkError> {
        let _one_at_a_time = self.list.lock().await;
        let mut found = BTreeSet::new();
        let of_family = [
            RouteMessageBuilder::<Ipv4Addr>::new().build(),
            RouteMessageBuilder::<Ipv6Addr>::new().build(),
        ];
        for message in of_family {
            let routes = self.handle.route().get(message).execute();
            let routes = routes.try_filter_map(|route| async move { Ok(steered(&route)) });
            let routes: Vec<Prefix> = routes.try_collect().await.map_err(failed("list routes"))?;
            found.extend(routes);
        }
        Ok(found)
    }

    /// Makes all addresses of a prefix the node's own, without any of them on an interface. One that somebody else has made so stays theirs.
    pub(crate) async fn add_steered(
        &self,
        loopback: u32,
        prefix: Prefix,
    ) -> Result<(), NetlinkError> {
        let request = self.handle.route().add(route(loopback, prefix));
        match request.execute().await.map_err(failed("add a local route")) {
            Err(error) if error.errno() != Some(libc::EEXIST) => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Takes back what [`Self::add_steered`] has done.
    pub(crate) async fn remove_steered(
        &self,
        loopback: u32,
        prefix: Prefix,
    ) -> Result<(), NetlinkError> {
        let request = self.handle.route().del(route(loopback, prefix));
        let removed = request.execute().await;
        match removed.map_err(failed("remove a local route")) {
            Err(error) if error.errno() != Some(libc::ESRCH) => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

fn route(loopback: u32, prefix: Prefix) -> RouteMessage {
    let mut message = local_route(loopback, prefix);
    message.header.protocol = PROTOCOL;
    message
}

/// The prefix of a route that [`route`] has made.
fn steered(route: &RouteMessage) -> Option<Prefix> {
    let header = &route.header;
    let is_one = header.protocol == PROTOCOL
        && header.kind == RouteType::Local
        && header.table == libc::RT_TABLE_LOCAL;
    let mut destinations = route.attributes.iter().filter_map(|it| match it {
        RouteAttribute::Destination(address) => ip_of_route_address(address),
        _ => None,
    });
    let address: IpAddr = destinations.next()?;
    Prefix::new(address, header.destination_prefix_length).filter(|_| is_one)
}
