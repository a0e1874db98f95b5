//! What a service of the layer-7 engine allows.

use super::Service;
use crate::{Affinity, Listening, Ports, Protocol, wire_enum::WireEnum as _};

/// Sockets that a service may listen with on each worker of a node: one for each VIP and port. Or entries of its for where
/// connections go, if it listens transparently.
const LISTEN_ADDRESSES_MAX: usize = 1_024;

impl Service {
    pub(super) fn check_engine(&self, refuse: &mut impl FnMut(&str, String)) {
        let mode = self.mode.name();
        self.check_carried(refuse);
        match self.listening() {
            Listening::Addresses => self.check_listen_addresses(refuse),
            Listening::Transparent => self.check_steered(refuse),
        }
        for (field, is_set) in [
            ("affinity", self.affinity != Affinity::FiveTuple),
            ("tunnel", self.tunnel.is_some()),
            ("clamp_mss", self.clamp_mss),
            ("client_address_option", self.client_address_option),
            ("limits", !self.limits.is_empty()),
            ("allow_sources", !self.source_rules.allow.is_empty()),
            ("deny_sources", !self.source_rules.deny.is_empty()),
        ] {
            if is_set {
                let instead = match field {
                    "deny_sources" => "use `proxy.deny_sources`",
                    _ => "leave it out",
                };
                refuse(
                    field,
                    format!(
                        "it works on packets, and `{mode}` ends connections: {instead}, or use a layer-4 mode"
                    ),
                );
            }
        }
    }

    pub(crate) fn listening(&self) -> Listening {
        self.proxy
            .as_ref()
            .map_or_else(Listening::default, |it| it.listening)
    }

    /// Connections to VIPs that are configured nowhere.
    fn check_steered(&self, refuse: &mut impl FnMut(&str, String)) {
        if self.ports == Ports::Any {
            if self.protocol == Protocol::Udp {
                refuse(
                    "ports",
                    "answers to datagrams leave from the port that clients use: name it".to_owned(),
                );
            } else if self.backend_port.is_none() {
                refuse(
                    "backend_port",
                    "clients may come to any port: say at which one servers listen".to_owned(),
                );
            }
            return;
        }
        self.check_number(refuse, "entries");
    }

    /// The engine listens with a socket of its own at each address and port.
    fn check_listen_addresses(&self, refuse: &mut impl FnMut(&str, String)) {
        let mode = self.mode.name();
        for (i, vip) in self.vips.iter().enumerate() {
            if !vip.is_single() {
                refuse(
                    &format!("vips[{i}]"),
                    format!(
                        "`{mode}` listens at addresses, and {vip} is a prefix: name the addresses, or let `proxy.listening` be `transparent`"
                    ),
                );
            }
        }
        if self.ports == Ports::Any {
            refuse(
                "ports",
                format!(
                    "`{mode}` listens at ports: name them, or let `proxy.listening` be `transparent`"
                ),
            );
            return;
        }
        self.check_number(refuse, "sockets");
    }

    fn check_number(&self, refuse: &mut impl FnMut(&str, String), what: &str) {
        let width = |first: u16, last: u16| usize::from(last - first) + 1;
        let ranges = self.ports.ranges().iter();
        let ports: usize = ranges.map(|range| width(range.first, range.last)).sum();
        let addresses = ports * self.vips.len();
        if addresses > LISTEN_ADDRESSES_MAX {
            refuse(
                "ports",
                format!(
                    "{ports} ports at {} VIPs are {addresses} {what}, {LISTEN_ADDRESSES_MAX} at most: name fewer, or split the service",
                    self.vips.len()
                ),
            );
        }
    }
}
