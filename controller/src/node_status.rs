//! What all members know of the nodes, put together, and the objects' status that follows from it.

use std::{collections::BTreeMap, time::Duration};

use lbfabric_model::certificate_status;
use lbfabric_proto::{internal::v1 as internal, v1};
use tokio::{task::JoinSet, time};

use v1::object::{Spec, Status};

use crate::{cluster::Cluster, node_registry::NodeRegistry};

/// How long a member may take to answer.
const ASK_TIMEOUT: Duration = Duration::from_millis(500);

/// What is known of all nodes.
#[derive(Debug, Default)]
pub(crate) struct NodeStatuses {
    nodes: BTreeMap<String, internal::MemberNodeStatus>,
    /// Members that did not answer, by name.
    pub(crate) missing_members: Vec<String>,
}

// === impl NodeStatuses ===

impl NodeStatuses {
    /// Asks all members at once.
    pub(crate) async fn collect(cluster: &Cluster, registry: &NodeRegistry) -> Self {
        let mut asked = JoinSet::new();
        for (member, mut client) in cluster.peers() {
            asked.spawn(async move {
                let answer = client.node_statuses(internal::NodeStatusesRequest {});
                let nodes = match time::timeout(ASK_TIMEOUT, answer).await {
                    Ok(Ok(response)) => Some(response.into_inner().nodes),
                    Ok(Err(_)) | Err(_) => None,
                };
                (member, nodes)
            });
        }
        let mut all = Self::default();
        all.merge(registry.statuses(&cluster.name(), &cluster.local().state));
        for (member, nodes) in asked.join_all().await {
            match nodes {
                Some(nodes) => all.merge(nodes),
                None => all.missing_members.push(member.to_string()),
            }
        }
        all.missing_members.sort_unstable();
        all
    }

    /// Of two members that know a node, the one that it is connected to is right, then the one that heard of it last.
    fn merge(&mut self, nodes: Vec<internal::MemberNodeStatus>) {
        for node in nodes {
            match self.nodes.get(&node.name) {
                Some(known) if rank(known) >= rank(&node) => {}
                _ => {
                    self.nodes.insert(node.name.clone(), node);
                }
            }
        }
    }

    /// Adds an object for each node that is known without having been declared.
    pub(crate) fn add_undeclared(&self, objects: &mut Vec<v1::Object>) {
        let node = i32::from(v1::Kind::Node);
        let declared: Vec<String> = objects
            .iter()
            .filter_map(|object| object.r#ref.as_ref())
            .filter(|name| name.kind == node)
            .map(|name| name.name.clone())
            .collect();
        for name in self.nodes.keys().filter(|name| !declared.contains(name)) {
            objects.push(undeclared(name));
        }
    }

    /// The object of a node that is known without having been declared.
    pub(crate) fn undeclared(&self, name: &str) -> Option<v1::Object> {
        self.nodes.get(name).map(|node| undeclared(&node.name))
    }

    /// Fills in an object's status.
    pub(crate) fn fill_in(&self, object: &mut v1::Object) {
        let Some(v1::ObjectRef { kind, name }) = &object.r#ref else {
            return;
        };
        object.status = match v1::Kind::try_from(*kind).unwrap_or_default() {
            v1::Kind::Service => Some(Status::ServiceStatus(self.service(name, object.generation))),
            v1::Kind::Pool => Some(Status::PoolStatus(self.pool(name))),
            v1::Kind::Node => Some(Status::NodeStatus(self.node(name))),
            v1::Kind::Certificate => match &object.spec {
                Some(Spec::Certificate(spec)) => {
                    certificate_status(spec).map(Status::CertificateStatus)
                }
                _ => None,
            },
            v1::Kind::Unspecified => None,
        };
    }

