use std::{net::IpAddr, time::Duration};

use super::{Termination, TraceParent};

/// Bytes that are logged of each text of a client's, at most; the rest of it is left out.
pub const TEXT_BYTES_MAX: usize = 2048;

/// What there is to say of a request when all of it is over.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// When its first byte came, since 1970-01-01 00:00 UTC.
    pub began: Duration,
    /// Who asked.
    pub client: IpAddr,
    /// By whose configuration.
    pub service: &'a str,
    /// The route that took it, unless none did.
    pub route: Option<&'a str>,
    /// The server that was asked last, unless none was.
    pub server: Option<&'a str>,
    /// Of the client's side.
    pub protocol: Protocol,
    /// Of the client's side, if it came over TLS.
    pub tls: Option<Tls<'a>>,
    /// As it came, as all texts: no more than [`TEXT_BYTES_MAX`] of each. Empty if no request was understood.
    pub method: &'a [u8],
    /// With the query.
    pub path: &'a [u8],
    /// With the port, if the client says one.
    pub host: &'a [u8],
    /// Empty if there is none.
    pub user_agent: &'a [u8],
    /// Empty if there is none.
    pub referer: &'a [u8],
    /// What the client was answered; 0 if nothing.
    pub status: u16,
    /// Bytes of the client's, with heads and framing.
    pub received: u64,
    /// Bytes to the client, with heads and framing.
    pub sent: u64,
    /// Of a session of datagrams, how many these were.
    pub packets: Option<Packets>,
    /// How long things took.
    pub timers: Timers,
    /// How often it was sent again.
    pub retries: u32,
    /// How it ended.
    pub termination: Termination,
    /// Why it was refused, if it was: the name of the refusal's counter.
    pub refusal: Option<&'a str>,
    /// What the servers were told of the trace that it belongs to.
    pub trace: Option<TraceParent>,
}

/// Datagrams of a session that have gone on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packets {
    /// Of the client's.
    pub received: u64,
    /// To the client.
    pub sent: u64,
}

/// How long the parts of a request took, as HAProxy's timers say (its configuration manual, section 8.4). What was not reached has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timers {
    /// From its first byte until its head was whole: `TR`.
    pub request: Option<Duration>,
    /// For a server with room: `Tw`.
    pub queue: Option<Duration>,
    /// For a connection to the server; 0 if one was there already: `Tc`.
    pub connect: Option<Duration>,
    /// Until the head of the answer had come: `Tr`.
    pub response: Option<Duration>,
    /// From its first byte until the last one of the answer: `Ta`.
    pub total: Duration,
}

/// What a connection carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// RFC 1945.
    Http10,
    /// RFC 9112.
    #[default]
    Http11,
    /// RFC 9113.
    Http2,
    /// Anything: it is relayed as it comes, and a record is of a whole connection.
    Tcp,
    /// The same of TLS that ends at the server.
    Tls,
    /// Datagrams of one client, and their answers.
    Udp,
}

/// What is known of a connection over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tls<'a> {
    /// Like `TLSv1.3`.
    pub version: &'a str,
    /// The server's name that the client asked for, if it did.
    pub sni: Option<&'a str>,
}

// === impl Record ===

impl Record<'_> {
    /// Whether something went wrong with it, by HAProxy's measure (its option `dontlog-normal`): it did not end as all wanted, was sent
    /// more than once, or was answered with 5xx. Of what a client asks for in vain, 404 and its like, nothing is wrong.
    pub fn is_error(&self) -> bool {
        let is_wanted = self.termination == Termination::NORMAL
            || self.termination.cause == super::Cause::Local;
        !is_wanted || self.retries > 0 || self.refusal.is_some() || self.status >= 500
    }
}

// === impl Protocol ===

impl Protocol {
    /// As it stands in a log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2.0",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Udp => "UDP",
        }
    }

    /// Whether there are requests.
    pub const fn is_http(self) -> bool {
        match self {
            Self::Http10 | Self::Http11 | Self::Http2 => true,
            Self::Tcp | Self::Tls | Self::Udp => false,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::observe::{Cause, Phase};

    /// One that went well.
    pub(in crate::observe) fn record() -> Record<'static> {
        Record {
            began: Duration::new(1_795_764_113, 7_000),
            client: Ipv4Addr::new(192, 0, 2, 7).into(),
            service: "shop",
            route: Some("cart"),
            server: Some("10.0.0.1:80"),
            protocol: Protocol::Http11,
            tls: None,
            method: b"GET",
            path: b"/a?b=c",
            host: b"example.org",
            user_agent: b"curl/8",
            referer: b"",
            status: 200,
            received: 80,
            sent: 1234,
            packets: None,
            timers: Timers {
                request: Some(Duration::ZERO),
                queue: Some(Duration::ZERO),
                connect: Some(Duration::from_nanos(1_500)),
                response: Some(Duration::from_micros(12_345)),
                total: Duration::from_secs(2),
            },
            retries: 0,
            termination: Termination::NORMAL,
            refusal: None,
            trace: None,
        }
    }

    #[test]
    fn what_went_wrong_is_an_error() {
        let normal = record();
        let ended = |cause, phase| Record {
            termination: Termination::new(cause, phase),
            ..normal
        };
        let with_status = |status| Record { status, ..normal };
        for record in [
            normal,
            with_status(404),
            with_status(499),
            ended(Cause::Local, Phase::Request),
        ] {
            assert!(!record.is_error(), "{record:?}");
        }
        let again = Record {
            retries: 1,
            ..normal
        };
        let refused = Record {
            refusal: Some("host"),
            ..normal
        };
        for record in [
            with_status(500),
            with_status(599),
            ended(Cause::Client, Phase::Data),
            ended(Cause::Proxy, Phase::Request),
            again,
            refused,
        ] {
            assert!(record.is_error(), "{record:?}");
        }
    }
}
