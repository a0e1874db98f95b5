//! What a service of the layer-7 engine allows.

use super::Service;
use crate::{Affinity, Ports, wire_enum::WireEnum as _};

/// Sockets that a service may listen with on each worker of a node: one for each VIP and port.
const LISTEN_ADDRESSES_MAX: usize = 1_024;

impl Service {
    pub(super) fn check_engine(&self, refuse: &mut impl FnMut(&str, String)) {
        let mode = self.mode.name();
        self.check_carried(refuse);
        self.check_listen_addresses(refuse);
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

    /// The engine listens with a socket of its own at each address and port.
    fn check_listen_addresses(&self, refuse: &mut impl FnMut(&str, String)) {
        let mode = self.mode.name();
        for (i, vip) in self.vips.iter().enumerate() {
            if !vip.is_single() {
                refuse(
                    &format!("vips[{i}]"),
                    format!(
                        "`{mode}` listens at addresses, and {vip} is a prefix: name the addresses, or use a layer-4 mode"
                    ),
                );
            }
        }
        if self.ports == Ports::Any {
            refuse(
                "ports",
                format!("`{mode}` listens at ports: name them, or use a layer-4 mode"),
            );
            return;
        }
        let width = |first: u16, last: u16| usize::from(last - first) + 1;
        let ranges = self.ports.ranges().iter();
        let ports: usize = ranges.map(|range| width(range.first, range.last)).sum();
        let addresses = ports * self.vips.len();
        if addresses > LISTEN_ADDRESSES_MAX {
            refuse(
                "ports",
                format!(
                    "{ports} ports at {} VIPs are {addresses} sockets, {LISTEN_ADDRESSES_MAX} at most: name fewer, or split the service",
                    self.vips.len()
                ),
            );
        }
    }
}
