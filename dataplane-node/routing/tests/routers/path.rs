use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

/// A way to a prefix as a router knows it from one neighbor, whatever the router calls things.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Path {
    /// The first is beyond the link, if there are two.
    pub(crate) next_hops: Vec<IpAddr>,
    /// `AS_PATH`.
    pub(crate) asns: Vec<u32>,
    pub(crate) med: Option<u32>,
    pub(crate) local_preference: Option<u32>,
    pub(crate) communities: BTreeSet<(u32, u32)>,
    /// Route targets, as an AS number and what is its.
    pub(crate) route_targets: BTreeSet<(u32, u32)>,
    pub(crate) large_communities: BTreeSet<(u32, u32, u32)>,
    pub(crate) aggregator: Option<(u32, Ipv4Addr)>,
}

/// Numbers between which there is something else.
pub(crate) fn numbers(text: &str) -> Vec<u32> {
    let parts = text.split(|c: char| !c.is_ascii_digit());
    parts.filter_map(|part| part.parse().ok()).collect()
}

/// As [`numbers`], by twos.
pub(crate) fn pairs(text: &str) -> BTreeSet<(u32, u32)> {
    let numbers = numbers(text);
    numbers.chunks(2).map(|pair| (pair[0], pair[1])).collect()
}

/// As [`numbers`], by threes.
pub(crate) fn triples(text: &str) -> BTreeSet<(u32, u32, u32)> {
    let numbers = numbers(text);
    let triples = numbers.chunks(3);
    triples.map(|it| (it[0], it[1], it[2])).collect()
}
