//! The operators' API: each call checks its request, reads or writes through the cluster, and answers.

use std::sync::Arc;

use futures::stream::{self, BoxStream};
use lbfabric_model::{Command, FabricState, Outcome};
use lbfabric_proto::{
    internal::v1 as internal,
    v1::{self, fabric_service_server::FabricService},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::{
    cluster::Cluster, deadline, explain, logs, node_registry::NodeRegistry,
    node_status::NodeStatuses, status, watcher::Watcher,
};

/// What operators and automation call.
pub(crate) struct FabricServer {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) registry: Arc<NodeRegistry>,
    pub(crate) stopping: CancellationToken,
}

// === impl FabricServer ===

impl FabricServer {
    async fn execute(
        &self,
        command: &Command,
        deadline: Instant,
    ) -> Result<(u64, Vec<v1::Change>), Status> {
        // The key is a generation of its own: after a caller's write it would make the generation that the caller got an old one.
        self.cluster
            .founded(deadline)
            .await
            .map_err(|e| status::write_failed(&e))?;
        let outcome = self
            .cluster
            .write(command, deadline)
            .await
            .map_err(|e| status::write_failed(&e))?;
        match outcome {
            Outcome::Applied {
                generation,
                changes,
            } => Ok((generation.0, changes)),
            Outcome::Refused(refusal) => Err(status::refused(&refusal)),
        }
    }

    async fn read(&self, deadline: Instant) -> Result<Arc<FabricState>, Status> {
        match self.cluster.read(deadline).await {
            Ok(published) => Ok(published.state),
            Err(e) => Err(status::read_failed(&e)),
        }
    }

    /// Everything that is wrong with a document. What this member finds wrong may be due to a write that has not got here yet,
    /// so it looks again at the newest state before it refuses.
    async fn check(
        &self,
        spec: &v1::FabricSpec,
        prune: bool,
        deadline: Instant,
    ) -> Result<(), Status> {
        let local = self.cluster.local().state;
        if local.violations(spec, prune).is_empty() {
            return Ok(());
        }
        let state = match self.cluster.read(deadline).await {
            Ok(published) => published.state,
            Err(e) => {
                // Without a majority the mistakes of single fields are certain all the same.
                let own = match lbfabric_model::Document::parse(spec) {
                    Ok(_) => Vec::new(),
                    Err(invalid) => invalid.violations,
                };
                return Err(if own.is_empty() {
                    status::read_failed(&e)
                } else {
                    status::invalid(&own)
                });
            }
        };
        let violations = state.violations(spec, prune);
        if violations.is_empty() {
            Ok(())
        } else {
            Err(status::invalid(&violations))
        }
    }
}

fn apply_command(
    fabric: v1::FabricSpec,
    prune: bool,
    expected_generation: u64,
) -> Result<Command, Status> {
    parse(internal::command::Command::Apply(internal::ApplyCommand {
        fabric: Some(fabric),
        prune,
        expected_generation,
    }))
}

fn parse(command: internal::command::Command) -> Result<Command, Status> {
    Command::try_from(internal::Command {
        command: Some(command),
    })
    .map_err(|violations| status::invalid(&violations))
}

fn required_fabric(fabric: Option<v1::FabricSpec>) -> Result<v1::FabricSpec, Status> {
    fabric.ok_or_else(|| status::invalid_field("fabric", "required: the objects to apply"))
}

/// A kind as a number from outside; an unknown one is refused.
fn kind(number: i32) -> Result<v1::Kind, Status> {
    v1::Kind::try_from(number).map_err(|_unknown: prost::UnknownEnumValue| {
        status::invalid_field(
            "kind",
            "unknown: one of service, pool, node and certificate is right",
        )
    })
}

fn kind_name(kind: v1::Kind) -> &'static str {
    match kind {
        v1::Kind::Unspecified => "object",
        v1::Kind::Service => "service",
        v1::Kind::Pool => "pool",
        v1::Kind::Node => "node",
        v1::Kind::Certificate => "certificate",
    }
}

#[tonic::async_trait]
impl FabricService for FabricServer {
    async fn apply(
        &self,
        request: Request<v1::ApplyRequest>,
    ) -> Result<Response<v1::ApplyResponse>, Status> {
        let deadline = deadline::of_call(request.metadata());
        let request = request.into_inner();
        let fabric = required_fabric(request.fabric)?;
        self.check(&fabric, request.prune, deadline).await?;
        let command = apply_command(fabric, request.prune, request.expected_generation)?;
        let (generation, changes) = self.execute(&command, deadline).await?;
        Ok(Response::new(v1::ApplyResponse {
            generation,
            changes,
        }))
    }

