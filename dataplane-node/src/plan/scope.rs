use std::collections::BTreeSet;

use lbfabric_abi::{Endpoint, QuicServer};
use lbfabric_model::{BackendId, PoolId};

use super::op::PrefixKey;

/// Which entries of the maps a plan may have to write: of all others it is known that they are as they have to be.
#[derive(Debug)]
pub(crate) enum Scope {
    All,
    Part(Part),
}

/// Some keys of tables. VIP entries and what they refer to besides rings are in none.
#[derive(Debug, Default)]
pub(crate) struct Part {
    pub(crate) filter: bool,
    pub(crate) backends: BTreeSet<BackendId>,
    pub(crate) pools: BTreeSet<PoolId>,
    pub(crate) reverse_ports: BTreeSet<Endpoint>,
    pub(crate) reverse_ranges: BTreeSet<PrefixKey>,
    pub(crate) quic_servers: BTreeSet<QuicServer>,
}

/// Which keys of one table.
#[derive(Clone, Copy)]
pub(crate) enum Keys<'a, K> {
    All,
    These(&'a BTreeSet<K>),
    None,
}

impl Scope {
    /// The keys of a table.
    pub(crate) fn of<K>(&self, table: impl FnOnce(&Part) -> &BTreeSet<K>) -> Keys<'_, K> {
        match self {
            Self::All => Keys::All,
            Self::Part(part) => Keys::These(table(part)),
        }
    }

    /// The keys of a table of VIP entries, or of what they refer to.
    pub(crate) const fn of_vips<K>(&self) -> Keys<'_, K> {
        match self {
            Self::All => Keys::All,
            Self::Part(_) => Keys::None,
        }
    }

    pub(crate) const fn has_filter(&self) -> bool {
        match self {
            Self::All => true,
            Self::Part(part) => part.filter,
        }
    }
}
