use std::{net::IpAddr, rc::Rc};

use xxhash_rust::xxh3::xxh3_64;

use super::origin::Origin;
use crate::{
    balance::{Balance, HashOn, Marked, PoolConfig, Sticky, cookies},
    http1::Field,
};

/// What of a request the choice of its server goes by.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestKey {
    /// The same for the same client, if the pool goes by it.
    pub(super) hash: u64,
    /// The server that its cookie names.
    pub(super) marked: Option<Marked>,
    /// The server that has failed it: another one is chosen if there is one.
    pub(super) avoids: Option<usize>,
    /// Where connections to servers are its client's own.
    pub(crate) origin: Option<Rc<Origin>>,
}

impl RequestKey {
    pub(super) fn of<'b>(
        config: &PoolConfig,
        sticky: Option<&Sticky>,
        fields: impl Iterator<Item = Field<'b>>,
        client: IpAddr,
    ) -> Self {
        let mut key = Self::default();
        let on = match &config.balance {
            Balance::Hash { on, .. } => Some(on),
            Balance::RoundRobin | Balance::LeastConnections | Balance::PeakEwma { .. } => None,
        };
        let needs_fields = match on {
            Some(HashOn::Header(_) | HashOn::Cookie(_)) => true,
            Some(HashOn::Source) | None => sticky.is_some(),
        };
        let mut hash = None;
        if needs_fields {
            for field in fields {
                let is_cookie = field.is("cookie");
                if let (true, Some(sticky), None) = (is_cookie, sticky, key.marked) {
                    key.marked = sticky.server(field.value);
                }
                if let (Some(on), None) = (on, hash) {
                    hash = hash_of(on, &field, is_cookie);
                }
            }
        }
        if on.is_some() {
            key.hash = hash.unwrap_or_else(|| match client {
                IpAddr::V4(v4) => xxh3_64(&v4.octets()),
                IpAddr::V6(v6) => xxh3_64(&v6.octets()),
            });
        }
        key
    }
}

fn hash_of(on: &HashOn, field: &Field<'_>, is_cookie: bool) -> Option<u64> {
    match on {
        HashOn::Source => None,
        HashOn::Header(name) => field.is(name).then(|| xxh3_64(field.value)),
        HashOn::Cookie(name) => {
            let mut values = cookies(field.value, name.as_bytes());
            values.next().filter(|_| is_cookie).map(xxh3_64)
        }
    }
}
