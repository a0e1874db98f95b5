use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use futures::TryStreamExt as _;
use rtnetlink::{
    IpVersion, RouteMessageBuilder,
    packet_route::{
        AddressFamily, IpProtocol,
        route::{RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType},
        rule::{RuleAction, RuleAttribute, RuleMessage, RulePortRange},
    },
};

use super::requests::{NetlinkError, Requests, failed};

/// Whose rules and routes they are, as `ip rule` and `ip route` say (`proto`): nobody else's are touched.
pub(super) const PROTOCOL: RouteProtocol = RouteProtocol::Other(108);
/// The rules' priority: behind the node's own addresses (0), before what an operator decides by source addresses.
const PRIORITY: u32 = 108;
/// The table whose only route makes every address the node's own.
const TABLE: u32 = 27_746;
/// The agent's own lists say `ENOENT` for a rule that is not there.
const GONE: [Option<i32>; 2] = [Some(libc::ENOENT), Some(libc::ESRCH)];

/// What a server sends from these TCP ports is for this node's sockets, whoever it is addressed to:
///
/// ```text
/// 108: from 192.0.2.21 ipproto tcp sport 80 lookup 27746 proto 108
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AnswerRule {
    pub(crate) server: IpAddr,
    pub(crate) first: u16,
    pub(crate) last: u16,
}

impl Requests {
    /// The rules that are there.
    pub(crate) async fn answer_rules(&self) -> Result<BTreeSet<AnswerRule>, NetlinkError> {
        let _one_at_a_time = self.list.lock().await;
        let mut found = BTreeSet::new();
        for version in [IpVersion::V4, IpVersion::V6] {
            let rules = self.handle.rule().get(version).execute();
            let rules: Vec<RuleMessage> = rules
                .try_collect()
                .await
                .map_err(failed("list routing rules"))?;
            found.extend(rules.iter().filter_map(AnswerRule::of));
        }
        Ok(found)
    }

    /// Adds a rule, if it is not there.
    pub(crate) async fn add_answer_rule(&self, rule: AnswerRule) -> Result<(), NetlinkError> {
        let mut request = self.handle.rule().add();
        *request.message_mut() = rule.message();
        let added = request.execute().await;
        match added.map_err(failed("add a routing rule")) {
            Err(error) if error.errno() != Some(libc::EEXIST) => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Removes a rule, if it is there.
    pub(crate) async fn remove_answer_rule(&self, rule: AnswerRule) -> Result<(), NetlinkError> {
        let removed = self.handle.rule().del(rule.message()).execute().await;
        match removed.map_err(failed("remove a routing rule")) {
            Err(error) if !GONE.contains(&error.errno()) => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Adds the route that the rules of a family lead to, if it is not there.
    pub(crate) async fn add_answer_route(
        &self,
        loopback: u32,
        is_ipv4: bool,
    ) -> Result<(), NetlinkError> {
        let route = every_address(loopback, is_ipv4);
        let added = self.handle.route().add(route).execute().await;
        match added.map_err(failed("add a local route")) {
            Err(error) if error.errno() != Some(libc::EEXIST) => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Removes that route, if it is there.
    pub(crate) async fn remove_answer_route(
        &self,
        loopback: u32,
        is_ipv4: bool,
    ) -> Result<(), NetlinkError> {
        let route = every_address(loopback, is_ipv4);
        let removed = self.handle.route().del(route).execute().await;
        match removed.map_err(failed("remove a local route")) {
            Err(error) if !GONE.contains(&error.errno()) => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

fn every_address(loopback: u32, is_ipv4: bool) -> RouteMessage {
    let mut message = if is_ipv4 {
        RouteMessageBuilder::<Ipv4Addr>::new()
            .output_interface(loopback)
            .table_id(TABLE)
            .build()
    } else {
        RouteMessageBuilder::<Ipv6Addr>::new()
            .output_interface(loopback)
            .table_id(TABLE)
            .build()
    };
    message.header.kind = RouteType::Local;
    message.header.scope = RouteScope::Host;
    message.header.protocol = PROTOCOL;
    message
}

/// Whether it is one that the rules lead to.
pub(super) fn is_answer_route(message: &RouteMessage) -> bool {
    let is_table = |it: &RouteAttribute| *it == RouteAttribute::Table(TABLE);
    message.header.protocol == PROTOCOL && message.attributes.iter().any(is_table)
}

// === impl AnswerRule ===

impl AnswerRule {
    fn message(self) -> RuleMessage {
        let Self {
            server,
            first,
            last,
        } = self;
        let (family, bits) = match server {
            IpAddr::V4(_) => (AddressFamily::Inet, 32),
            IpAddr::V6(_) => (AddressFamily::Inet6, 128),
        };
        let mut message = RuleMessage::default();
        message.header.family = family;
        message.header.src_len = bits;
        message.header.action = RuleAction::ToTable;
        message.attributes = vec![
            RuleAttribute::Priority(PRIORITY),
            RuleAttribute::Source(server),
            RuleAttribute::IpProtocol(IpProtocol::Tcp),
            RuleAttribute::SourcePortRange(RulePortRange {
                start: first,
                end: last,
            }),
            RuleAttribute::Table(TABLE),
            RuleAttribute::Protocol(PROTOCOL),
        ];
        message
    }

    /// One of this agent's, or `None`.
    pub(super) fn of(message: &RuleMessage) -> Option<Self> {
        let attributes = &message.attributes;
        let source = attributes.iter().find_map(|it| match it {
            RuleAttribute::Source(address) => Some(*address),
            _ => None,
        });
        let ports = attributes.iter().find_map(|it| match it {
            RuleAttribute::SourcePortRange(range) => Some(*range),
            _ => None,
        })?;
        let rule = Self {
            server: source?,
            first: ports.start,
            last: ports.end,
        };
        let has = |wanted: &RuleAttribute| attributes.contains(wanted);
        rule.message().attributes.iter().all(has).then_some(rule)
    }
}

impl fmt::Display for AnswerRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            server,
            first,
            last,
        } = self;
        write!(f, "from {server} ipproto tcp sport {first}")?;
        if first == last {
            return Ok(());
        }
        write!(f, "-{last}")
    }
}
