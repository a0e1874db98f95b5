use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use lbfabric_bgp::{
    Attributes, AttributesSpec, Hops, NeighborConfig, NeighborSpec, NextHops, PerFamily, Prefix,
    Transport,
};
use lbfabric_routing::{
    BfdReport, BfdThread, NeighborReport, NeighborSetup, Routes, Speaker, SpeakerConfig,
};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::namespace::Namespace;
use crate::network::{ROUTER, node_addresses};

/// A speaker with BFD in a namespace, and one neighbor.
pub(crate) struct Node {
    speaker: Option<Speaker>,
    config: watch::Sender<Arc<SpeakerConfig>>,
    routes: watch::Sender<Arc<Routes>>,
    bfd: BfdThread,
    runtime: Runtime,
}

pub(crate) const LOCAL_AS: u32 = 65_010;
pub(crate) const NEIGHBOR: &str = "router";

// === impl Node ===

impl Node {
    pub(crate) fn start(namespace: &Namespace, setup: NeighborSetup) -> Self {
        namespace.within(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .expect("a runtime can be made");
            let bfd = BfdThread::start().expect("the namespace's ports are free");
            let (config, configs) = watch::channel(Arc::new(speaker(setup)));
            let (routes, wanted) = watch::channel(Arc::default());
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

    pub(crate) fn configure(&self, setup: NeighborSetup) {
        self.config.send_replace(Arc::new(speaker(setup)));
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

    fn speaker(&self) -> &Speaker {
        self.speaker.as_ref().expect("it is not shut down")
    }
}

fn speaker(setup: NeighborSetup) -> SpeakerConfig {
    let neighbors = BTreeMap::from([(NEIGHBOR.to_owned(), setup)]);
    SpeakerConfig::new(Some(179), neighbors).expect("these settings are valid")
}

/// How a node's neighbor is set up, before a test changes it.
pub(crate) struct Setup {
    pub(crate) spec: NeighborSpec,
    pub(crate) transport: Transport,
    pub(crate) bfd: Option<lbfabric_routing::BfdTimers>,
}

// === impl Setup ===

impl Setup {
    /// The router as an external neighbor, over IPv4, both families.
    pub(crate) fn of(number: usize) -> Self {
        let (ipv4, ipv6) = node_addresses(number);
        Self {
            spec: NeighborSpec {
                local_as: LOCAL_AS,
                router_id: ipv4.parse().expect("it is an address"),
                peer_as: 65_020,
                is_passive: false,
                hold_time_secs: 90,
                families: PerFamily::from_each(|_| true),
                next_hops: NextHops {
                    ipv4: ipv4.parse::<Ipv4Addr>().ok(),
                    ipv6: ipv6.parse().ok(),
                    link_local: None,
                },
                extended_next_hop: false,
                graceful_restart: None,
                import_default: PerFamily::default(),
                enforce_first_as: true,
            },
            transport: Transport {
                peer: ROUTER.0.parse().expect("it is an address"),
                port: 179,
                local: ipv4.parse().ok(),
                hops: Hops::Link,
                md5_secret: None,
            },
            bfd: None,
        }
    }

    pub(crate) fn over_ipv6(mut self, number: usize) -> Self {
        self.transport.peer = ROUTER.1.parse().expect("it is an address");
        self.transport.local = node_addresses(number).1.parse().ok();
        self
    }

    pub(crate) fn done(self) -> NeighborSetup {
        NeighborSetup {
            config: NeighborConfig::try_from(self.spec).expect("these settings are valid"),
            transport: self.transport,
            interface: None,
            bfd: self.bfd,
        }
    }
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
