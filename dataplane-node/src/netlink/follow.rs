use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use futures::StreamExt;
use futures::channel::mpsc::UnboundedReceiver;
use rtnetlink::{
    MulticastGroup,
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::RouteNetlinkMessage,
    sys::SocketAddr,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{self, Instant},
};
use tracing::{debug, warn};

use super::{
    answers::{AnswerRule, is_answer_route},
    requests::{NetlinkError, Requests},
    table::{NeighbourKey, NetworkTable, NetworkView},
};
use crate::chain::Chain;

/// Neighbours that are not confirmed are probed this often.
const PROBE_INTERVAL: Duration = Duration::from_secs(3);
/// Routes are looked up again this often, also if nothing seems to have changed.
const REFRESH_INTERVAL: Duration = Duration::from_secs(30);
/// Changes within this time are handled together.
const SETTLE_TIME: Duration = Duration::from_millis(20);
/// A suspected neighbour is resolved anew at most this often.
const SUSPECT_INTERVAL: Duration = Duration::from_secs(2);

/// What the agent asks of the task.
#[derive(Clone, Debug)]
pub(crate) enum NetCommand {
    /// These servers' next hops are needed, and no others.
    Want(BTreeSet<IpAddr>),
    /// The server does not answer: its link-layer address may have changed.
    Suspect(IpAddr),
}

/// The agent's end of the task that follows the kernel. Dropping it ends the task.
pub(crate) struct NetworkWatch {
    pub(crate) view: watch::Receiver<NetworkView>,
    pub(crate) commands: mpsc::UnboundedSender<NetCommand>,
    pub(crate) requests: Requests,
    _tasks: JoinSet<()>,
}

type Messages = UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>;

impl NetworkWatch {
    /// Opens a netlink socket in the current thread's network namespace and follows it.
    pub(crate) fn start(interfaces: Vec<String>) -> io::Result<Self> {
        let (connection, handle, messages) = rtnetlink::new_multicast_connection(&[
            MulticastGroup::Link,
            MulticastGroup::Neigh,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
            MulticastGroup::Ipv4Rule,
            MulticastGroup::Ipv6Rule,
        ])?;
        let requests = Requests::new(handle);
        let (view_tx, view) = watch::channel(NetworkView::default());
        let (commands, commands_rx) = mpsc::unbounded_channel();
        let follower = Follower {
            interfaces,
            requests: requests.clone(),
            table: NetworkTable::default(),
            wanted: BTreeSet::new(),
            suspected: BTreeMap::new(),
            stale: Stale::ALL,
            view: view_tx,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        tasks.spawn(follower.run(messages, commands_rx));
        Ok(Self {
            view,
            commands,
            requests,
            _tasks: tasks,
        })
    }
}

struct Follower {
    interfaces: Vec<String>,
    requests: Requests,
    table: NetworkTable,
    wanted: BTreeSet<IpAddr>,
    suspected: BTreeMap<NeighbourKey, Instant>,
    stale: Stale,
    view: watch::Sender<NetworkView>,
}

/// What has to be read from the kernel again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stale {
    everything: bool,
    addresses: bool,
    routes: bool,
}

impl Stale {
    const ALL: Self = Self {
        everything: true,
        addresses: true,
        routes: true,
    };
}

impl Follower {
    async fn run(
        mut self,
        mut messages: Messages,
        mut commands: mpsc::UnboundedReceiver<NetCommand>,
    ) {
        let mut probe = time::interval(PROBE_INTERVAL);
        let mut refresh = time::interval(REFRESH_INTERVAL);
        loop {
            tokio::select! {
                message = messages.next() => match message {
                    Some((message, _)) => self.note(message),
                    None => return,
                },
                command = commands.recv() => match command {
                    Some(command) => self.obey(command).await,
                    None => return,
                },
                _ = probe.tick() => self.probe().await,
                _ = refresh.tick() => self.stale = Stale::ALL,
            }
            // Whatever else has come in meanwhile belongs to the same change.
            let settled = time::sleep(SETTLE_TIME);
            tokio::pin!(settled);
            loop {
                tokio::select! {
                    () = &mut settled => break,
                    message = messages.next() => match message {
                        Some((message, _)) => self.note(message),
                        None => return,
                    },
                }
            }
            if let Err(error) = self.read_stale().await {
                warn!(error = %Chain(&error), "the kernel's network state cannot be read");
                self.stale = Stale::ALL;
                time::sleep(Duration::from_secs(1)).await;
                continue;
            }
            self.publish();
        }
    }