    fn service(&self, name: &str, generation: u64) -> v1::ServiceStatus {
        let mut service = v1::ServiceStatus::default();
        for (node, known) in &self.nodes {
            if let Some(traffic) = known.traffic.get(name) {
                service.packets += traffic.packets;
                service.bytes += traffic.bytes;
                if let Some(proxy) = &traffic.proxy {
                    add(service.proxy.get_or_insert_default(), proxy);
                }
            }
            let Some(status) = &known.status else {
                continue;
            };
            if !status.connected || status.role() != v1::NodeRole::LoadBalancer {
                continue;
            }
            let warnings = known.traffic.get(name).into_iter();
            service.warnings.extend(
                warnings
                    .flat_map(|of| &of.warnings)
                    .map(|text| v1::Warning {
                        node: node.clone(),
                        text: text.clone(),
                    }),
            );
            let refusal = status.refusals.iter().find(|refusal| {
                refusal.r#ref.as_ref().is_some_and(|refused| {
                    refused.kind() == v1::Kind::Service && refused.name == name
                })
            });
            if let Some(refusal) = refusal {
                service.refusals.push(v1::Refusal {
                    node: node.clone(),
                    reason: refusal.reason.clone(),
                });
            } else if status.applied_generation >= generation && status.fault.is_empty() {
                service.applied_nodes.push(node.clone());
            }
        }
        service
    }

    fn pool(&self, name: &str) -> v1::PoolStatus {
        v1::PoolStatus {
            health: self
                .nodes
                .values()
                .flat_map(|node| &node.health)
                .filter(|health| health.pool == name)
                .cloned()
                .collect(),
        }
    }

    /// The nodes that some member knows.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (&str, &v1::NodeStatus)> {
        let nodes = self.nodes.values();
        nodes.filter_map(|node| Some((node.name.as_str(), node.status.as_ref()?)))
    }

    /// The status of a node that some member knows.
    pub(crate) fn known(&self, name: &str) -> Option<&v1::NodeStatus> {
        self.nodes.get(name)?.status.as_ref()
    }

    fn node(&self, name: &str) -> v1::NodeStatus {
        self.nodes
            .get(name)
            .and_then(|node| node.status.clone())
            .unwrap_or_default()
    }
}

fn rank(node: &internal::MemberNodeStatus) -> (bool, std::cmp::Reverse<u64>) {
    let connected = node.status.as_ref().is_some_and(|status| status.connected);
    (connected, std::cmp::Reverse(node.age_ms))
}

fn undeclared(name: &str) -> v1::Object {
    v1::Object {
        r#ref: Some(v1::ObjectRef {
            kind: v1::Kind::Node.into(),
            name: name.to_owned(),
        }),
        ..v1::Object::default()
    }
}

fn add(sum: &mut v1::ProxyTraffic, more: &v1::ProxyTraffic) {
    let v1::ProxyTraffic {
        connections,
        requests,
        refusals,
        active_connections,
        errors,
        received_bytes,
        sent_bytes,
        times,
    } = more;
    sum.connections += connections;
    sum.requests += requests;
    sum.refusals += refusals;
    sum.active_connections += active_connections;
    sum.errors += errors;
    sum.received_bytes += received_bytes;
    sum.sent_bytes += sent_bytes;
    if sum.times.len() < times.len() {
        sum.times.resize(times.len(), 0);
    }
    for (sum, more) in sum.times.iter_mut().zip(times) {
        *sum += more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(name: &str, connected: bool, age_ms: u64, fault: &str) -> internal::MemberNodeStatus {
        internal::MemberNodeStatus {
            name: name.to_owned(),
            status: Some(v1::NodeStatus {
                connected,
                role: v1::NodeRole::LoadBalancer.into(),
                applied_generation: 5,
                fault: fault.to_owned(),
                ..v1::NodeStatus::default()
            }),
            age_ms,
            ..internal::MemberNodeStatus::default()
        }
    }

    fn fault_after(
        first: internal::MemberNodeStatus,
        second: internal::MemberNodeStatus,
    ) -> String {
        let mut all = NodeStatuses::default();
        all.merge(vec![first]);
        all.merge(vec![second]);
        all.node("n").fault
    }

    #[test]
    fn connected_and_younger_ones_win_in_any_order() {
        let connected = known("n", true, 900, "connected");
        let young = known("n", false, 10, "young");
        let old = known("n", false, 20, "old");
        for (a, b, want) in [
            (&connected, &young, "connected"),
            (&young, &connected, "connected"),
            (&young, &old, "young"),
            (&old, &young, "young"),
        ] {
            assert_eq!(fault_after(a.clone(), b.clone()), want);
        }
    }

    #[test]
    fn service_is_applied_where_its_generation_is_and_nothing_is_wrong() {
        let mut all = NodeStatuses::default();
        all.merge(vec![
            known("a", true, 0, ""),
            known("b", true, 0, "no such interface"),
            known("c", false, 0, ""),
        ]);
        assert_eq!(all.service("s", 5).applied_nodes, ["a"]);
        assert!(all.service("s", 6).applied_nodes.is_empty());
    }

    #[test]
    fn undeclared_nodes_are_listed_once() {
        let mut all = NodeStatuses::default();
        all.merge(vec![known("a", true, 0, ""), known("b", true, 0, "")]);
        let mut objects = vec![undeclared("a")];
        all.add_undeclared(&mut objects);
        let names: Vec<_> = objects.into_iter().filter_map(|o| o.r#ref).collect();
        assert_eq!(names.len(), 2);
        assert_eq!(names[1].name, "b");
    }
}
