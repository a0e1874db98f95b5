use lbfabric_bgp::{Attributes, AttributesSpec};
use lbfabric_model::{BgpRoute, Community};

/// What a service says of its VIPs' routes, as BGP has it.
pub(crate) fn attributes_of(route: &BgpRoute) -> Attributes {
    let BgpRoute {
        communities,
        med,
        prepend,
        local_preference,
        min_healthy_servers: _,
    } = route;
    let mut spec = AttributesSpec {
        med: *med,
        prepend: *prepend,
        local_preference: *local_preference,
        ..AttributesSpec::default()
    };
    for community in communities {
        match *community {
            Community::Standard(value) => spec.communities.push(value),
            Community::Large(of, one, two) => spec.large_communities.push((of, one, two)),
            Community::Extended(value) => spec.extended_communities.push(value),
        }
    }
    // The API's limits are within those of BGP.
    spec.try_into()
        .expect("a service has fewer communities and shorter paths than fit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_api_takes_at_most_fits() {
        let many = |make: fn(u32) -> Community| (0..64).map(make).collect();
        for communities in [
            many(Community::Standard),
            many(|it| Community::Large(it, it, it)),
            many(|it| Community::Extended(it.into())),
        ] {
            let route = BgpRoute {
                communities,
                med: Some(5),
                prepend: 32,
                local_preference: Some(200),
                min_healthy_servers: 1,
            };
            let spec = attributes_of(&route).to_spec();
            let of_kinds = [
                spec.communities.len(),
                spec.large_communities.len(),
                spec.extended_communities.len(),
            ];
            assert_eq!(of_kinds.iter().sum::<usize>(), 64);
            assert_eq!(
                (spec.med, spec.prepend, spec.local_preference),
                (Some(5), 32, Some(200))
            );
        }
    }
}