    fn note(&mut self, message: NetlinkMessage<RouteNetlinkMessage>) {
        let message = match message.payload {
            NetlinkPayload::InnerMessage(message) => message,
            NetlinkPayload::Overrun(_) => {
                self.stale = Stale::ALL;
                self.table.answers_lost += 1;
                return;
            }
            _ => return,
        };
        match message {
            RouteNetlinkMessage::NewNeighbour(neighbour) => self.table.note_neighbour(&neighbour),
            RouteNetlinkMessage::DelNeighbour(neighbour) => self.table.forget_neighbour(&neighbour),
            RouteNetlinkMessage::NewLink(link) => {
                self.table.note_link(&link);
                self.stale.routes = true;
            }
            RouteNetlinkMessage::DelLink(link) => {
                self.table.forget_link(&link);
                self.stale.routes = true;
            }
            RouteNetlinkMessage::NewAddress(_) | RouteNetlinkMessage::DelAddress(_) => {
                self.stale.addresses = true;
                self.stale.routes = true;
            }
            RouteNetlinkMessage::NewRoute(_) => self.stale.routes = true,
            RouteNetlinkMessage::DelRoute(route) => {
                self.stale.routes = true;
                self.table.answers_lost += u64::from(is_answer_route(&route));
            }
            RouteNetlinkMessage::DelRule(rule) => {
                self.table.answers_lost += u64::from(AnswerRule::of(&rule).is_some());
            }
            _ => {}
        }
    }

    async fn obey(&mut self, command: NetCommand) {
        match command {
            NetCommand::Want(addresses) => {
                if addresses != self.wanted {
                    self.wanted = addresses;
                    self.stale.routes = true;
                }
            }
            NetCommand::Suspect(address) => self.resolve_anew(address).await,
        }
    }

    /// Forgets the neighbour's address, so that the kernel asks everybody for it, not only whom it asked before.
    async fn resolve_anew(&mut self, address: IpAddr) {
        let Some(route) = self.table.routes.get(&address) else {
            self.stale.routes = true;
            return;
        };
        let key = route.via;
        let now = Instant::now();
        self.suspected
            .retain(|_, at| now.duration_since(*at) < SUSPECT_INTERVAL);
        // A gateway serves other servers as well: one that does not answer says nothing about the gateway.
        if key.address != address || self.table.is_fixed(key) || self.suspected.contains_key(&key) {
            return;
        }
        self.suspected.insert(key, now);
        for outcome in [
            self.requests.forget_neighbour(key).await,
            self.requests.use_neighbour(key).await,
        ] {
            if let Err(error) = outcome {
                debug!(%address, error = %Chain(&error), "resolving anew");
            }
        }
    }

    async fn read_stale(&mut self) -> Result<(), NetlinkError> {
        let Stale {
            everything,
            addresses,
            routes,
        } = std::mem::take(&mut self.stale);
        if everything {
            self.table.set_links(&self.requests.links().await?);
            self.table
                .set_neighbours(&self.requests.neighbours().await?);
        }
        if everything || addresses {
            self.table.set_addresses(&self.requests.addresses().await?);
        }
        if everything || routes {
            let mut found = BTreeMap::new();
            for address in &self.wanted {
                if let Some(route) = self.requests.route(*address).await? {
                    found.insert(*address, route);
                }
            }
            if found != self.table.routes {
                self.table.routes = found;
                self.probe().await;
            }
        }
        Ok(())
    }

    async fn probe(&mut self) {
        for key in self.table.hops() {
            if self.table.wants_probe(key)
                && let Err(error) = self.requests.use_neighbour(key).await
            {
                debug!(address = %key.address, error = %Chain(&error), "probing a neighbour");
            }
        }
    }

    fn publish(&mut self) {
        let view = self.table.view(&self.interfaces, &self.wanted);
        self.view.send_if_modified(|old| {
            let changed = *old != view;
            *old = view;
            changed
        });
    }
}
