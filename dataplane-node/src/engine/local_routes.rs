use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use lbfabric_model::Prefix;
use tracing::info;

use crate::netlink::{NetlinkError, Requests};

/// How long a prefix stays the node's own after the last service with it has gone: for its connections' end.
const HOLD: Duration = Duration::from_secs(10);
/// How often it is looked whether all is still there: other programs of the machine may think that all routes are theirs.
const LOOK: Duration = Duration::from_mins(1);
/// Requests to the kernel at a time.
const AT_A_TIME: usize = 64;
const LOOPBACK: &str = "lo";

/// Makes what is routed to the node for VIPs that are configured nowhere its own, by as few local routes as cover them exactly. The
/// kernel's routes are the only record: those of an agent before this one are found there.
pub(super) struct LocalRoutes {
    requests: Requests,
    wanted: BTreeSet<Prefix>,
    leaving: BTreeMap<Prefix, Instant>,
    /// When to look again; none: at the first time.
    look_at: Option<Instant>,
}

/// VIPs cannot be made the node's own.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LocalRoutesError {
    /// It is not there.
    #[error("there is no loopback interface {LOOPBACK}")]
    NoLoopback,
    /// The kernel refuses.
    #[error("local routes for VIPs")]
    Network(#[from] NetlinkError),
}

// === impl LocalRoutes ===

impl LocalRoutes {
    pub(super) const fn new(requests: Requests) -> Self {
        Self {
            requests,
            wanted: BTreeSet::new(),
            leaving: BTreeMap::new(),
            look_at: None,
        }
    }

    /// Follows what is wanted, and says when there is something to do again.
    pub(super) async fn follow(
        &mut self,
        vips: &BTreeSet<Prefix>,
        now: Instant,
    ) -> Result<Option<Instant>, LocalRoutesError> {
        let wanted = cover(vips);
        let is_done = self.wanted == wanted && self.next().is_none_or(|next| now < next);
        if is_done && self.look_at.is_some() {
            return Ok(self.next());
        }
        self.look_at = None;
        self.wanted = wanted;
        let present = self.requests.steered().await?;
        let loopback = self.loopback().await?;
        let missing: Vec<Prefix> = self.wanted.difference(&present).copied().collect();
        let routes = missing.len();
        let adding = missing.into_iter().map(|vip| {
            let requests = self.requests.clone();
            async move { requests.add_steered(loopback, vip).await }
        });
        all(adding).await?;
        if routes > 0 {
            info!(routes, "VIPs made this node's own");
        }
        self.leaving
            .retain(|vip, _| present.contains(vip) && !self.wanted.contains(vip));
        for vip in present.difference(&self.wanted) {
            self.leaving.entry(*vip).or_insert(now + HOLD);
        }
        let due = self.leaving.iter().filter(|(_, until)| **until <= now);
        let due: BTreeSet<Prefix> = due.map(|(vip, _)| *vip).collect();
        self.remove(&due, loopback).await?;
        self.leaving.retain(|vip, _| !due.contains(vip));
        self.look_at = Some(now + LOOK);
        Ok(self.next())
    }

    /// When there is something to do.
    fn next(&self) -> Option<Instant> {
        let look = self.look_at.filter(|_| !self.wanted.is_empty());
        self.leaving.values().copied().chain(look).min()
    }

    /// Removes all of them at once.
    pub(super) async fn undo(&self) -> Result<(), LocalRoutesError> {
        let present = self.requests.steered().await?;
        if present.is_empty() {
            return Ok(());
        }
        let loopback = self.loopback().await?;
        self.remove(&present, loopback).await
    }

    async fn remove(&self, vips: &BTreeSet<Prefix>, loopback: u32) -> Result<(), LocalRoutesError> {
        let removing = vips.clone().into_iter().map(|vip| {
            let requests = self.requests.clone();
            async move { requests.remove_steered(loopback, vip).await }
        });
        all(removing).await?;
        if !vips.is_empty() {
            info!(routes = vips.len(), "VIPs are not this node's own any more");
        }
        Ok(())
    }

    async fn loopback(&self) -> Result<u32, LocalRoutesError> {
        let links = self.requests.link_views().await?;
        let link = links.get(LOOPBACK).ok_or(LocalRoutesError::NoLoopback)?;
        Ok(link.index)
    }
}

/// Several at a time.
async fn all<F>(requests: impl Iterator<Item = F>) -> Result<(), NetlinkError>
where
    F: Future<Output = Result<(), NetlinkError>>,
{
    let asked = stream::iter(requests).buffer_unordered(AT_A_TIME);
    asked.try_collect().await
}

/// Removes what agents have left.
pub(crate) async fn remove_local_routes(requests: &Requests) -> Result<(), LocalRoutesError> {
    LocalRoutes::new(requests.clone()).undo().await
}

/// The fewest prefixes that have exactly these addresses.
fn cover(vips: &BTreeSet<Prefix>) -> BTreeSet<Prefix> {
    let mut all: Vec<Prefix> = Vec::new();
    // By their first address, and of those with the same the widest first.
    for vip in vips {
        if all.last().is_some_and(|last| last.contains(vip.address())) {
            continue;
        }
        let mut next = *vip;
        while let Some(whole) = all.last().and_then(|last| whole(*last, next)) {
            all.pop();
            next = whole;
        }
        all.push(next);
    }
    all.into_iter().collect()
}

/// The prefix that these are the two halves of.
fn whole(first: Prefix, second: Prefix) -> Option<Prefix> {
    if first.bits() != second.bits() || first == second {
        return None;
    }
    let whole = Prefix::around(first.address(), first.bits().checked_sub(1)?)?;
    (whole.address() == first.address() && whole.contains(second.address())).then_some(whole)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn prefixes(texts: &[(&str, u8)]) -> BTreeSet<Prefix> {
        let prefix = |(address, bits): &(&str, u8)| {
            Prefix::new(address.parse().unwrap(), *bits).expect("no bit behind it")
        };
        texts.iter().map(prefix).collect()
    }

    #[test]
    fn halves_are_put_together_and_parts_are_left_out() {
        let given = prefixes(&[
            ("10.0.0.0", 24),
            ("10.0.0.7", 32),
            ("10.0.1.0", 24),
            ("10.0.3.0", 24),
            ("10.0.4.0", 24),
            ("10.0.2.0", 25),
            ("10.0.2.128", 25),
            ("fd00::", 33),
            ("fd00:0:8000::", 33),
            ("fd00:1::", 32),
        ]);
        let expected = prefixes(&[("10.0.0.0", 22), ("10.0.4.0", 24), ("fd00::", 31)]);
        assert_eq!(cover(&given), expected);
        assert_eq!(cover(&BTreeSet::new()), BTreeSet::new());
    }

    #[test]
    fn addresses_in_a_row_need_few_routes() {
        let first = u32::from(Ipv4Addr::new(10, 9, 0, 1));
        let all = (0..100_000).map(|it| Prefix::from(IpAddr::from((first + it).to_be_bytes())));
        assert!(cover(&all.collect()).len() < 34);
    }
}
