//! The nodes whose stream ends, or last ended, at this member: soft state, rebuilt by the nodes' reports.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use lbfabric_model::{BackendId, FabricState, ObjectKey, ServiceId, Violation};
use lbfabric_proto::{
    internal::v1 as internal,
    v1::{self, sync_response},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

use crate::{
    explain::Answer,
    hello::{Hello, parse_addresses},
    logs::LogQueries,
    questions::{AskError, Questions},
};

mod keys;

use self::keys::{by_key, object_ref};

/// Nodes that one member keeps track of.
const NODES_MAX: usize = 8_192;
/// Warnings that are kept of what one node says of one service.
const WARNINGS_MAX: usize = 8;

/// The nodes, by name.
#[derive(Default)]
pub(crate) struct NodeRegistry(Mutex<Records>);

#[derive(Default)]
struct Records {
    nodes: BTreeMap<String, Record>,
    last_session: u64,
}

struct Record {
    session: u64,
    connected: bool,
    role: v1::NodeRole,
    version: String,
    knows: Knows,
    addresses: watch::Sender<Vec<IpAddr>>,
    applied_generation: u64,
    refusals: BTreeMap<ObjectKey, v1::NodeObjectRefusal>,
    report: v1::NodeReport,
    heard: Instant,
    end: watch::Sender<Option<SessionEnd>>,
    questions: Questions<v1::ExplainQuery, v1::ExplainReply>,
    speaker_queries: Questions<v1::SpeakerQuery, v1::SpeakerReply>,
    log_queries: LogQueries,
}

/// What a node can be asked for; older ones know less.
#[derive(Clone, Copy)]
struct Knows {
    explains: bool,
    logs: bool,
    speaks: bool,
}

/// Why a node's stream is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SessionEnd {
    /// The node has opened another one.
    Superseded,
    /// The node sent something that it must not.
    Invalid(Violation),
    /// The node has ended it.
    Gone,
}

/// A node's open stream; the node counts as disconnected when this is dropped.
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) end: watch::Receiver<Option<SessionEnd>>,
    /// The node's own addresses as it reported them last: a server's VIPs depend on them.
    pub(crate) addresses: watch::Receiver<Vec<IpAddr>>,
    /// What the node is to be asked.
    pub(crate) questions: mpsc::Receiver<v1::ExplainQuery>,
    /// What it is to be asked about BGP.
    pub(crate) speaker_queries: mpsc::Receiver<v1::SpeakerQuery>,
    /// What it is to be asked for lines of its access log.
    pub(crate) log_queries: mpsc::Receiver<sync_response::Message>,
    registry: Arc<NodeRegistry>,
}

/// Names a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SessionId {
    pub(crate) node: String,
    number: u64,
}

/// There are too many nodes.
#[derive(Debug)]
pub(crate) struct TooManyNodes {
    pub(crate) limit: usize,
}

// === impl NodeRegistry ===

impl NodeRegistry {
    /// Opens a node's session; an older one of the same node ends.
    pub(crate) fn open(self: &Arc<Self>, hello: &Hello) -> Result<Session, TooManyNodes> {
        let mut records = self.lock();
        let node = hello.facts.name.clone();
        if !records.nodes.contains_key(&node) {
            records.make_room()?;
        }
        records.last_session += 1;
        let number = records.last_session;
        let (end, ended) = watch::channel(None);
        let (addresses, reported) = watch::channel(hello.facts.addresses.clone());
        let (questions, asked) = Questions::new();
        let (speaker_queries, asked_about_speaker) = Questions::new();
        let (log_queries, asked_for_logs) = LogQueries::new();
        let record = Record {
            session: number,
            connected: true,
            role: hello.facts.role.to_proto(),
            version: hello.version.clone(),
            knows: Knows {
                explains: hello.explains,
                logs: hello.logs,
                speaks: hello.speaks,
            },
            addresses,
            applied_generation: hello.generation.0,
            refusals: BTreeMap::new(),
            report: v1::NodeReport::default(),
            heard: Instant::now(),
            end,
            questions,
            speaker_queries,
            log_queries,
        };
        if let Some(old) = records.nodes.insert(node.clone(), record) {
            old.end.send_replace(Some(SessionEnd::Superseded));
        }
        Ok(Session {
            id: SessionId { node, number },
            end: ended,
            addresses: reported,
            questions: asked,
            speaker_queries: asked_about_speaker,
            log_queries: asked_for_logs,
            registry: self.clone(),
        })
    }

    /// Ends a session from this side, or because the node did.
    pub(crate) fn end(&self, id: &SessionId, end: SessionEnd) {
        self.with(id, |record| {
            record.end.send_replace(Some(end));
        });
    }