    async fn diff(
        &self,
        request: Request<v1::DiffRequest>,
    ) -> Result<Response<v1::DiffResponse>, Status> {
        let deadline = deadline::of_call(request.metadata());
        let request = request.into_inner();
        let fabric = required_fabric(request.fabric)?;
        let state = self.read(deadline).await?;
        let violations = state.violations(&fabric, request.prune);
        if !violations.is_empty() {
            return Err(status::invalid(&violations));
        }
        let command = apply_command(fabric, request.prune, 0)?;
        match state.preview(&command) {
            Outcome::Applied {
                generation,
                changes,
            } => Ok(Response::new(v1::DiffResponse {
                generation: generation.0,
                changes,
            })),
            Outcome::Refused(refusal) => Err(status::refused(&refusal)),
        }
    }

    async fn get(
        &self,
        request: Request<v1::GetRequest>,
    ) -> Result<Response<v1::GetResponse>, Status> {
        let deadline = deadline::of_call(request.metadata());
        let request = request.into_inner();
        let wanted = request
            .r#ref
            .ok_or_else(|| status::invalid_field("ref", "required: the object's kind and name"))?;
        let wanted = lbfabric_model::ObjectRef::parse(&wanted, "ref")
            .map_err(|violation| status::invalid(&[violation]))?;
        let state = self.read(deadline).await?;
        let declared = state.object(wanted.kind, &wanted.name);
        let ask = request.with_status || (declared.is_none() && wanted.kind == v1::Kind::Node);
        let nodes = if ask {
            NodeStatuses::collect(&self.cluster, &self.registry).await
        } else {
            NodeStatuses::default()
        };
        let undeclared = || match wanted.kind {
            v1::Kind::Node => nodes.undeclared(&wanted.name),
            v1::Kind::Unspecified | v1::Kind::Service | v1::Kind::Pool | v1::Kind::Certificate => {
                None
            }
        };
        let mut object = declared
            .or_else(undeclared)
            .ok_or_else(|| status::no_such_object(kind_name(wanted.kind), &wanted.name))?;
        if request.with_status {
            nodes.fill_in(&mut object);
        }
        Ok(Response::new(v1::GetResponse {
            object: Some(object),
        }))
    }

    async fn list(
        &self,
        request: Request<v1::ListRequest>,
    ) -> Result<Response<v1::ListResponse>, Status> {
        let deadline = deadline::of_call(request.metadata());
        let request = request.into_inner();
        let kind = kind(request.kind)?;
        let state = self.read(deadline).await?;
        let mut objects = state.objects(kind);
        let lists_nodes = matches!(kind, v1::Kind::Unspecified | v1::Kind::Node);
        let mut missing_members = Vec::new();
        if request.with_status || lists_nodes {
            let nodes = NodeStatuses::collect(&self.cluster, &self.registry).await;
            if lists_nodes {
                nodes.add_undeclared(&mut objects);
            }
            if request.with_status {
                for object in &mut objects {
                    nodes.fill_in(object);
                }
            }
            missing_members = nodes.missing_members;
        }
        Ok(Response::new(v1::ListResponse {
            generation: state.objects_generation().0,
            objects,
            missing_members,
        }))
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        let deadline = deadline::of_call(request.metadata());
        let v1::DeleteRequest {
            refs,
            expected_generation,
        } = request.into_inner();
        let command = parse(internal::command::Command::Delete(
            internal::DeleteCommand {
                refs,
                expected_generation,
            },
        ))?;
        let (generation, changes) = self.execute(&command, deadline).await?;
        Ok(Response::new(v1::DeleteResponse {
            generation,
            changes,
        }))
    }

    async fn explain(
        &self,
        request: Request<v1::ExplainRequest>,
    ) -> Result<Response<v1::ExplainResponse>, Status> {
        let request = request.into_inner();
        let answer = explain::explain(&self.cluster, &self.registry, request).await?;
        Ok(Response::new(answer))
    }

    type LogsStream = BoxStream<'static, Result<v1::LogsResponse, Status>>;

    async fn logs(
        &self,
        request: Request<v1::LogsRequest>,
    ) -> Result<Response<Self::LogsStream>, Status> {
        let deadline = deadline::of_call(request.metadata());
        let request = request.into_inner();
        let state = self.read(deadline).await?;
        status::has_log(&state, &request.service)?;
        let stopping = self.stopping.clone();
        let lines = logs::logs(&self.cluster, &self.registry, &request, stopping);
        Ok(Response::new(lines))
    }

    type WatchStream = BoxStream<'static, Result<v1::WatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let deadline = deadline::of_call(request.metadata());
        let kind = kind(request.into_inner().kind)?;
        let first = self
            .cluster
            .read(deadline)
            .await
            .map_err(|e| status::read_failed(&e))?;
        let watcher = Watcher::new(
            kind,
            &first,
            self.cluster.raft().published(),
            self.stopping.clone(),
        );
        let messages = stream::unfold(Some(watcher), |watcher| async move {
            let mut watcher = watcher?;
            match watcher.next_message().await {
                Ok(message) => Some((Ok(message), Some(watcher))),
                Err(status) => Some((Err(status), None)),
            }
        });
        Ok(Response::new(Box::pin(messages)))
    }
}
