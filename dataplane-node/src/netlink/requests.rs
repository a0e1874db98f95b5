use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use futures::{Stream, StreamExt, TryStreamExt};
use lbfabric_model::Prefix;
use rtnetlink::{
    Error, Handle, RouteMessageBuilder,
    packet_core::ErrorMessage,
    packet_route::{
        address::{AddressAttribute, AddressMessage},
        link::LinkMessage,
        neighbour::{NeighbourFlags, NeighbourMessage, NeighbourState},
        route::{RouteAttribute, RouteMessage, RouteMetric, RouteScope, RouteType, RouteVia},
    },
};
use tokio::sync::Mutex;

use super::table::{LinkView, NeighbourKey, Route, ip_of_route_address, link_of};

/// A netlink request failed.
#[derive(Debug, thiserror::Error)]
#[error("netlink: {what}")]
pub(crate) struct NetlinkError {
    what: &'static str,
    #[source]
    source: Error,
}

impl NetlinkError {
    /// The kernel's error number, where it gave one.
    pub(crate) fn errno(&self) -> Option<i32> {
        match &self.source {
            Error::NetlinkError(ErrorMessage {
                code: Some(code), ..
            }) => Some(-code.get()),
            _ => None,
        }
    }
}

pub(super) fn failed(what: &'static str) -> impl FnOnce(Error) -> NetlinkError {
    move |source| NetlinkError { what, source }
}

/// The requests that the agent makes.
#[derive(Clone)]
pub(crate) struct Requests {
    pub(super) handle: Handle,
    /// Held while a list is read: the kernel reads one at a time for a socket, and refuses a second one as busy.
    pub(super) list: Arc<Mutex<()>>,
}

impl Requests {
    pub(crate) fn new(handle: Handle) -> Self {
        Self {
            handle,
            list: Arc::default(),
        }
    }

    pub(crate) async fn links(&self) -> Result<Vec<LinkMessage>, NetlinkError> {
        let _one_at_a_time = self.list.lock().await;
        let links = self.handle.link().get().execute();
        links.try_collect().await.map_err(failed("list links"))
    }

    /// The links by name, as they are now.
    pub(crate) async fn link_views(&self) -> Result<BTreeMap<String, LinkView>, NetlinkError> {
        let links = self.links().await?;
        Ok(links
            .iter()
            .filter_map(link_of)
            .map(|(_, link)| link)
            .collect())
    }

    /// The addresses of an interface, of any scope.
    pub(crate) async fn addresses_of(
        &self,
        ifindex: u32,
    ) -> Result<BTreeSet<IpAddr>, NetlinkError> {
        let all = self.addresses().await?;
        let own = all.iter().filter(|message| message.header.index == ifindex);
        Ok(own.filter_map(address_of).collect())
    }

    pub(crate) async fn addresses(&self) -> Result<Vec<AddressMessage>, NetlinkError> {
        let _one_at_a_time = self.list.lock().await;
        let addresses = self.handle.address().get().execute();
        addresses
            .try_collect()
            .await
            .map_err(failed("list addresses"))
    }

    pub(crate) async fn neighbours(&self) -> Result<Vec<NeighbourMessage>, NetlinkError> {
        let _one_at_a_time = self.list.lock().await;
        let neighbours = self.handle.neighbours().get().execute();
        neighbours
            .try_collect()
            .await
            .map_err(failed("list neighbours"))
    }

    /// Where packets to an address leave, or `None` if there is no route or the address is the node's own.
    pub(crate) async fn route(&self, to: IpAddr) -> Result<Option<Route>, NetlinkError> {
        let message = match to {
            IpAddr::V4(v4) => RouteMessageBuilder::<std::net::Ipv4Addr>::new()
                .destination_prefix(v4, 32)
                .build(),
            IpAddr::V6(v6) => RouteMessageBuilder::<std::net::Ipv6Addr>::new()
                .destination_prefix(v6, 128)
                .build(),
        };
        let answer = self.handle.route().get(message).execute();
        match first(answer).await {
            Ok(route) => Ok(route.and_then(|route| egress(&route, to))),
            Err(Error::NetlinkError(_)) => Ok(None),
            Err(error) => Err(failed("look up a route")(error)),
        }
    }

    /// Makes the kernel use the neighbour now: an unknown one is resolved, a stale one probed.
    pub(crate) async fn use_neighbour(&self, key: NeighbourKey) -> Result<(), NetlinkError> {
        self.handle
            .neighbours()
            .add(key.ifindex, key.address)
            .state(NeighbourState::None)
            .flags(NeighbourFlags::Use)
            .replace()
            .execute()
            .await
            .map_err(failed("probe a neighbour"))
    }