    /// Takes a node's report. A violation in it changes nothing.
    pub(crate) fn report(&self, id: &SessionId, report: v1::NodeReport) -> Result<(), Violation> {
        let mut violations = Vec::new();
        let addresses = parse_addresses(&report.addresses, "report.addresses", &mut violations);
        if let Some(violation) = violations.pop() {
            return Err(violation);
        }
        self.with(id, |record| {
            record.applied_generation = record.applied_generation.max(report.applied_generation);
            record.refusals = by_key(&report.refusals).collect();
            record.addresses.send_if_modified(|known| {
                let changed = *known != addresses;
                *known = addresses;
                changed
            });
            record.report = report;
        });
        Ok(())
    }

    /// Takes a node's answer to a delta.
    pub(crate) fn delta_result(&self, id: &SessionId, result: &v1::DeltaResult) {
        self.with(id, |record| {
            record.applied_generation = record.applied_generation.max(result.generation);
            record.refusals.extend(by_key(&result.refusals));
        });
    }

    /// Asks a node whose stream ends here about a packet.
    pub(crate) fn ask(&self, node: &str, packet: v1::PacketQuestion) -> Result<Answer, AskError> {
        let mut records = self.lock();
        let record = records.nodes.get_mut(node).ok_or(AskError::Unknown)?;
        record.ask(packet)
    }

    /// Takes a node's answer to a question.
    pub(crate) fn explained(&self, id: &SessionId, reply: v1::ExplainReply) {
        self.with(id, |record| record.questions.answer(reply.id, reply));
    }

    /// Asks a node whose stream ends here about BGP.
    pub(crate) fn ask_speaker(
        &self,
        node: &str,
        question: v1::SpeakerQuestion,
    ) -> Result<oneshot::Receiver<v1::SpeakerReply>, AskError> {
        let mut records = self.lock();
        let record = records.nodes.get_mut(node).ok_or(AskError::Unknown)?;
        record.takes("tell of BGP", record.knows.speaks)?;
        record.speaker_queries.ask(|id| v1::SpeakerQuery {
            id,
            question: Some(question),
        })
    }

    /// Takes a node's answer about BGP.
    pub(crate) fn spoken(&self, id: &SessionId, reply: v1::SpeakerReply) {
        self.with(id, |record| record.speaker_queries.answer(reply.id, reply));
    }

    /// Takes lines of a node's access log.
    pub(crate) fn log_lines(&self, id: &SessionId, lines: v1::LogLines) {
        self.with(id, |record| record.log_queries.take(lines));
    }

    /// The sessions of connected nodes that can be asked for lines of their access logs.
    pub(crate) fn log_sessions(&self) -> Vec<SessionId> {
        let records = self.lock();
        let nodes = records.nodes.iter();
        let nodes = nodes.filter(|(_, it)| {
            it.connected && it.knows.logs && it.role == v1::NodeRole::LoadBalancer
        });
        nodes
            .map(|(node, it)| SessionId {
                node: node.clone(),
                number: it.session,
            })
            .collect()
    }

    /// Does something with a session's questions for lines, if there still is the session.
    pub(crate) fn log_queries<T>(
        &self,
        id: &SessionId,
        change: impl FnOnce(&mut LogQueries) -> T,
    ) -> Option<T> {
        let mut done = None;
        self.with(id, |record| done = Some(change(&mut record.log_queries)));
        done
    }

    /// What this member, called `member`, knows of its nodes.
    pub(crate) fn statuses(
        &self,
        member: &str,
        state: &FabricState,
    ) -> Vec<internal::MemberNodeStatus> {
        self.lock()
            .nodes
            .iter()
            .map(|(name, record)| record.status(name, member, state))
            .collect()
    }

