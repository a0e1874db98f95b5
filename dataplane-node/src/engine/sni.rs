//! Names of servers of the API in the engine's terms. What the API takes, the engine takes too: `proptests.rs` holds the two together.

use std::{collections::BTreeMap, sync::Arc};

use lbfabric_model::{Proxy, SniOthers};
use lbfabric_proxy::{ServerNames, SniRoute, SniTable, Unrouted};

/// Where clients go by the names that they ask for; `places` are where the pools are that the service names, in the order of [`Proxy::pools`].
pub(super) fn table(proxy: &Proxy, places: &[usize]) -> Result<Arc<SniTable>, String> {
    let Some(sni) = &proxy.sni else {
        return Ok(Arc::default());
    };
    let pools: BTreeMap<_, _> = proxy.pools().into_iter().zip(places).collect();
    let mut routes = Vec::new();
    for (at, route) in sni.routes().iter().enumerate() {
        let pool =
            pools.get(&route.pool).copied().copied().ok_or_else(|| {
                format!("its sni.routes[{at}] names a pool that it has no place for")
            })?;
        for name in &route.names {
            let names = ServerNames::parse(name)
                .map_err(|error| format!("its sni.routes[{at}] cannot be carried out: {error}"))?;
            routes.push(SniRoute { names, pool });
        }
    }
    let unrouted = match sni.others {
        SniOthers::Serve => Unrouted::Served,
        SniOthers::Refuse => Unrouted::Refused,
    };
    Ok(Arc::new(SniTable::new(routes, unrouted)))
}

#[cfg(test)]
mod tests {
    use lbfabric_proto::v1;
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::super::proptests::{build, fabric};

    /// Mostly labels, and what comes close to them.
    fn names() -> impl Strategy<Value = String> {
        let label = prop_oneof![
            20 => select(&["a", "B", "x-1", "_srv", "example"][..]).prop_map(str::to_owned),
            1 => select(&["", "*", "a*", "-", "\u{e4}", "[::1]", "a:443", " a", "%"][..]).prop_map(str::to_owned),
            1 => (60usize..68).prop_map(|length| "a".repeat(length)),
        ];
        (any::<bool>(), vec(label, 1..6)).prop_map(|(below, labels)| {
            let name = labels.join(".");
            if below { format!("*.{name}") } else { name }
        })
    }

    fn through(names: Vec<String>) -> v1::FabricSpec {
        let route = v1::SniRouteSpec {
            names,
            pool: "a".to_owned(),
        };
        fabric(v1::ProxySpec {
            carries: v1::Carries::TlsPassthrough.into(),
            sni: Some(v1::SniSpec {
                routes: vec![route],
                others: v1::SniOthers::Refuse.into(),
            }),
            ..v1::ProxySpec::default()
        })
    }

    proptest! {
        #[test]
        fn what_the_api_takes_can_be_built(names in vec(names(), 1..4)) {
            let all_are = names.iter().all(|it| lbfabric_proxy::ServerNames::parse(it).is_ok());
            let mut once = names.iter().map(|it| it.to_ascii_lowercase()).collect::<Vec<_>>();
            once.sort();
            once.dedup();
            // Nor is anything refused that the engine would take.
            prop_assert_eq!(build(&through(names.clone())), all_are && once.len() == names.len());
        }
    }
}
