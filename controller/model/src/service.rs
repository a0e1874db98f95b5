use std::num::NonZeroU16;

use lbfabric_abi::SERVICE_VIPS_MAX;
use lbfabric_proto::v1;

use crate::{
    Affinity, Announcement, Limits, Mode, Name, PortRange, Ports, Prefix, Protocol, Proxy,
    ServiceMode, SourceRules, Tunnel, Violation, fields::Fields, vip::parse_vip,
    wire_enum::WireEnum as _,
};

mod announced;
mod carried;
mod combination;
mod engine;
mod pools;

pub(crate) use pools::{PoolPlace, named_pools};

/// A load-balanced service, valid by itself: its pool and its neighbours are checked by the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The object's name.
    pub name: Name,
    /// Its addresses and prefixes, at least one, each once.
    pub vips: Vec<Prefix>,
    /// Its ports.
    pub ports: Ports,
    /// Its protocol.
    pub protocol: Protocol,
    /// How packets or connections reach the servers.
    pub mode: ServiceMode,
    /// The pool's name.
    pub pool: Name,
    /// Which packets reach the same server.
    pub affinity: Affinity,
    /// The servers' port; `None`: the client's choice.
    pub backend_port: Option<NonZeroU16>,
    /// How packets are encapsulated, in [`Mode::Tunnel`] and only there.
    pub tunnel: Option<Tunnel>,
    /// Whether the segment size in a SYN is lowered to what fits the path.
    pub clamp_mss: bool,
    /// Whether the server is told the client's address in a TCP option.
    pub client_address_option: bool,
    /// How many new flows it takes.
    pub limits: Limits,
    /// Which clients may use it.
    pub source_rules: SourceRules,
    /// What the engine does, in [`ServiceMode::L7`] and only there.
    pub proxy: Option<Proxy>,
    /// How its clients' packets find their way to nodes; `None`: by other means.
    pub announcement: Option<Announcement>,
}

impl Service {
    /// The certificates that it uses: those of TLS with clients in their order, then that for servers.
    pub(crate) fn certificates(&self) -> Vec<&Name> {
        let Some(proxy) = &self.proxy else {
            return Vec::new();
        };
        let for_clients = proxy.tls.iter().flat_map(|tls| &tls.certificates);
        let for_servers = proxy.server_tls.iter();
        let for_servers = for_servers.filter_map(|tls| tls.certificate.as_ref());
        for_clients.chain(for_servers).collect()
    }

    /// The field that names one of [`Self::certificates`].
    pub(crate) fn certificate_field(&self, i: usize) -> String {
        let tls = self.proxy.as_ref().and_then(|proxy| proxy.tls.as_ref());
        if i < tls.map_or(0, |tls| tls.certificates.len()) {
            format!("proxy.tls.certificates[{i}]")
        } else {
            "proxy.server_tls.certificate".to_owned()
        }
    }

    pub(crate) fn parse(
        spec: &v1::ServiceSpec,
        path: &str,
        violations: &mut Vec<Violation>,
    ) -> Option<Self> {
        let before = violations.len();
        let mut keep =
            |result: Result<Name, Violation>| result.map_err(|v| violations.push(v)).ok();
        let name = keep(Name::parse(&spec.name, &format!("{path}.name")));
        let pool = keep(Name::parse(&spec.pool, &format!("{path}.pool")));
        let vips = parse_vips(&spec.vips, path, violations);
        let ports = Ports::parse(&spec.ports, &format!("{path}.ports"), violations);
        let mode = ServiceMode::parse(spec.mode, path, violations);
        let protocol = Protocol::parse(spec.protocol, path, violations);
        let affinity = Affinity::parse(spec.affinity, path, violations);
        let backend_port = parse_backend_port(spec.backend_port, path, violations);
        let tunnel = match &spec.tunnel {
            Some(tunnel) => Tunnel::parse(tunnel, &format!("{path}.tunnel"), violations),
            None => (mode.and_then(ServiceMode::l4) == Some(Mode::Tunnel)).then(Tunnel::default),
        };
        let mut proxy = match &spec.proxy {
            Some(proxy) => Proxy::parse(proxy, &format!("{path}.proxy"), violations),
            None => mode.and_then(ServiceMode::l7).map(|_| Proxy::default()),
        };
        if let (Some(proxy), Some(Protocol::Udp)) = (&mut proxy, protocol) {
            proxy.udp.get_or_insert_default();
        }
        let limits = spec.limits.unwrap_or_default();
        let limits = Limits::parse(&limits, &format!("{path}.limits"), violations);
        let source_rules =
            SourceRules::parse(&spec.allow_sources, &spec.deny_sources, path, violations);
        let announcement = spec
            .announce
            .as_ref()
            .and_then(|it| Announcement::parse(it, &format!("{path}.announce"), violations));
        if violations.len() > before {
            return None;
        }
        let service = Self {
            name: name?,
            vips,
            ports,
            protocol: protocol?,
            mode: mode?,
            pool: pool?,
            affinity: affinity?,
            backend_port,
            tunnel,
            clamp_mss: spec.clamp_mss,
            client_address_option: spec.client_address_option,
            limits,
            source_rules,
            proxy,
            announcement,
        };
        service.check_combination(path, violations);
        (violations.len() == before).then_some(service)
    }

