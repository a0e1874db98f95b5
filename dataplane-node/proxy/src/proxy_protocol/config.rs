use std::net::IpAddr;

use lbfabric_model::Prefix;

use super::Version;

/// Whose headers are believed, and who gets one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyProtocolConfig {
    /// Whose connections begin with a header, which is the proxies before this one. All of them must.
    pub sources: Vec<Prefix>,
    /// What becomes of others' connections.
    pub others: Others,
    /// What connections to servers begin with. They carry the requests of one client's connection, then, and of no other.
    pub send: Option<Version>,
}

/// What becomes of connections from where no header is believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Others {
    /// They are served as they are, and a header is not looked at: it is part of what the client says.
    #[default]
    Served,
    /// They are reset.
    Refused,
}

/// What a connection begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// A header.
    Header,
    /// Whatever the client says.
    NoHeader,
    /// It is not to be served.
    Nothing,
}

impl ProxyProtocolConfig {
    /// What a connection from there begins with.
    pub fn expected(&self, from: IpAddr) -> Expected {
        if self.sources.iter().any(|it| it.contains(from)) {
            return Expected::Header;
        }
        match self.others {
            Others::Served => Expected::NoHeader,
            Others::Refused => Expected::Nothing,
        }
    }
}
