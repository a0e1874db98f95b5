//! The entries of a service's protection: who may use it, and how many new flows it takes.

use lbfabric_abi::{Guard, RateLimit, SourcePrefix};
use lbfabric_model::{Prefix, RateLimit as Limit, ServiceId, SourceRules, snapshot::NodeService};

use super::{op::SourceKey, service::bits_in_maps};

/// The service's guard, if it has anything to guard.
pub(super) fn guard(service: &NodeService) -> Option<Guard> {
    let NodeService {
        limits,
        source_rules,
        ..
    } = service;
    if limits.is_empty() && source_rules.is_empty() {
        return None;
    }
    let bucket = |limit: Option<Limit>| {
        limit.map_or_else(RateLimit::default, |limit| {
            RateLimit::new(limit.per_second.get(), limit.burst.get())
        })
    };
    Some(Guard {
        flows: bucket(limits.new_flows),
        source_flows: bucket(limits.source_new_flows),
        others: if source_rules.allow.is_empty() {
            SourcePrefix::ALLOWED
        } else {
            SourcePrefix::DENIED
        },
        zero: 0,
    })
}

/// What is said of clients.
pub(super) fn source_rules(id: ServiceId, rules: &SourceRules) -> Vec<(SourceKey, u32)> {
    let SourceRules { allow, deny } = rules;
    let key = |prefix: &Prefix| SourceKey {
        data: SourcePrefix::new(id.0, prefix.address().into()),
        bits: SourcePrefix::ADDRESS_AT + u32::from(bits_in_maps(*prefix)),
    };
    let allowed = allow.iter().map(|it| (key(it), SourcePrefix::ALLOWED));
    let denied = deny.iter().map(|it| (key(it), SourcePrefix::DENIED));
    allowed.chain(denied).collect()
}
