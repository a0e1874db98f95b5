//! Guards and their rules: in place before the VIP entries that lead to them, and until after those.

use std::num::NonZeroU32;

use lbfabric_abi::{RateLimit as Bucket, SourcePrefix, VipService};
use lbfabric_model::RateLimit;

use super::*;

fn limited() -> NodeService {
    let number = |n| NonZeroU32::new(n).unwrap();
    let mut web = service(Mode::Dsr, &["203.0.113.1", "203.0.113.128/25"], &[(80, 80)]);
    web.limits.source_new_flows = Some(RateLimit {
        per_second: number(100),
        burst: number(20),
    });
    web.source_rules.allow = vec![prefix("198.51.100.0/24"), prefix("2001:db8::/32")];
    web.source_rules.deny = vec![prefix("198.51.100.7")];
    web
}

fn is_guarded(case: &Case) -> Vec<bool> {
    let observed = &case.observed;
    let entries = observed
        .vip_ports
        .values()
        .chain(observed.vip_ranges.values());
    entries
        .map(|it| it.flags & VipService::GUARDED != 0)
        .collect()
}

#[test]
fn rules_then_guard_then_vip_and_back() {
    let mut case = Case::new(&[(1, pool(&[1]))], &[(7, limited())]);
    let position = |ops: &[MapOp], wanted: fn(&MapOp) -> bool| ops.iter().position(wanted).unwrap();
    let ops = case.run().ops;
    let rule = position(&ops, |op| matches!(op, MapOp::PutSourceRule(..)));
    let guard = position(&ops, |op| matches!(op, MapOp::PutGuard(..)));
    let vip = position(&ops, |op| matches!(op, MapOp::PutVipPort(..)));
    assert!(rule < guard && guard < vip);
    assert_eq!(case.plan().ops, []);
    assert_eq!(is_guarded(&case), [true, true]);
    let written = case.observed.guards[&ServiceId(7)];
    assert_eq!(written.source_flows, Bucket::new(100, 20));
    assert!(!written.flows.is_set());
    assert_eq!(written.others, SourcePrefix::DENIED);
    let rules: Vec<(u32, u32)> = case
        .observed
        .source_rules
        .iter()
        .map(|(key, rule)| (key.bits, *rule))
        .collect();
    let (allowed, denied) = (SourcePrefix::ALLOWED, SourcePrefix::DENIED);
    assert_eq!(rules, [(64, allowed), (152, allowed), (160, denied)]);

    let open = service(Mode::Dsr, &["203.0.113.1", "203.0.113.128/25"], &[(80, 80)]);
    case.desired.services.insert(ServiceId(7), open);
    let ops = case.run().ops;
    let vip = position(&ops, |op| matches!(op, MapOp::PutVipPort(..)));
    let guard = position(&ops, |op| matches!(op, MapOp::RemoveGuard(_)));
    let rule = position(&ops, |op| matches!(op, MapOp::RemoveSourceRule(_)));
    assert!(vip < guard && guard < rule);
    assert_eq!(is_guarded(&case), [false, false]);
    assert!(case.observed.guards.is_empty() && case.observed.source_rules.is_empty());
}

#[test]
fn a_refused_service_leaves_no_protection() {
    let mut web = limited();
    web.pool = PoolId(9);
    let mut case = Case::new(&[(1, pool(&[1]))], &[(7, web)]);
    assert_eq!(case.run().refusals.len(), 1);
    assert!(case.observed.guards.is_empty() && case.observed.source_rules.is_empty());
}
