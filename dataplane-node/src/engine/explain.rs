//! What the engine would do with a connection and a request, and why: by its own configuration and tables, as they are loaded. Nothing is counted.
//!
//! ```text
//! PacketQuestion ─► the part that listens there ─► connection ─► request (RouteTable) ─► servers (PoolView) ─► Explanation
//! ```

mod connection;
mod request;
mod servers;

use std::net::SocketAddr;

use lbfabric_model::{
    Carries, ObjectKey, ObjectKind, PacketQuestion, Ports, Protocol, ProxyMode, snapshot::NodeProxy,
};
use lbfabric_proto::v1;
use lbfabric_proxy::{Engine, ServiceKey};

use super::{EngineDriver, wanted::Behaviour};
use crate::plan::{Desired, HealthView};

/// What is known around a question.
struct Asked<'a> {
    question: &'a PacketQuestion,
    desired: &'a Desired,
    health: &'a HealthView,
    engine: &'a Engine,
    key: ServiceKey,
}

/// The answer, as it comes to be.
#[derive(Debug, Default)]
struct Told {
    pool: String,
    server: String,
    proxy: v1::ProxyExplanation,
    steps: Vec<String>,
}

/// It goes no further.
struct Ends;

impl EngineDriver {
    /// What the engine would do with a client's first packet and what comes behind it; none if it has nothing at its destination.
    pub(crate) fn explain(
        &self,
        question: &PacketQuestion,
        desired: &Desired,
        health: &HealthView,
    ) -> Option<v1::Explanation> {
        let to = question.destination;
        let proxies = desired.proxies.iter();
        let fitting = proxies.filter_map(|(id, it)| {
            let fit = fit(it, to, question.protocol)?;
            Some((fit, id, it))
        });
        let (_, &id, service) = fitting.max_by_key(|(fit, ..)| *fit)?;
        let name = name_of(desired, ObjectKind::Service, id.0);
        let mut told = Told::of(service, &name, question);
        let told_of = |key: ServiceKey| Asked {
            question,
            desired,
            health,
            engine: self.engine(),
            key,
        };
        let refused = self.refusal(id);
        if let Some(reason) = refused {
            told.step(format!("the node does not serve it as it is to: {reason}"));
        }
        let end = if question.protocol == Protocol::Udp {
            let part = self.told_datagrams().part_at(id, to);
            part.map(|(key, part)| told_of(key).datagrams(service, &part.config, &mut told))
        } else {
            let part = self.part_at(id, to);
            part.map(|(key, behaviour, proxy)| told_of(key).connection(behaviour, proxy, &mut told))
        };
        if end.is_none() && refused.is_none() {
            told.step("the node does not listen there yet".to_owned());
        }
        Some(told.explanation(name))
    }
}

// === impl Told ===

impl Told {
    fn of(service: &NodeProxy, name: &str, question: &PacketQuestion) -> Self {
        let (protocol, carries) = match (question.protocol, service.proxy.carries) {
            (Protocol::Udp, _) => ("udp", "udp"),
            (Protocol::Tcp | Protocol::Any, Carries::Http) => ("tcp", "http"),
            (Protocol::Tcp | Protocol::Any, Carries::Tcp) => ("tcp", "tcp"),
            (Protocol::Tcp | Protocol::Any, Carries::TlsPassthrough) => ("tcp", "tls-passthrough"),
        };
        let mode = match service.mode {
            ProxyMode::Reverse => "l7-reverse",
            ProxyMode::Transparent => "l7-transparent",
        };
        let to = question.destination;
        Self {
            steps: vec![
                "no service of layer 4 has it: the kernel gets it, for the layer-7 engine"
                    .to_owned(),
                format!(
                    "service {name} serves {protocol} port {} of {} in mode {mode}, and carries {carries}",
                    to.port(),
                    to.ip()
                ),
            ],
            proxy: v1::ProxyExplanation {
                mode: mode.to_owned(),
                carries: carries.to_owned(),
                ..v1::ProxyExplanation::default()
            },
            ..Self::default()
        }
    }

    fn step(&mut self, step: String) {
        self.steps.push(step);
    }

    /// A last step.
    fn ends(&mut self, step: String) -> Ends {
        self.step(step);
        Ends
    }

    fn explanation(self, service: String) -> v1::Explanation {
        let Self {
            pool,
            server,
            proxy,
            steps,
        } = self;
        v1::Explanation {
            service,
            pool,
            server,
            steps,
            proxy: Some(proxy),
            ..v1::Explanation::default()
        }
    }
}

/// How well a service fits clients that come there: by the length of its VIP, and then whether it names the port; none: not at all.
fn fit(service: &NodeProxy, to: SocketAddr, protocol: Protocol) -> Option<(u8, bool)> {
    let has_port =
        |range: &lbfabric_model::PortRange| (range.first..=range.last).contains(&to.port());
    if service.protocol != protocol || !service.ports.ranges().iter().any(has_port) {
        return None;
    }
    let vips = service.vips.iter().filter(|vip| vip.contains(to.ip()));
    let bits = vips.map(|vip| vip.bits()).max()?;
    Some((bits, service.ports != Ports::Any))
}

/// What an object is called; its id, if it has no name.
fn name_of(desired: &Desired, kind: ObjectKind, id: u32) -> String {
    let name = desired.names.get(&ObjectKey { kind, id });
    let name = name.filter(|name| !name.is_empty());
    name.map_or_else(|| id.to_string(), String::clone)
}

#[cfg(test)]
mod tests;
