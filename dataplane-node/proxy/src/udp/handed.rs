//! What one engine gives to the one that takes its place: sockets with what is in them, so that no datagram is lost and no session's
//! server sees another port.

use std::{
    fmt,
    net::{IpAddr, SocketAddr, UdpSocket},
    str::FromStr,
    time::Duration,
};

use crate::observe::Packets;

/// A socket that clients send to, with the sessions of those that the kernel gives to it.
#[derive(Debug)]
pub struct HandedRelay {
    /// The same as it was: another one in its place would have others' clients.
    pub socket: UdpSocket,
    /// Of its clients.
    pub sessions: Vec<HandedSession>,
}

/// A session, with the socket that its server knows.
#[derive(Debug)]
pub struct HandedSession {
    /// Connected to the server.
    pub socket: UdpSocket,
    /// What is known of it.
    pub facts: SessionFacts,
}

/// What is known of a session; as text, the members one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionFacts {
    /// Who has begun it.
    pub client: SocketAddr,
    /// Which address the client has gone to.
    pub service: IpAddr,
    /// Where its datagrams go.
    pub server: SocketAddr,
    /// For how long it has been there, to the microsecond.
    pub age: Duration,
    /// For how long nothing has come, to the microsecond.
    pub silent: Duration,
    /// How old it was when the first answer came, to the microsecond.
    pub answered: Option<Duration>,
    /// Bytes of the client's.
    pub received: u64,
    /// Bytes to the client.
    pub sent: u64,
    /// Datagrams.
    pub packets: Packets,
}

/// A text that says no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these are no facts of a session")]
pub struct NoSession;

/// What a worker has got of an engine before this one.
#[derive(Debug, Default)]
pub(crate) struct TakenDatagrams {
    pub(crate) relays: Vec<HandedRelay>,
    /// Where some worker has got a socket: one more would take clients from those.
    pub(crate) addresses: std::collections::BTreeSet<SocketAddr>,
}

impl fmt::Display for SessionFacts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            client,
            service,
            server,
            age,
            silent,
            answered,
            received,
            sent,
            packets,
        } = self;
        let (age, silent) = (age.as_micros(), silent.as_micros());
        write!(out, "{client} {service} {server} {age} {silent} ")?;
        match answered {
            Some(answered) => write!(out, "{} ", answered.as_micros())?,
            None => write!(out, "- ")?,
        }
        write!(
            out,
            "{received} {sent} {} {}",
            packets.received, packets.sent
        )
    }
}

impl FromStr for SessionFacts {
    type Err = NoSession;

    fn from_str(text: &str) -> Result<Self, NoSession> {
        fn next<'a, T: FromStr>(words: &mut impl Iterator<Item = &'a str>) -> Result<T, NoSession> {
            let word = words.next().ok_or(NoSession)?;
            word.parse().map_err(|_unparsed| NoSession)
        }
        let words = &mut text.split(' ');
        let facts = Self {
            client: next(words)?,
            service: next(words)?,
            server: next(words)?,
            age: Duration::from_micros(next(words)?),
            silent: Duration::from_micros(next(words)?),
            answered: match words.next().ok_or(NoSession)? {
                "-" => None,
                micros => {
                    let micros = micros.parse().map_err(|_unparsed| NoSession)?;
                    Some(Duration::from_micros(micros))
                }
            },
            received: next(words)?,
            sent: next(words)?,
            packets: Packets {
                received: next(words)?,
                sent: next(words)?,
            },
        };
        words.next().is_none().then_some(facts).ok_or(NoSession)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_what_they_were() {
        let v4 = SessionFacts {
            client: "192.0.2.1:5".parse().unwrap(),
            service: "203.0.113.53".parse().unwrap(),
            server: "10.0.0.1:53".parse().unwrap(),
            age: Duration::from_micros(7_000_001),
            silent: Duration::from_micros(9),
            answered: Some(Duration::from_micros(12)),
            received: u64::MAX,
            sent: 0,
            packets: Packets {
                received: 3,
                sent: 4,
            },
        };
        let v6 = SessionFacts {
            client: "[fe80::1%3]:5".parse().unwrap(),
            service: "2001:db8::53".parse().unwrap(),
            server: "[2001:db8::1]:53".parse().unwrap(),
            answered: None,
            ..v4
        };
        for facts in [v4, v6] {
            assert_eq!(facts.to_string().parse(), Ok(facts));
        }
        for text in [
            "",
            "192.0.2.1:5 ",
            &format!("{v4} 1"),
            &v4.to_string()[..40],
        ] {
            assert_eq!(text.parse::<SessionFacts>(), Err(NoSession), "{text}");
        }
    }
}
