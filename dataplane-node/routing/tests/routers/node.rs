use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use lbfabric_bgp::{Attributes, AttributesSpec, End, Prefix, State};
use lbfabric_routing::{
    BfdReport, BfdThread, HandedBfd, NeighborReport, Routes, Speaker, SpeakerConfig,
};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::namespace::Namespace;
use crate::network::until;
use crate::peering::Setup;

/// A speaker with BFD in a namespace, and one neighbor that is asked about.
pub(crate) struct Node {
    speaker: Option<Speaker>,
    config: watch::Sender<Arc<SpeakerConfig>>,
    routes: watch::Sender<Arc<Routes>>,
    bfd: BfdThread,
    runtime: Runtime,
}

pub(crate) const NEIGHBOR: &str = "router";
/// Its session begins after the first one's.
const SECOND: &str = "router2";
/// For what takes a router a connection or two.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

// === impl Node ===

impl Node {
    pub(crate) fn start(namespace: &Namespace, setup: Setup) -> Self {
        Self::start_with_routes(namespace, setup, Routes::default())
    }

    /// One that has something to say from its first session on: what that leaves out, a router that kept it takes for withdrawn.
    pub(crate) fn start_with_routes(namespace: &Namespace, setup: Setup, routes: Routes) -> Self {
        Self::start_all(namespace, [setup], routes)
    }

    /// As [`Self::start_with_routes`], with up to two neighbors.
    pub(crate) fn start_all(
        namespace: &Namespace,
        setups: impl IntoIterator<Item = Setup> + Send,
        routes: Routes,
    ) -> Self {
        Self::start_with(namespace, setups, routes, || {
            BfdThread::start().expect("the namespace's ports are free")
        })
    }

    /// As [`Self::start_with_routes`]; it goes on with what another has given.
    pub(crate) fn resume(
        namespace: &Namespace,
        setup: Setup,
        routes: Routes,
        handed: HandedBfd,
    ) -> Self {
        Self::start_with(namespace, [setup], routes, || {
            BfdThread::resume(handed).expect("a thread can be made")
        })
    }

    fn start_with(
        namespace: &Namespace,
        setups: impl IntoIterator<Item = Setup> + Send,
        routes: Routes,
        bfd: impl FnOnce() -> BfdThread + Send,
    ) -> Self {
        namespace.within(|| {
            let bfd = bfd();
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .expect("a runtime can be made");
            let (config, configs) = watch::channel(Arc::new(speaker(setups)));
            let (routes, wanted) = watch::channel(Arc::new(routes));
            let speaker = {
                let _inside = runtime.enter();
                Speaker::start(configs, wanted, Some(bfd.handle()))
            };
            Self {
                speaker: Some(speaker),
                config,
                routes,
                bfd,
                runtime,
            }
        })
    }

    pub(crate) fn configure(&self, setup: Setup) {
        self.config.send_replace(Arc::new(speaker([setup])));
    }

    /// It has no neighbor any more.
    pub(crate) fn forget(&self) {
        self.config.send_replace(Arc::new(speaker([])));
    }

    pub(crate) fn announce(&self, routes: Routes) {
        self.routes.send_replace(Arc::new(routes));
    }

    pub(crate) fn reset(&self) {
        self.speaker().reset(NEIGHBOR, "a test wants it");
    }

    pub(crate) fn report(&self) -> NeighborReport {
        let mut reports = self.runtime.block_on(self.speaker().neighbors());
        reports.pop().expect("there is a neighbor")
    }

    pub(crate) fn sent(&self) -> Vec<Prefix> {
        let sent = self.runtime.block_on(self.speaker().routes(NEIGHBOR));
        let sent = sent.expect("there is a neighbor");
        sent.into_iter().map(|(prefix, _)| prefix).collect()
    }

    pub(crate) fn bfd(&self) -> Vec<BfdReport> {
        self.runtime.block_on(self.bfd.handle().report())
    }

    pub(crate) fn shut_down(&mut self) {
        if let Some(speaker) = self.speaker.take() {
            self.runtime.block_on(speaker.shut_down("the test is over"));
        }
    }

    /// Gives BFD away, and ends its session without a word. What is left repeats BFD's packets.
    pub(crate) fn hand_over(&mut self) -> HandedBfd {
        let handed = self.runtime.block_on(self.bfd.hand_over());
        self.speaker = None;
        handed.expect("its sockets can be given")
    }

    /// Ends its session without a word; BFD says so (`AdminDown`).
    pub(crate) fn fall_silent(&mut self) {
        self.speaker = None;
    }

    /// Waits for a session, the so many-th at least.
    pub(crate) fn until_established(&self, sessions: u64) {
        until("a session", PATIENCE, || {
            let report = self.report();
            let is_up = report.state == State::Established && report.sessions >= sessions;
            is_up.then_some(()).ok_or(format!("{report:?}"))
        });
    }

    /// Waits until a connection has ended by the router's NOTIFICATION.
    pub(crate) fn until_told(&self, code: u8, subcode: u8) {
        self.until_ended(code, subcode, |end| match end {
            End::Received(it) => Some((it.code(), it.subcode())),
            End::Sent(_) | End::Lost => None,
        });
    }

    /// Waits until a connection has ended by ours.
    pub(crate) fn until_tells(&self, code: u8, subcode: u8) {
        self.until_ended(code, subcode, |end| match end {
            End::Sent(it) => Some((it.code(), it.subcode())),
            End::Received(_) | End::Lost => None,
        });
    }

    fn until_ended(&self, code: u8, subcode: u8, codes: impl Fn(&End) -> Option<(u8, u8)>) {
        let what = format!("an end with {code}/{subcode}");
        until(&what, PATIENCE, || {
            let end = self.report().last_end;
            let is_so = end.as_ref().and_then(|(_, end)| codes(end)) == Some((code, subcode));
            is_so.then_some(()).ok_or(format!("{end:?}"))
        });
    }

    fn speaker(&self) -> &Speaker {
        self.speaker.as_ref().expect("it is not shut down")
    }
}

fn speaker(setups: impl IntoIterator<Item = Setup>) -> SpeakerConfig {
    let names = [NEIGHBOR, SECOND].map(str::to_owned);
    let setups = setups.into_iter().map(Setup::done);
    let neighbors: BTreeMap<_, _> = names.into_iter().zip(setups).collect();
    SpeakerConfig::new(Some(179), neighbors).expect("these settings are valid")
}

/// VIPs of both families with the same attributes.
pub(crate) fn routes(addresses: &[&str], spec: &AttributesSpec) -> Routes {
    let attributes = Arc::new(Attributes::try_from(spec.clone()).expect("they are few"));
    let route = |address: &&str| {
        let address: IpAddr = address.parse().expect("it is an address");
        (Prefix::host(address), Arc::clone(&attributes))
    };
    Routes {
        prefixes: addresses.iter().map(route).collect(),
        ..Routes::default()
    }
}
