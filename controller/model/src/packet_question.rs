use std::net::{IpAddr, SocketAddr};

use lbfabric_proto::v1;

use crate::{
    Protocol, RequestQuestion, Violation, name::shortened, vip::family, wire_enum::WireEnum as _,
};

/// A packet from a client that somebody asks about. Its addresses are of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketQuestion {
    /// Where it comes from; port 0 where the protocol has none.
    pub source: SocketAddr,
    /// Where it goes.
    pub destination: SocketAddr,
    /// Its protocol; [`Protocol::Any`]: neither TCP nor UDP.
    pub protocol: Protocol,
    /// Whether it is a later packet of its flow, not the first.
    pub established: bool,
    /// What comes over the connection, if a service of layer 7 has it.
    pub request: Option<RequestQuestion>,
}

impl PacketQuestion {
    /// Checks a question at `path`.
    pub fn parse(spec: &v1::PacketQuestion, path: &str) -> Result<Self, Vec<Violation>> {
        let mut violations = Vec::new();
        let protocol = Protocol::parse(spec.protocol, path, &mut violations);
        let mut endpoint = |field: &str, text: &str| {
            let path = format!("{path}.{field}");
            let parsed = parse_endpoint(text, protocol, &path);
            parsed.map_err(|violation| violations.push(violation)).ok()
        };
        let source = endpoint("source", &spec.source);
        let destination = endpoint("destination", &spec.destination);
        let request = spec.request.as_ref().map(|request| {
            let path = format!("{path}.request");
            if protocol.is_some_and(|it| it != Protocol::Tcp) {
                let reason = "requests come over TCP: leave it out, or ask for protocol `tcp`";
                violations.push(Violation::new(&path, reason));
            }
            RequestQuestion::parse(request, &path, &mut violations)
        });
        if !violations.is_empty() {
            return Err(violations);
        }
        match (source, destination, protocol) {
            (Some(source), Some(destination), Some(protocol)) => {
                if source.is_ipv4() != destination.is_ipv4() {
                    let reason = format!(
                        "{destination} is {}, the source {}: give two of one family",
                        family(destination.ip()),
                        family(source.ip())
                    );
                    let path = format!("{path}.destination");
                    return Err(vec![Violation::new(path, reason)]);
                }
                Ok(Self {
                    source,
                    destination,
                    protocol,
                    established: spec.established,
                    request,
                })
            }
            _ => Err(violations),
        }
    }

    /// The question on the wire.
    pub fn to_spec(&self) -> v1::PacketQuestion {
        v1::PacketQuestion {
            source: self.source.to_string(),
            destination: self.destination.to_string(),
            protocol: self.protocol.to_proto().into(),
            established: self.established,
            request: self.request.as_ref().map(RequestQuestion::to_spec),
        }
    }
}

fn parse_endpoint(
    text: &str,
    protocol: Option<Protocol>,
    path: &str,
) -> Result<SocketAddr, Violation> {
    if let Ok(endpoint) = text.parse::<SocketAddr>() {
        return match (protocol, endpoint.port()) {
            (Some(Protocol::Tcp | Protocol::Udp), 0) => Err(Violation::new(
                path,
                format!("`{endpoint}` has port 0: use 1 to 65535"),
            )),
            _ => Ok(endpoint),
        };
    }
    match text.parse::<IpAddr>() {
        Ok(address) if protocol == Some(Protocol::Any) => Ok(SocketAddr::new(address, 0)),
        Ok(_) | Err(_) => Err(Violation::new(
            path,
            format!(
                "`{}` is not an address with a port: write `198.51.100.7:40000` or `[2001:db8::7]:40000`",
                shortened(text)
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(source: &str, destination: &str, protocol: v1::Protocol) -> v1::PacketQuestion {
        v1::PacketQuestion {
            source: source.into(),
            destination: destination.into(),
            protocol: protocol.into(),
            established: true,
            request: None,
        }
    }

    fn mistakes(spec: &v1::PacketQuestion) -> Vec<String> {
        let violations = PacketQuestion::parse(spec, "packet").unwrap_err();
        violations.into_iter().map(|v| v.path).collect()
    }

    #[test]
    fn written_as_it_is_read() {
        for spec in [
            spec("192.0.2.1:1", "192.0.2.2:80", v1::Protocol::Tcp),
            spec("[2001:db8::1]:1", "[2001:db8::2]:80", v1::Protocol::Udp),
            spec("192.0.2.1:0", "192.0.2.2:0", v1::Protocol::Any),
        ] {
            let question = PacketQuestion::parse(&spec, "packet").unwrap();
            assert_eq!(question.to_spec(), spec);
        }
        let default = spec("192.0.2.1:1", "192.0.2.2:80", v1::Protocol::Unspecified);
        let question = PacketQuestion::parse(&default, "packet").unwrap();
        assert_eq!(question.protocol, Protocol::Tcp);
        let bare = spec("192.0.2.1", "192.0.2.2", v1::Protocol::Any);
        assert!(PacketQuestion::parse(&bare, "packet").is_ok());
    }

    #[test]
    fn mistakes_have_their_path() {
        let tcp = v1::Protocol::Tcp;
        assert_eq!(
            mistakes(&spec("192.0.2.1", "192.0.2.2:0", tcp)),
            ["packet.source", "packet.destination"]
        );
        assert_eq!(
            mistakes(&spec("192.0.2.1:1", "[::1]:80", tcp)),
            ["packet.destination"]
        );
        assert_eq!(
            mistakes(&v1::PacketQuestion {
                protocol: 9,
                ..spec("192.0.2.1:1", "192.0.2.2:80", tcp)
            }),
            ["packet.protocol"]
        );
        let request = |protocol, host: &str| v1::PacketQuestion {
            request: Some(v1::RequestQuestion {
                host: host.into(),
                ..v1::RequestQuestion::default()
            }),
            ..spec("192.0.2.1:1", "192.0.2.2:80", protocol)
        };
        assert_eq!(mistakes(&request(tcp, "a b")), ["packet.request.host"]);
        let udp = v1::Protocol::Udp;
        assert_eq!(mistakes(&request(udp, "a")), ["packet.request"]);
        assert!(PacketQuestion::parse(&request(tcp, "a"), "packet").is_ok());
    }
}
