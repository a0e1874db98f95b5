use std::{net::IpAddr, num::NonZeroU16};

use lbfabric_abi::{SERVICE_PORTS_MAX, SERVICE_VIPS_MAX};
use lbfabric_proto::v1;

use crate::{
    Affinity, Mode, Name, PortRange, Protocol, Violation,
    fields::Fields,
    vip::{family, parse_unicast},
    wire_enum::WireEnum as _,
};

/// A load-balanced service, valid by itself: its pool and its neighbours are checked by the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The object's name.
    pub name: Name,
    /// Its addresses, at least one, each once.
    pub vips: Vec<IpAddr>,
    /// Its ports, at least one, not overlapping.
    pub ports: Vec<PortRange>,
    /// Its protocol.
    pub protocol: Protocol,
    /// How packets reach the servers.
    pub mode: Mode,
    /// The pool's name.
    pub pool: Name,
    /// Which packets reach the same server.
    pub affinity: Affinity,
    /// The servers' port; `None`: the client's choice.
    pub backend_port: Option<NonZeroU16>,
}

impl Service {
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
        let ports = parse_ports(&spec.ports, path, violations);
        let mode = Mode::parse(spec.mode, path, violations);
        let protocol = Protocol::parse(spec.protocol, path, violations);
        let affinity = Affinity::parse(spec.affinity, path, violations);
        let backend_port = u16::try_from(spec.backend_port).ok().map(NonZeroU16::new);
        if backend_port.is_none() {
            violations.push(Violation::new(
                format!("{path}.backend_port"),
                format!(
                    "{} is not a port: use 1 to 65535, or leave it out to keep the client's",
                    spec.backend_port
                ),
            ));
        }
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
            backend_port: backend_port?,
        };
        service.check_combination(path, violations);
        (violations.len() == before).then_some(service)
    }

    /// What each field allows by itself, but not together with another.
    fn check_combination(&self, path: &str, violations: &mut Vec<Violation>) {
        let translates = matches!(self.mode, Mode::Dnat | Mode::Fullnat);
        if self.backend_port.is_some() && !translates {
            violations.push(Violation::new(
                format!("{path}.backend_port"),
                format!(
                    "`{}` delivers the client's packet unchanged: leave it out, or use `l4-dnat` or `l4-fullnat`",
                    self.mode.name()
                ),
            ));
        }
        let single = matches!(self.ports[..], [range] if range.is_single());
        if self.backend_port.is_some() && !single {
            violations.push(Violation::new(
                format!("{path}.backend_port"),
                "several ports cannot go to one: leave it out, or give the service a single port",
            ));
        }
        if self.mode == Mode::Dnat {
            for (i, vip) in self.vips.iter().enumerate() {
                let first = self.vips[..i].iter().find(|v| v.is_ipv4() == vip.is_ipv4());
                if let Some(first) = first {
                    violations.push(Violation::new(
                        format!("{path}.vips[{i}]"),
                        format!(
                            "an answer in `l4-dnat` says only which server sent it, and {first} is the service's {} VIP already: use \
                             one of each family, or another mode",
                            family(*vip)
                        ),
                    ));
                }
            }
        }
    }

    /// The ports on the servers.
    pub fn backend_ports(&self) -> Vec<PortRange> {
        match self.backend_port {
            Some(port) => vec![PortRange {
                first: port.get(),
                last: port.get(),
            }],
            None => self.ports.clone(),
        }
    }

    /// The specification with every default filled in.
    pub fn to_spec(&self) -> v1::ServiceSpec {
        v1::ServiceSpec {
            name: self.name.to_string(),
            vips: self.vips.iter().map(IpAddr::to_string).collect(),
            ports: self.ports.iter().map(PortRange::to_string).collect(),
            protocol: self.protocol.to_proto().into(),
            mode: self.mode.to_proto().into(),
            pool: self.pool.to_string(),
            affinity: self.affinity.to_proto().into(),
            backend_port: self.backend_port.map_or(0, |p| p.get().into()),
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
        } = self;
        let mut fields = Fields::default();
        fields.put_list("vips", vips);
        fields.put_list("ports", ports);
        fields.put("protocol", protocol.name());
        fields.put("mode", mode.name());
        fields.put("pool", pool);
        fields.put("affinity", affinity.name());
        fields.put_list("backend_port", backend_port);
        fields
    }
}

fn parse_vips(texts: &[String], path: &str, violations: &mut Vec<Violation>) -> Vec<IpAddr> {
    check_count(
        texts.len(),
        SERVICE_VIPS_MAX,
        "VIPs",
        &format!("{path}.vips"),
        violations,
    );
    let mut vips: Vec<IpAddr> = Vec::new();
    for (i, text) in texts.iter().enumerate() {
        let path = format!("{path}.vips[{i}]");
        match parse_unicast(text, &path) {
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

fn parse_ports(texts: &[String], path: &str, violations: &mut Vec<Violation>) -> Vec<PortRange> {
    check_count(
        texts.len(),
        SERVICE_PORTS_MAX,
        "ports",
        &format!("{path}.ports"),
        violations,
    );
    let mut ports: Vec<PortRange> = Vec::new();
    for (i, text) in texts.iter().enumerate() {
        let path = format!("{path}.ports[{i}]");
        match PortRange::parse(text, &path) {
            Ok(range) => match ports.iter().find(|p| p.overlaps(range)) {
                Some(other) => violations.push(Violation::new(
                    path,
                    format!("{range} overlaps {other}: name each port once"),
                )),
                None => ports.push(range),
            },
            Err(violation) => violations.push(violation),
        }
    }
    ports
}

fn check_count(count: usize, max: usize, what: &str, path: &str, violations: &mut Vec<Violation>) {
    if count == 0 || count > max {
        violations.push(Violation::new(
            path,
            format!("{count} {what}: give 1 to {max}"),
        ));
    }
}
