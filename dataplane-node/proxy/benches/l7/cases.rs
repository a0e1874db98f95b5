//! What is measured, and the limits that this project has set itself: ratios to HAProxy in the same run, and bytes.

use crate::many::Many;

/// One row of the table.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) limit: Limit,
}

/// What clients do, and what is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Requests over 64 connections that stay open.
    KeepAlive(Front),
    /// A connection for each request.
    NewConnections(Front),
    /// Large bodies over plain TCP.
    Transfers,
    /// 16 connections with 10 streams each.
    Http2,
    /// The slowest of a hundred requests, with as many requests a second for everyone.
    Latency,
    /// Connections that have had a request and wait for the next.
    Idle(Front),
    /// Requests to ours, where there are many of these, against ours where there is one.
    Among(Many),
    /// As many connections to ours as the machine has room for, up to a million.
    Million,
}

/// How clients come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Front {
    Http,
    Tls,
}

/// What ours has to reach.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    /// Of HAProxy's figure, or of what it is compared with else, at least.
    AtLeast(f64),
    /// Of HAProxy's figure, at most.
    AtMost(f64),
    /// By itself, at most.
    Bytes(f64),
}

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "HTTP/1.1 keep-alive, 1 KiB, 64 connections",
        kind: Kind::KeepAlive(Front::Http),
        limit: Limit::AtLeast(1.10),
    },
    Case {
        name: "new connection per request",
        kind: Kind::NewConnections(Front::Http),
        limit: Limit::AtLeast(1.05),
    },
    Case {
        name: "TLS 1.3 keep-alive",
        kind: Kind::KeepAlive(Front::Tls),
        limit: Limit::AtLeast(1.25),
    },
    Case {
        name: "full TLS handshakes, ECDSA P-256",
        kind: Kind::NewConnections(Front::Tls),
        limit: Limit::AtLeast(1.9),
    },
    Case {
        name: "plain TCP, large transfers",
        kind: Kind::Transfers,
        limit: Limit::AtLeast(4.0),
    },
    Case {
        name: "HTTP/2 in, HTTP/1.1 out",
        kind: Kind::Http2,
        limit: Limit::AtLeast(0.80),
    },
    Case {
        name: "99th percentile of latency at equal load",
        kind: Kind::Latency,
        limit: Limit::AtMost(1.0),
    },
    Case {
        name: "memory of an idle HTTP/1.1 connection",
        kind: Kind::Idle(Front::Http),
        limit: Limit::Bytes(1_500.0),
    },
    Case {
        name: "memory of an idle TLS connection",
        kind: Kind::Idle(Front::Tls),
        limit: Limit::Bytes(12_000.0),
    },
    Case {
        name: "10,000 services, against one",
        kind: Kind::Among(Many::Services),
        limit: Limit::AtLeast(0.95),
    },
    Case {
        name: "10,000 routes, against one",
        kind: Kind::Among(Many::Routes),
        limit: Limit::AtLeast(0.95),
    },
    Case {
        name: "memory of one of a million idle connections",
        kind: Kind::Million,
        // Of all of them 3 GiB.
        limit: Limit::Bytes(3_221.0),
    },
];

// === impl Kind ===

impl Kind {
    /// What its figures are in.
    pub(crate) const fn unit(self) -> &'static str {
        match self {
            Self::KeepAlive(_) | Self::Http2 | Self::Among(_) => "requests/CPU s",
            Self::NewConnections(_) => "connections/CPU s",
            Self::Transfers => "Gbit/CPU s",
            Self::Latency => "µs",
            Self::Idle(_) | Self::Million => "bytes",
        }
    }
}
