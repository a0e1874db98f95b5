use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use tracing::info;

use crate::netlink::{AnswerRule, NetlinkError, Requests};

/// Rules that a node has at most: the kernel goes through all of them for each packet that it routes.
const RULES_MAX: usize = 4_096;
/// How long a rule stays after the last connection that may need it: for the connection's end.
const HOLD: Duration = Duration::from_secs(10);
const LOOPBACK: &str = "lo";

/// Brings what servers answer to clients to this node's sockets: connections of services in `l7-transparent` come from clients' addresses. The kernel's
/// rules are the only record: those of an agent before this one are found there.
///
/// ```text
///  ─ wanted ─► there ─ not wanted ─► leaving ─ no connection for HOLD ─► gone
///                ▲                      │
///                └────── wanted ────────┘
/// ```
pub(super) struct AnswerRules {
    requests: Requests,
    leaving: BTreeMap<AnswerRule, Instant>,
    /// There may be some.
    are_there: bool,
}

/// Servers' answers cannot be brought here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswersError {
    /// As it is.
    #[error(
        "servers that see clients' addresses answer to these, and routing rules that bring the answers to this node need the capability \
         CAP_NET_ADMIN: start the agent with it, or use `l7-reverse`"
    )]
    Forbidden,
    /// More than [`RULES_MAX`].
    #[error(
        "servers' answers to clients need {count} routing rules on this node, {RULES_MAX} at most: use fewer servers or ports in `l7-transparent`"
    )]
    TooMany {
        /// How many.
        count: usize,
    },
    /// It is not there.
    #[error("there is no loopback interface {LOOPBACK}")]
    NoLoopback,
    /// The kernel refuses.
    #[error("the routing of servers' answers to clients")]
    Network(#[source] NetlinkError),
}

// === impl AnswerRules ===

impl AnswerRules {
    /// Takes over what an agent before this one may have left.
    pub(super) const fn new(requests: Requests) -> Self {
        Self {
            requests,
            leaving: BTreeMap::new(),
            are_there: true,
        }
    }

    /// Adds the rules for answers of these servers that are not there, and what they need.
    pub(super) async fn hold(
        &mut self,
        servers: &BTreeSet<SocketAddr>,
    ) -> Result<(), AnswersError> {
        let wanted = rules(servers);
        if wanted.is_empty() {
            return Ok(());
        }
        if wanted.len() > RULES_MAX {
            let count = wanted.len();
            return Err(AnswersError::TooMany { count });
        }
        self.are_there = true;
        let loopback = self.loopback().await?;
        for is_ipv4 in families(&wanted) {
            self.requests.add_answer_route(loopback, is_ipv4).await?;
        }
        let present = self.requests.answer_rules().await?;
        for rule in wanted.difference(&present) {
            self.requests.add_answer_rule(*rule).await?;
            info!(%rule, "routing rule added: the servers' answers to clients come here");
        }
        Ok(())
    }

    /// Removes the rules that only other servers than these need, and that no connection needs any more; `in_use` are the servers with
    /// connections. Gives whether some are left to be removed later.
    pub(super) async fn release(
        &mut self,
        servers: &BTreeSet<SocketAddr>,
        in_use: &BTreeSet<SocketAddr>,
        now: Instant,
    ) -> Result<bool, AnswersError> {
        if !self.are_there {
            return Ok(false);
        }
        let wanted = rules(servers);
        let mut present = self.requests.answer_rules().await?;
        for rule in due(&mut self.leaving, &present, &wanted, in_use, now) {
            self.requests.remove_answer_rule(rule).await?;
            self.leaving.remove(&rule);
            present.remove(&rule);
            info!(%rule, "routing rule removed");
        }
        self.remove_routes_except(&families(&present)).await?;
        self.are_there = !present.is_empty();
        Ok(!self.leaving.is_empty())
    }

    /// Removes all of them at once.
    pub(super) async fn undo(&self) -> Result<(), AnswersError> {
        let present = self.requests.answer_rules().await?;
        if present.is_empty() && !self.are_there {
            return Ok(());
        }
        for rule in present {
            self.requests.remove_answer_rule(rule).await?;
            info!(%rule, "routing rule removed");
        }
        self.remove_routes_except(&BTreeSet::new()).await
    }

    async fn remove_routes_except(&self, families: &BTreeSet<bool>) -> Result<(), AnswersError> {
        let loopback = self.loopback().await?;
        for is_ipv4 in [true, false] {
            if !families.contains(&is_ipv4) {
                self.requests.remove_answer_route(loopback, is_ipv4).await?;
            }
        }
        Ok(())
    }

    async fn loopback(&self) -> Result<u32, AnswersError> {
        let links = self.requests.link_views().await?;
        let link = links.get(LOOPBACK).ok_or(AnswersError::NoLoopback)?;
        Ok(link.index)
    }
}

