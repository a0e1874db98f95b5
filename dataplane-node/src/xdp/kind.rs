use aya::Ebpf;

use crate::object::{self, LoadError};

/// Which of the programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProgramKind {
    LoadBalancer,
    Server,
}

impl ProgramKind {
    /// Both of them.
    pub(crate) const ALL: [Self; 2] = [Self::LoadBalancer, Self::Server];

    /// The one that interfaces carry.
    pub(super) const fn entry(self) -> &'static str {
        match self {
            Self::LoadBalancer => object::LOAD_BALANCER,
            Self::Server => "lbfabric_server",
        }
    }

    /// What the name of a folder with its maps ends with, after the layout's version.
    pub(super) const fn folder_suffix(self) -> &'static str {
        match self {
            Self::LoadBalancer => "",
            Self::Server => "-server",
        }
    }

    /// Loads the entry program and all that it goes on with.
    pub(super) fn load(self, ebpf: &mut Ebpf) -> Result<(), LoadError> {
        match self {
            Self::LoadBalancer => object::load_all(ebpf),
            Self::Server => object::load_named(ebpf, self.entry()),
        }
    }

    /// The large maps that the program does not use.
    pub(super) const fn unused_maps(self) -> &'static [&'static str] {
        match self {
            Self::LoadBalancer => &[
                "SERVER_VIPS",
                "GUE_PORTS",
                "TOLD_PORTS",
                "TOLD_BY",
                "CLIENT_ADDRESSES",
            ],
            Self::Server => &[
                "VIP_PORTS4",
                "VIP_PORTS6",
                "VIP_RANGES",
                "VIP_PREFIXES",
                "VIP_ADDRESSES",
                "POOLS",
                "RINGS",
                "BACKENDS",
                "FLOWS",
                "REVERSE_PORTS4",
                "REVERSE_PORTS6",
                "REVERSE_RANGES",
                "SESSIONS",
                "SESSION_RECORDS",
                "SESSION_TAGS",
                "NAT_CURSOR",
                "FRAGMENTS",
                "QUIC_SERVERS",
                "GUARDS",
                "SOURCE_RULES",
                "SERVICE_TOKENS",
                "SOURCE_TOKENS",
                "RECENT_FLOWS",
                "LEASED_VIPS",
                "LINKS",
                "VIP_CLAIMS",
                "SERVICE_COUNTERS",
                "BACKEND_COUNTERS",
            ],
        }
    }
}
