//! How services say that their VIPs are announced, and the nodes that they choose from.

use lbfabric_proto::v1::{self, announcement_spec::By};
use proptest::prelude::*;

use super::specs::{address, name};

/// How VIPs are announced, often wrongly.
pub(super) fn announcement() -> impl Strategy<Value = v1::AnnouncementSpec> {
    let number = || prop_oneof![2 => Just(0u32), 2 => 1u32..40, 1 => any::<u32>()];
    let spread = prop::option::of((name(), "[a-z]{0,3}"))
        .prop_map(|spread| spread.map(|(group, over)| v1::SpreadSpec { group, over }));
    let lease = (spread, number()).prop_map(|(spread, min_healthy_servers)| {
        By::Lease(v1::LeaseSpec {
            spread,
            min_healthy_servers,
        })
    });
    let community = "(no-export|[0-9]{1,5}:[0-9]{1,5}(:[0-9]{1,3})?|[a-z]{0,3})";
    let route = (
        prop::collection::vec(community, 0..3),
        prop::option::of(any::<u32>()),
        number(),
        prop::option::of(any::<u32>()),
        number(),
    )
        .prop_map(
            |(communities, med, prepend, local_preference, min_healthy_servers)| {
                By::Bgp(v1::BgpRouteSpec {
                    communities,
                    med,
                    prepend,
                    local_preference,
                    min_healthy_servers,
                })
            },
        );
    let by = prop_oneof![1 => Just(None), 4 => lease.prop_map(Some), 4 => route.prop_map(Some)];
    (by, prop::collection::vec(label(), 0..2))
        .prop_map(|(by, nodes)| v1::AnnouncementSpec { by, nodes })
}

fn label() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-c]=[a-c]{1,2}", 1 => "[a-c=]{0,4}"]
}

/// Without mistakes, for prefixes too.
pub(super) fn sound_announcement() -> impl Strategy<Value = v1::AnnouncementSpec> {
    (any::<Option<u32>>(), 0u32..=32, 0u32..=512).prop_map(|(med, prepend, servers)| {
        v1::AnnouncementSpec {
            by: Some(By::Bgp(v1::BgpRouteSpec {
                communities: vec!["65000:7".to_owned(), "1:2:3".to_owned()],
                med,
                prepend,
                local_preference: med,
                min_healthy_servers: servers,
            })),
            nodes: vec!["rack=a".to_owned()],
        }
    })
}

pub(super) fn node() -> impl Strategy<Value = v1::NodeSpec> {
    (
        name(),
        prop::collection::vec(address(), 0..3),
        prop::collection::vec(label(), 0..3),
        prop_oneof![4 => 0u32..=65_535, 1 => any::<u32>()],
        any::<bool>(),
        prop::option::of(super::bgp::bgp()),
    )
        .prop_map(
            |(name, source_addresses, labels, weight, drained, bgp)| v1::NodeSpec {
                name,
                source_addresses,
                labels,
                weight,
                drained,
                bgp,
            },
        )
}
