use std::collections::{BTreeSet, HashMap};

use crate::{Prefix, Protocol, Service, ServiceMode, Violation};

/// What the layer-7 engine listens at, and the VIPs of layer-4 services that would take it away: their program sees a packet first,
/// and knows nothing of the engine.
#[derive(Default)]
pub(super) struct EngineVips<'a> {
    listening: Vec<Stated<'a>>,
    packets: Vec<Stated<'a>>,
}

/// A service, with its path if it is in the document.
#[derive(Clone, Copy)]
struct Stated<'a> {
    path: Option<&'a str>,
    service: &'a Service,
}

impl<'a> EngineVips<'a> {
    /// Adds a service, with its path if it is in the document.
    pub(super) fn add(&mut self, path: Option<&'a str>, service: &'a Service) {
        match service.mode {
            ServiceMode::L7(_) => self.listening.push(Stated { path, service }),
            ServiceMode::L4(_) => self.packets.push(Stated { path, service }),
        }
    }

    /// Each VIP of the engine whose packets another service would get.
    pub(super) fn violations(&self) -> Vec<Violation> {
        if self.listening.is_empty() {
            return Vec::new();
        }
        let mut packets: HashMap<Prefix, Vec<Stated<'a>>> = HashMap::new();
        for stated in &self.packets {
            for vip in &stated.service.vips {
                packets.entry(*vip).or_default().push(*stated);
            }
        }
        let lengths: BTreeSet<u8> = packets.keys().map(|vip| vip.bits()).collect();
        let mut found = Vec::new();
        for Stated { path, service } in &self.listening {
            for (v, vip) in service.vips.iter().enumerate() {
                // Within its own VIP the engine leaves packets to whom they are for.
                let mut over = lengths
                    .range(..=vip.bits())
                    .filter_map(|bits| taker(&packets, service, *vip, *bits));
                let Some((their_path, their_vip, other)) = over.next_back() else {
                    continue;
                };
                let path = match (path, their_path) {
                    (Some(path), _) => format!("{path}.vips[{v}]"),
                    (None, Some(path)) => format!("{path}.vips"),
                    (None, None) => continue,
                };
                found.push(Violation::new(
                    path,
                    format!(
                        "{vip} of service `{}` is in VIP {their_vip} of service `{}`, which takes its packets before the engine: give one \
                         of them another VIP or port",
                        service.name, other.name
                    ),
                ));
            }
        }
        found
    }
}

/// Who has a port of the service at a prefix of this length around its VIP.
fn taker<'a>(
    packets: &HashMap<Prefix, Vec<Stated<'a>>>,
    service: &Service,
    vip: Prefix,
    bits: u8,
) -> Option<(Option<&'a str>, Prefix, &'a Service)> {
    let prefix = Prefix::around(vip.address(), bits)?;
    let takes = |other: &Service| {
        // The same VIP, port and protocol is a mistake of its own.
        let is_same = prefix == vip && other.protocol == service.protocol;
        let has_protocol = other.protocol == service.protocol || other.protocol == Protocol::Any;
        let mut ports = service.ports.ranges().iter();
        has_protocol
            && !is_same
            && ports.any(|a| other.ports.ranges().iter().any(|b| a.overlaps(*b)))
    };
    let mut having = packets.get(&prefix)?.iter();
    let Stated { path, service } = having.find(|it| takes(it.service))?;
    Some((*path, prefix, service))
}
