//! Which server a QUIC connection ID names.

use std::collections::BTreeMap;

use lbfabric_abi::{Affinity, Backend, QuicServer};
use lbfabric_model::{
    BackendId, PoolId, QuicServerId,
    snapshot::{NodePool, NodeService},
};

use super::Inputs;

/// The length of the server IDs of a service's pool, which all have the same; 0: none is looked for.
pub(super) fn id_length(service: &NodeService, pool: &NodePool) -> u8 {
    if service.affinity != Affinity::QuicCid {
        return 0;
    }
    let mut ids = pool.backends.iter().filter_map(|it| it.quic_server_id);
    let length = ids.next().map_or(0, |id| id.as_bytes().len());
    u8::try_from(length).unwrap_or(0)
}

/// The servers of all pools by their IDs. Those that left their pool keep theirs for as long as they keep their entry, unless
/// another server of the pool has got it.
pub(super) fn servers(
    inputs: &Inputs<'_>,
    backends: &BTreeMap<BackendId, Backend>,
) -> BTreeMap<QuicServer, BackendId> {
    let belongs = |key: &QuicServer, id: &BackendId| {
        let entry = backends.get(id);
        entry.is_some_and(|entry| entry.pool == key.pool)
    };
    let named = inputs.desired.pools.iter().flat_map(|(pool, it)| {
        let ids = it.backends.iter();
        ids.filter_map(|it| Some((key(*pool, &it.quic_server_id?), it.id)))
    });
    let mut servers: BTreeMap<_, _> = named.filter(|(key, id)| belongs(key, id)).collect();
    let is_desired = |pool: u32, id: BackendId| {
        let pool = inputs.desired.pools.get(&PoolId(pool));
        pool.is_some_and(|pool| pool.backends.iter().any(|it| it.id == id))
    };
    for (key, id) in &inputs.observed.quic_servers {
        if belongs(key, id) && !is_desired(key.pool, *id) {
            servers.entry(*key).or_insert(*id);
        }
    }
    servers
}

fn key(pool: PoolId, id: &QuicServerId) -> QuicServer {
    let mut key = QuicServer {
        pool: pool.0,
        ..QuicServer::default()
    };
    for (to, byte) in key.id.iter_mut().zip(id.as_bytes()) {
        *to = *byte;
        key.length += 1;
    }
    key
}