    fn with(&self, id: &SessionId, change: impl FnOnce(&mut Record)) {
        let mut records = self.lock();
        if let Some(record) = records.nodes.get_mut(&id.node)
            && record.session == id.number
        {
            record.heard = Instant::now();
            change(record);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Records ===

impl Records {
    /// Forgets the node that has been away longest if there are too many.
    fn make_room(&mut self) -> Result<(), TooManyNodes> {
        if self.nodes.len() < NODES_MAX {
            return Ok(());
        }
        let away = self
            .nodes
            .iter()
            .filter(|(_, record)| !record.connected)
            .min_by_key(|(_, record)| record.heard)
            .map(|(name, _)| name.clone());
        match away {
            Some(name) => {
                self.nodes.remove(&name);
                Ok(())
            }
            None => Err(TooManyNodes { limit: NODES_MAX }),
        }
    }
}

// === impl Record ===

impl Record {
    fn ask(&mut self, packet: v1::PacketQuestion) -> Result<Answer, AskError> {
        self.takes("explain packets", self.knows.explains)?;
        self.questions.ask(|id| v1::ExplainQuery {
            id,
            packet: Some(packet),
        })
    }

    /// Whether it can be asked for something that not all versions know.
    fn takes(&self, what: &'static str, is_known: bool) -> Result<(), AskError> {
        match self.role {
            _ if !self.connected => Err(AskError::NotConnected),
            v1::NodeRole::Server | v1::NodeRole::Unspecified => Err(AskError::Server),
            v1::NodeRole::LoadBalancer if !is_known => Err(AskError::TooOld {
                version: self.version.clone(),
                what,
            }),
            v1::NodeRole::LoadBalancer => Ok(()),
        }
    }

    fn status(&self, name: &str, member: &str, state: &FabricState) -> internal::MemberNodeStatus {
        let report = &self.report;
        let refusals = self
            .refusals
            .iter()
            .filter_map(|(key, refusal)| {
                Some(v1::ObjectRefusal {
                    r#ref: Some(object_ref(*key, name, state)?),
                    generation: refusal.generation,
                    reason: refusal.reason.clone(),
                })
            })
            .collect();
        let health = report.backends.iter().filter_map(|backend| {
            let (pool, server) = state.pool_of_backend(BackendId(backend.id))?;
            Some(v1::BackendHealth {
                node: name.to_owned(),
                pool: pool.to_owned(),
                backend: server.to_owned(),
                healthy: backend.healthy,
                reason: backend.reason.clone(),
                packets: backend.packets,
            })
        });
        let traffic = report.services.iter().filter_map(|service| {
            let name = state.service_name(ServiceId(service.id))?;
            let traffic = internal::ServiceTraffic {
                packets: service.packets,
                bytes: service.bytes,
                proxy: service.proxy.clone(),
                warnings: service
                    .warnings
                    .iter()
                    .take(WARNINGS_MAX)
                    .cloned()
                    .collect(),
            };
            Some((name.to_owned(), traffic))
        });
        internal::MemberNodeStatus {
            name: name.to_owned(),
            status: Some(v1::NodeStatus {
                role: self.role.into(),
                connected: self.connected,
                member: if self.connected {
                    member.to_owned()
                } else {
                    String::new()
                },
                applied_generation: self.applied_generation,
                interface: report.interface.clone(),
                xdp_mode: report.xdp_mode,
                fault: report.fault.clone(),
                addresses: self
                    .addresses
                    .borrow()
                    .iter()
                    .map(ToString::to_string)
                    .collect(),
                counters: report.counters.clone(),
                version: self.version.clone(),
                refusals,
                map_memory_bytes: report.map_memory_bytes,
                bgp: report.bgp.clone(),
            }),
            age_ms: u64::try_from(self.heard.elapsed().as_millis()).unwrap_or(u64::MAX),
            health: health.collect(),
            traffic: traffic.collect(),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.registry.with(&self.id, |record| {
            record.connected = false;
            record.questions.abandon();
            record.speaker_queries.abandon();
            record.log_queries.abandon();
            record.end.send_replace(Some(SessionEnd::Gone));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(name: &str) -> Hello {
        Hello::try_from(v1::Hello {
            name: name.to_owned(),
            role: v1::NodeRole::Server.into(),
            ..v1::Hello::default()
        })
        .unwrap()
    }

    fn connected(registry: &NodeRegistry) -> Vec<(String, bool)> {
        registry
            .statuses("1", &FabricState::default())
            .into_iter()
            .map(|node| (node.name, node.status.unwrap().connected))
            .collect()
    }

    #[test]
    fn newer_session_supersedes() {
        let registry = Arc::new(NodeRegistry::default());
        let old = registry.open(&hello("n1")).unwrap();
        let new = registry.open(&hello("n1")).unwrap();
        assert_eq!(*old.end.borrow(), Some(SessionEnd::Superseded));
        assert_eq!(*new.end.borrow(), None);
        // The old one's end does not touch the new one.
        registry.end(&old.id, SessionEnd::Gone);
        drop(old);
        assert_eq!(*new.end.borrow(), None);
        assert_eq!(connected(&registry), [("n1".to_owned(), true)]);
        drop(new);
        assert_eq!(connected(&registry), [("n1".to_owned(), false)]);
    }

    #[test]
    fn reported_addresses_replace_those_of_the_hello() {
        let registry = Arc::new(NodeRegistry::default());
        let session = registry.open(&hello("n1")).unwrap();
        let report = |address: &str| v1::NodeReport {
            addresses: vec![address.to_owned()],
            ..v1::NodeReport::default()
        };
        registry.report(&session.id, report("192.0.2.1")).unwrap();
        assert_eq!(
            *session.addresses.borrow(),
            ["192.0.2.1".parse::<IpAddr>().unwrap()]
        );
        let violation = registry
            .report(&session.id, report("elsewhere"))
            .unwrap_err();
        assert_eq!(violation.path, "report.addresses[0]");
        assert_eq!(session.addresses.borrow().len(), 1);
    }

    #[test]
    fn oldest_absent_node_makes_room() {
        let registry = Arc::new(NodeRegistry::default());
        let mut sessions: Vec<_> = (0..NODES_MAX)
            .map(|i| registry.open(&hello(&format!("n{i}"))).unwrap())
            .collect();
        assert!(registry.open(&hello("one-more")).is_err());
        drop(sessions.swap_remove(5));
        let _one_more = registry.open(&hello("one-more")).unwrap();
        let known = connected(&registry);
        assert_eq!(known.len(), NODES_MAX);
        assert!(!known.iter().any(|(name, _)| name == "n5"));
    }
}