/// Removes what agents have left.
pub(crate) async fn remove_answer_rules(requests: &Requests) -> Result<(), AnswersError> {
    let present = requests.answer_rules().await?;
    if present.is_empty() {
        return Ok(());
    }
    AnswerRules::new(requests.clone()).undo().await
}

/// One rule for each run of ports of a server.
fn rules(servers: &BTreeSet<SocketAddr>) -> BTreeSet<AnswerRule> {
    let mut rules: Vec<AnswerRule> = Vec::new();
    // In the order of addresses, and of ports at each.
    for server in servers {
        let (server, port) = (server.ip(), server.port());
        match rules.last_mut() {
            Some(rule) if rule.server == server && rule.last.checked_add(1) == Some(port) => {
                rule.last = port;
            }
            Some(_) | None => rules.push(AnswerRule {
                server,
                first: port,
                last: port,
            }),
        }
    }
    rules.into_iter().collect()
}

/// Whether IPv4, and IPv6, is among them.
fn families(rules: &BTreeSet<AnswerRule>) -> BTreeSet<bool> {
    rules.iter().map(|rule| rule.server.is_ipv4()).collect()
}

/// Which rules are to be removed now.
fn due(
    leaving: &mut BTreeMap<AnswerRule, Instant>,
    present: &BTreeSet<AnswerRule>,
    wanted: &BTreeSet<AnswerRule>,
    in_use: &BTreeSet<SocketAddr>,
    now: Instant,
) -> Vec<AnswerRule> {
    leaving.retain(|rule, _| present.contains(rule) && !wanted.contains(rule));
    for rule in present.difference(wanted) {
        let until = leaving.entry(*rule).or_insert(now + HOLD);
        let is_its: fn(&AnswerRule, IpAddr, u16) -> bool =
            |rule, server, port| rule.server == server && (rule.first..=rule.last).contains(&port);
        if in_use.iter().any(|it| is_its(rule, it.ip(), it.port())) {
            *until = now + HOLD;
        }
    }
    let over = leaving.iter().filter(|(_, until)| **until <= now);
    over.map(|(rule, _)| *rule).collect()
}

impl From<NetlinkError> for AnswersError {
    fn from(error: NetlinkError) -> Self {
        match error.errno() {
            Some(libc::EPERM) => Self::Forbidden,
            Some(_) | None => Self::Network(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(texts: &[&str]) -> BTreeSet<SocketAddr> {
        texts.iter().map(|it| it.parse().unwrap()).collect()
    }

    fn texts(rules: impl IntoIterator<Item = AnswerRule>) -> Vec<String> {
        rules.into_iter().map(|it| it.to_string()).collect()
    }

    #[test]
    fn ports_in_a_row_are_one_rule() {
        let wanted = servers(&[
            "10.0.0.1:80",
            "10.0.0.1:81",
            "10.0.0.1:83",
            "10.0.0.2:82",
            "10.0.0.2:65535",
            "[fd00::1]:80",
            "[fd00::1]:81",
        ]);
        assert_eq!(
            texts(rules(&wanted)),
            [
                "from 10.0.0.1 ipproto tcp sport 80-81",
                "from 10.0.0.1 ipproto tcp sport 83",
                "from 10.0.0.2 ipproto tcp sport 82",
                "from 10.0.0.2 ipproto tcp sport 65535",
                "from fd00::1 ipproto tcp sport 80-81",
            ]
        );
        assert_eq!(families(&rules(&wanted)), [false, true].into());
        assert_eq!(families(&BTreeSet::new()), BTreeSet::new());
    }

    #[test]
    fn a_rule_stays_while_a_connection_needs_it_and_a_while_longer() {
        let begun = Instant::now();
        let at = |secs| begun + Duration::from_secs(secs);
        let all = servers(&["10.0.0.1:80", "10.0.0.2:80"]);
        let (present, kept) = (rules(&all), rules(&servers(&["10.0.0.1:80"])));
        let none = BTreeSet::new();
        let neighbour = servers(&["10.0.0.2:81"]);
        let mut leaving = BTreeMap::new();
        let mut gone =
            |wanted, in_use, secs| texts(due(&mut leaving, &present, wanted, in_use, at(secs)));
        assert_eq!(gone(&present, &none, 0), [""; 0]);
        assert_eq!(gone(&kept, &all, 1), [""; 0]);
        // Its last connection has ended after this.
        assert_eq!(gone(&kept, &all, 100), [""; 0]);
        assert_eq!(gone(&kept, &neighbour, 109), [""; 0]);
        let other = "from 10.0.0.2 ipproto tcp sport 80";
        assert_eq!(gone(&kept, &none, 110), [other]);
        // Wanted again, its time begins anew.
        assert_eq!(gone(&present, &none, 111), [""; 0]);
        assert_eq!(gone(&kept, &none, 112), [""; 0]);
        assert_eq!(gone(&kept, &none, 122), [other]);
    }
}
