//! What a service of the layer-7 engine allows by what its connections carry: what would not be looked at is refused.

use super::Service;
use crate::{
    Algorithm, Balancing, Carries, ClientCertificates, HashOn, Protocol, Proxy, ProxyMode,
    ServiceMode, wire_enum::WireEnum as _,
};

impl Service {
    pub(super) fn check_carried(&self, refuse: &mut impl FnMut(&str, String)) {
        let mode = self.mode.name();
        match self.protocol {
            Protocol::Tcp => {}
            Protocol::Udp if self.mode == ServiceMode::L7(ProxyMode::Reverse) => {}
            Protocol::Udp => refuse(
                "protocol",
                format!("`{mode}` opens connections of TCP: leave it out, or use `l7-reverse`"),
            ),
            Protocol::Any => refuse(
                "protocol",
                format!("`{mode}` serves TCP or UDP: use one of them, or a layer-4 mode"),
            ),
        }
        let Some(proxy) = &self.proxy else {
            return;
        };
        if self.protocol == Protocol::Udp {
            check_datagrams(proxy, refuse);
            return;
        }
        if proxy.udp.is_some() {
            refuse(
                "proxy.udp",
                "it is for datagrams: leave it out, or set protocol `udp`".to_owned(),
            );
        }
        check_connections(proxy, refuse);
    }
}

/// Datagrams are relayed as they come, to servers in turn.
fn check_datagrams(proxy: &Proxy, refuse: &mut impl FnMut(&str, String)) {
    let default = Proxy::default();
    let Proxy {
        forwarded,
        timeouts,
        head_limits,
        tls,
        http2,
        carries,
        listening: _,
        udp: _,
        balancing,
        access_log: _,
        trace,
        proxy_protocol,
        server_tls,
        sni,
        routing,
    } = proxy;
    let own = [
        ("forwarded", *forwarded != default.forwarded),
        ("timeouts", *timeouts != default.timeouts),
        ("head_limits", *head_limits != default.head_limits),
        ("tls", tls.is_some()),
        ("http2", *http2 != default.http2),
        ("carries", *carries != default.carries),
        ("balancing", *balancing != default.balancing),
        ("trace", trace.is_some()),
        ("proxy_protocol", *proxy_protocol != default.proxy_protocol),
        ("server_tls", server_tls.is_some()),
        ("sni", sni.is_some()),
    ];
    for (field, is_set) in own.into_iter().chain(routing.said()) {
        if is_set {
            refuse(
                &format!("proxy.{field}"),
                "datagrams are relayed as they come: leave it out, or set protocol `tcp`"
                    .to_owned(),
            );
        }
    }
}

/// Of what is no HTTP, there is nothing to be read and nothing to be told in it.
fn check_connections(proxy: &Proxy, refuse: &mut impl FnMut(&str, String)) {
    let carries = proxy.carries.name();
    if proxy.sni.is_some() && proxy.carries != Carries::TlsPassthrough {
        refuse(
            "proxy.sni",
            format!(
                "`{carries}` does not go by the name that a client of TLS asks for: leave it out, or let `carries` be `tls-passthrough`"
            ),
        );
    }
    if proxy.carries == Carries::Http {
        return;
    }
    let default = Proxy::default();
    let Balancing {
        algorithm,
        sticky_cookie,
        ..
    } = &proxy.balancing;
    let is_of_head = match algorithm {
        Algorithm::Hash { on, .. } => *on != HashOn::Source,
        Algorithm::RoundRobin | Algorithm::LeastConnections | Algorithm::PeakEwma { .. } => false,
    };
    let own = [
        ("balancing.hash", is_of_head),
        ("balancing.sticky_cookie", sticky_cookie.is_some()),
        ("forwarded", proxy.forwarded != default.forwarded),
        ("head_limits", proxy.head_limits != default.head_limits),
        ("http2", proxy.http2 != default.http2),
        ("trace", proxy.trace.is_some()),
    ];
    let said = proxy.routing.said().into_iter();
    // These are counted whatever connections carry.
    let said = said.filter(|(field, _)| *field != "connection_limits");
    for (field, is_set) in own.into_iter().chain(said) {
        if is_set {
            refuse(
                &format!("proxy.{field}"),
                format!(
                    "`{carries}` is not read as HTTP: leave it out, or let `carries` be `http`"
                ),
            );
        }
    }
    let clients = proxy.tls.as_ref();
    let clients = clients.and_then(|tls| tls.client_certificates.as_ref());
    if clients.is_some_and(ClientCertificates::are_told) {
        refuse(
            "proxy.tls.client_certificates",
            format!(
                "`{carries}` has no header fields: leave out `subject_field` and `fingerprint_field`, or let `carries` be `http`"
            ),
        );
    }
    if proxy.carries == Carries::TlsPassthrough && proxy.server_tls.is_some() {
        refuse(
            "proxy.server_tls",
            "what goes on is the client's own TLS: leave it out, or let `carries` be `tcp`"
                .to_owned(),
        );
    }
    if proxy.carries == Carries::TlsPassthrough && proxy.tls.is_some() {
        refuse(
            "proxy.tls",
            "the servers end TLS, with their certificates: leave it out, or let `carries` be `tcp`, with which the node ends it"
                .to_owned(),
        );
    }
}
