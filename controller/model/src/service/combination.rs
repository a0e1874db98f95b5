//! What each field of a service allows by itself, but not together with another.

use super::Service;
use crate::{Affinity, Mode, Ports, Protocol, ServiceMode, Violation, wire_enum::WireEnum as _};

impl Service {
    pub(super) fn check_combination(&self, path: &str, violations: &mut Vec<Violation>) {
        let mut refuse = |field: &str, reason: String| {
            violations.push(Violation::new(format!("{path}.{field}"), reason));
        };
        self.check_announcement(&mut refuse);
        if let ServiceMode::L7(_) = self.mode {
            self.check_engine(&mut refuse);
            return;
        }
        self.check_any_protocol(&mut refuse);
        self.check_transport(&mut refuse);
        self.check_mode(&mut refuse);
    }

    /// Without a transport protocol there are no ports, and nothing that can be rewritten.
    fn check_any_protocol(&self, refuse: &mut impl FnMut(&str, String)) {
        if self.protocol != Protocol::Any {
            return;
        }
        if self.ports != Ports::Any {
            refuse(
                "ports",
                "protocol `any` has no ports: write `[any]`, or set protocol `tcp` or `udp`"
                    .to_owned(),
            );
        }
        if !matches!(self.mode.l4(), Some(Mode::Dsr | Mode::Tunnel)) {
            refuse(
                "protocol",
                format!(
                    "`{}` rewrites TCP and UDP only: use `tcp` or `udp`, or the mode `l4-dsr` or `l4-tunnel`",
                    self.mode.name()
                ),
            );
        }
        if !self.limits.is_empty() {
            refuse(
                "limits",
                "only TCP and UDP have flows to count: leave it out, or set protocol `tcp` or `udp`"
                    .to_owned(),
            );
        }
    }

    /// What only TCP or only UDP has.
    fn check_transport(&self, refuse: &mut impl FnMut(&str, String)) {
        let protocol = self.protocol.name();
        if self.affinity == Affinity::QuicCid && self.protocol != Protocol::Udp {
            refuse(
                "affinity",
                format!(
                    "`quic-cid` reads QUIC, which is UDP: set protocol `udp` instead of `{protocol}`, or use another affinity"
                ),
            );
        }
        for (field, is_set) in [
            ("clamp_mss", self.clamp_mss),
            ("client_address_option", self.client_address_option),
        ] {
            if is_set && self.protocol != Protocol::Tcp {
                refuse(
                    field,
                    format!("`{protocol}` has no TCP options: leave it out, or set protocol `tcp`"),
                );
            }
        }
    }

    /// What only some modes can do.
    fn check_mode(&self, refuse: &mut impl FnMut(&str, String)) {
        let mode = self.mode.name();
        if self.backend_port.is_some()
            && !matches!(self.mode.l4(), Some(Mode::Dnat | Mode::Fullnat))
        {
            refuse(
                "backend_port",
                format!(
                    "`{mode}` delivers the client's packet unchanged: leave it out, or use `l4-dnat`, `l4-fullnat` or `l7-reverse`"
                ),
            );
        }
        if self.backend_port.is_some() && self.ports.single().is_none() {
            refuse(
                "backend_port",
                "several ports cannot go to one: leave it out, or give the service a single port"
                    .to_owned(),
            );
        }
        if self.tunnel.is_some() && self.mode != Mode::Tunnel {
            refuse(
                "tunnel",
                format!("`{mode}` does not encapsulate: leave it out, or use `l4-tunnel`"),
            );
        }
        if self.proxy.is_some() {
            refuse(
                "proxy",
                format!("`{mode}` forwards packets: leave it out, or use `l7-reverse`"),
            );
        }
        if self.client_address_option && self.mode != Mode::Fullnat {
            refuse(
                "client_address_option",
                format!(
                    "in `{mode}` the server sees the client's address anyway: leave it out, or use `l4-fullnat`"
                ),
            );
        }
    }
}