    /// Makes the kernel forget what it believes of a neighbour.
    pub(crate) async fn forget_neighbour(&self, key: NeighbourKey) -> Result<(), NetlinkError> {
        let mut request = self.handle.neighbours().add(key.ifindex, key.address);
        let message = request.message_mut().clone();
        self.handle
            .neighbours()
            .del(message)
            .execute()
            .await
            .map_err(failed("forget a neighbour"))
    }

    /// Adds an address as a host route to an interface.
    pub(crate) async fn add_address(
        &self,
        ifindex: u32,
        address: IpAddr,
    ) -> Result<(), NetlinkError> {
        let prefix = if address.is_ipv4() { 32 } else { 128 };
        let request = self.handle.address().add(ifindex, address, prefix);
        request.execute().await.map_err(failed("add an address"))
    }

    /// Removes an address that [`Self::add_address`] has added; false if it was not there.
    pub(crate) async fn remove_address(
        &self,
        ifindex: u32,
        address: IpAddr,
    ) -> Result<bool, NetlinkError> {
        let all = self.addresses().await?;
        let mine = all.into_iter().find(|message| {
            message.header.index == ifindex
                && message.header.prefix_len == if address.is_ipv4() { 32 } else { 128 }
                && address_of(message) == Some(address)
        });
        let Some(message) = mine else {
            return Ok(false);
        };
        let removed = self.handle.address().del(message).execute().await;
        removed.map_err(failed("remove an address"))?;
        Ok(true)
    }

    /// Makes all addresses of a prefix the node's own.
    pub(crate) async fn add_local(&self, ifindex: u32, prefix: Prefix) -> Result<(), NetlinkError> {
        let request = self.handle.route().add(local_route(ifindex, prefix));
        request.execute().await.map_err(failed("add a local route"))
    }

    /// Takes back what [`Self::add_local`] has done; false if it was not so.
    pub(crate) async fn remove_local(
        &self,
        ifindex: u32,
        prefix: Prefix,
    ) -> Result<bool, NetlinkError> {
        let request = self.handle.route().del(local_route(ifindex, prefix));
        let removed = request.execute().await;
        match removed.map_err(failed("remove a local route")) {
            Ok(()) => Ok(true),
            Err(error) if error.errno() == Some(libc::ESRCH) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// A route that makes all addresses of a prefix the node's own.
pub(super) fn local_route(ifindex: u32, prefix: Prefix) -> RouteMessage {
    let bits = prefix.bits();
    let mut message = match prefix.address() {
        IpAddr::V4(v4) => RouteMessageBuilder::<std::net::Ipv4Addr>::new()
            .destination_prefix(v4, bits)
            .output_interface(ifindex)
            .build(),
        IpAddr::V6(v6) => RouteMessageBuilder::<std::net::Ipv6Addr>::new()
            .destination_prefix(v6, bits)
            .output_interface(ifindex)
            .build(),
    };
    message.header.kind = RouteType::Local;
    message.header.scope = RouteScope::Host;
    message.header.table = libc::RT_TABLE_LOCAL;
    message
}

async fn first<T>(stream: impl Stream<Item = Result<T, Error>>) -> Result<Option<T>, Error> {
    let mut stream = std::pin::pin!(stream);
    stream.next().await.transpose()
}

/// The address itself: on point-to-point links `Address` is the peer's, `Local` the own one.
pub(crate) fn address_of(message: &AddressMessage) -> Option<IpAddr> {
    let mut address = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(local) => return Some(*local),
            AddressAttribute::Address(ip) => address = Some(*ip),
            _ => {}
        }
    }
    address
}

fn egress(route: &RouteMessage, to: IpAddr) -> Option<Route> {
    if route.header.kind != RouteType::Unicast {
        return None;
    }
    let mut ifindex = None;
    let mut gateway = to;
    let mut mtu = None;
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => ifindex = Some(*index),
            RouteAttribute::Gateway(address) => gateway = ip_of_route_address(address)?,
            RouteAttribute::Via(RouteVia::Inet(v4)) => gateway = IpAddr::V4(*v4),
            RouteAttribute::Via(RouteVia::Inet6(v6)) => gateway = IpAddr::V6(*v6),
            RouteAttribute::Metrics(metrics) => {
                mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(*mtu),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    Some(Route {
        via: NeighbourKey {
            ifindex: ifindex?,
            address: gateway,
        },
        mtu,
    })
}
