//! The API of VIPs with leases.

mod told;

use std::{net::IpAddr, sync::Arc, time::Duration};

use lbfabric_model::{
    Command, FabricState, LeaseCommand, Name, Outcome, WishChange, lease::LeaderView,
};
use lbfabric_proto::{
    internal::v1::VipStatesRequest,
    v1::{
        ChangeVipRequest, ChangeVipResponse, ListVipsRequest, ListVipsResponse, change_vip_request,
        vip_service_server::VipService,
    },
};
use tokio::time::{self, Instant};
use tonic::{Request, Response, Status};

use crate::{cluster::Cluster, deadline, lease::LeaseDesk, status};

/// How long the member that leads may take to say how VIPs are.
const STATES_TIMEOUT: Duration = Duration::from_secs(1);

/// Shows VIPs, and takes operators' wishes.
pub(crate) struct VipServer {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) desk: LeaseDesk,
}

// === impl VipServer ===

impl VipServer {
    async fn read(&self, deadline: Instant) -> Result<Arc<FabricState>, Status> {
        match self.cluster.read(deadline).await {
            Ok(published) => Ok(published.state),
            Err(e) => Err(status::read_failed(&e)),
        }
    }

    /// The view of the member that leads, with its name.
    async fn view(&self) -> Option<(String, LeaderView)> {
        if let Some(view) = self.desk.view().await {
            return Some((self.cluster.name(), view));
        }
        let leader = self.cluster.raft().view().borrow().leader?;
        let mut peers = self.cluster.peers();
        let (member, mut client) = peers.find(|(member, _)| *member == leader)?;
        let asked = client.vip_states(VipStatesRequest {});
        let states = time::timeout(STATES_TIMEOUT, asked).await.ok()?.ok()?;
        let view = LeaderView::from_proto(states.into_inner()).ok()??;
        Some((member.to_string(), view))
    }
}

#[tonic::async_trait]
impl VipService for VipServer {
    async fn list_vips(
        &self,
        request: Request<ListVipsRequest>,
    ) -> Result<Response<ListVipsResponse>, Status> {
        let deadline = deadline::of_call(request.metadata());
        let state = self.read(deadline).await?;
        let view = self.view().await;
        let (leader, view) =
            view.map_or((String::new(), None), |(leader, view)| (leader, Some(view)));
        Ok(Response::new(ListVipsResponse {
            vips: told::vips(&state, view.as_ref()),
            nodes: told::nodes(&state, view.as_ref()),
            leader,
        }))
    }

    async fn change_vip(
        &self,
        request: Request<ChangeVipRequest>,
    ) -> Result<Response<ChangeVipResponse>, Status> {
        let deadline = deadline::of_call(request.metadata());
        let (vip, change) = parse(request.into_inner())?;
        let state = self.read(deadline).await?;
        if !state.placement_rules().vips.contains_key(&vip) {
            return Err(status::no_leased_vip(vip));
        }
        if let WishChange::Move(node) | WishChange::Pin(node) = &change
            && !state.leases().nodes().contains(node)
        {
            return Err(status::no_lease_node(node.as_str()));
        }
        let command = Command::Lease(LeaseCommand::Wish(vip, change));
        match self.cluster.write(&command, deadline).await {
            Ok(Outcome::Applied { .. }) => Ok(Response::new(ChangeVipResponse {})),
            Ok(Outcome::Refused(refusal)) => Err(status::refused(&refusal)),
            Err(e) => Err(status::write_failed(&e)),
        }
    }
}

fn parse(request: ChangeVipRequest) -> Result<(IpAddr, WishChange), Status> {
    use change_vip_request::Change;
    let vip = request
        .address
        .parse()
        .map_err(|_no_address: std::net::AddrParseError| {
            status::invalid_field("address", "required: an address, such as `203.0.113.10`")
        })?;
    let name = |text: &str, path| {
        Name::parse(text, path).map_err(|violation| status::invalid(&[violation]))
    };
    let change = match request.change {
        Some(Change::MoveTo(node)) => WishChange::Move(name(&node, "move_to")?),
        Some(Change::PinTo(node)) => WishChange::Pin(name(&node, "pin_to")?),
        Some(Change::Unpin(_)) => WishChange::Unpin,
        Some(Change::Drain(drained)) => WishChange::Drain(drained),
        None => {
            return Err(status::invalid_field(
                "change",
                "required: what is wanted of the VIP",
            ));
        }
    };
    Ok((vip, change))
}