    /// The ports on the servers.
    pub fn backend_ports(&self) -> Vec<PortRange> {
        match self.backend_port {
            Some(port) => vec![PortRange {
                first: port.get(),
                last: port.get(),
            }],
            None => self.ports.ranges().to_vec(),
        }
    }

    /// The specification with every default filled in.
    pub fn to_spec(&self) -> v1::ServiceSpec {
        let Self {
            name,
            vips,
            ports,
            protocol,
            mode,
            pool,
            affinity,
            backend_port,
            tunnel,
            clamp_mss,
            client_address_option,
            limits,
            source_rules: SourceRules { allow, deny },
            proxy,
            announcement,
        } = self;
        let texts = |prefixes: &[Prefix]| prefixes.iter().map(Prefix::to_string).collect();
        v1::ServiceSpec {
            name: name.to_string(),
            vips: texts(vips),
            ports: ports.to_spec(),
            protocol: protocol.to_proto().into(),
            mode: mode.to_proto().into(),
            pool: pool.to_string(),
            affinity: affinity.to_proto().into(),
            backend_port: backend_port.map_or(0, |p| p.get().into()),
            tunnel: tunnel.map(Tunnel::to_spec),
            clamp_mss: *clamp_mss,
            client_address_option: *client_address_option,
            limits: limits.to_spec(),
            allow_sources: texts(allow),
            deny_sources: texts(deny),
            proxy: proxy.as_ref().map(Proxy::to_spec),
            announce: announcement.as_ref().map(Announcement::to_spec),
        }
    }

    pub(crate) fn fields(&self) -> Fields {
        let Self {
            name: _,
            vips,
            ports,
            protocol,
            mode,
            pool,
            affinity,
            backend_port,
            tunnel,
            clamp_mss,
            client_address_option,
            limits,
            source_rules,
            proxy,
            announcement,
        } = self;
        let mut fields = Fields::default();
        fields.put_list("vips", vips);
        fields.put_list("ports", ports.to_spec());
        fields.put("protocol", protocol.name());
        fields.put("mode", mode.name());
        fields.put("pool", pool);
        fields.put("affinity", affinity.name());
        fields.put_list("backend_port", backend_port);
        if let Some(tunnel) = tunnel {
            tunnel.fields(&mut fields);
        }
        fields.put("clamp_mss", clamp_mss);
        fields.put("client_address_option", client_address_option);
        limits.fields(&mut fields);
        source_rules.fields(&mut fields);
        if let Some(proxy) = proxy {
            proxy.fields(&mut fields);
        }
        if let Some(announcement) = announcement {
            announcement.fields(&mut fields);
        }
        fields
    }
}

fn parse_vips(texts: &[String], path: &str, violations: &mut Vec<Violation>) -> Vec<Prefix> {
    check_count(
        texts.len(),
        SERVICE_VIPS_MAX,
        "VIPs",
        &format!("{path}.vips"),
        violations,
    );
    let mut vips: Vec<Prefix> = Vec::new();
    for (i, text) in texts.iter().enumerate() {
        let path = format!("{path}.vips[{i}]");
        match parse_vip(text, &path) {
            Ok(vip) if vips.contains(&vip) => violations.push(Violation::new(
                path,
                format!("{vip} stands here twice: name it once"),
            )),
            Ok(vip) => vips.push(vip),
            Err(violation) => violations.push(violation),
        }
    }
    vips
}

fn parse_backend_port(
    port: u32,
    path: &str,
    violations: &mut Vec<Violation>,
) -> Option<NonZeroU16> {
    let Ok(port) = u16::try_from(port) else {
        violations.push(Violation::new(
            format!("{path}.backend_port"),
            format!("{port} is not a port: use 1 to 65535, or leave it out to keep the client's"),
        ));
        return None;
    };
    NonZeroU16::new(port)
}

pub(crate) fn check_count(
    count: usize,
    max: usize,
    what: &str,
    path: &str,
    violations: &mut Vec<Violation>,
) {
    if count == 0 || count > max {
        violations.push(Violation::new(
            path,
            format!("{count} {what}: give 1 to {max}"),
        ));
    }
}
