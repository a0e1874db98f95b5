use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::str::FromStr;

use lbfabric_bgp::bfd::{HandedSession, NoHandedSession, Path};

use super::BfdRoute;
use super::route::SINGLE_HOP_PORT;

/// All that another process needs to go on with BFD.
#[derive(Debug)]
pub struct HandedBfd {
    /// At which packets come.
    pub receivers: Vec<UdpSocket>,
    /// Those that are up.
    pub sessions: Vec<HandedBfdSession>,
}

/// A session that is up.
#[derive(Debug)]
pub struct HandedBfdSession {
    /// From which its packets leave.
    pub socket: UdpSocket,
    /// What is known of it.
    pub facts: BfdFacts,
}

/// What is known of a session; as text, the members one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BfdFacts {
    pub(super) route: BfdRoute,
    pub(super) session: HandedSession,
}

// === impl HandedBfd ===

impl HandedBfd {
    /// The same once more, for someone else.
    pub fn try_clone(&self) -> io::Result<Self> {
        let sessions = self.sessions.iter().map(|it| {
            Ok(HandedBfdSession {
                socket: it.socket.try_clone()?,
                facts: it.facts,
            })
        });
        let receivers = self.receivers.iter().map(UdpSocket::try_clone);
        Ok(Self {
            receivers: receivers.collect::<io::Result<_>>()?,
            sessions: sessions.collect::<io::Result<_>>()?,
        })
    }
}

// === impl BfdFacts ===

impl fmt::Display for BfdFacts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { route, session } = self;
        let BfdRoute {
            path,
            local,
            remote,
            least_ttl,
        } = route;
        let interface = match path {
            Path::SingleHop { interface, .. } => *interface,
            // The port tells that there is none.
            Path::Multihop { .. } => 0,
        };
        write!(out, "{interface} {local} {remote} {least_ttl} {session}")
    }
}

impl FromStr for BfdFacts {
    type Err = NoHandedSession;

    fn from_str(text: &str) -> Result<Self, NoHandedSession> {
        let mut parts = text.splitn(5, ' ');
        let mut part = || parts.next().ok_or(NoHandedSession);
        let interface: u32 = parsed(part()?)?;
        let local: IpAddr = parsed(part()?)?;
        let remote: SocketAddr = parsed(part()?)?;
        let least_ttl = parsed(part()?)?;
        let session = part()?.parse()?;
        let path = if remote.port() == SINGLE_HOP_PORT {
            let remote = remote.ip();
            Path::SingleHop { remote, interface }
        } else {
            let remote = remote.ip();
            Path::Multihop { remote, local }
        };
        Ok(Self {
            route: BfdRoute {
                path,
                local,
                remote,
                least_ttl,
            },
            session,
        })
    }
}

fn parsed<T: FromStr>(word: &str) -> Result<T, NoHandedSession> {
    word.parse().map_err(|_unparsed| NoHandedSession)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_what_they_were() {
        let session = "7 50000 50000 3 false false 9 3 50000 50000 3 false";
        for route in [
            "2 192.0.2.1 192.0.2.254:3784 255",
            "3 fe80::1 [fe80::2%3]:3784 255",
            "0 2001:db8::1 [2001:db8::2]:4784 250",
        ] {
            let text = format!("{route} {session}");
            let facts: BfdFacts = text.parse().unwrap_or_else(|it| panic!("{text}: {it}"));
            assert_eq!(facts.to_string(), text);
        }
        let single: BfdFacts = format!("2 192.0.2.1 192.0.2.254:3784 255 {session}")
            .parse()
            .unwrap();
        let remote = [192, 0, 2, 254].into();
        let interface = 2;
        assert_eq!(single.route.path, Path::SingleHop { remote, interface });
        for text in ["", "2 192.0.2.1", session] {
            assert_eq!(text.parse::<BfdFacts>(), Err(NoHandedSession));
        }
    }
}
