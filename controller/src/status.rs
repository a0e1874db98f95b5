//! The only place that makes a `tonic::Status`.

use lbfabric_model::{FabricState, Refusal, RefusalKind, Violation};
use lbfabric_proto::v1;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use crate::{
    cluster::{ReadError, WriteError},
    explain::ExplainError,
    node_registry::SessionEnd,
    questions::AskError,
    raft::RpcError,
};

/// What fits into the trailers of an answer, of which clients commonly take 16 KiB: the details in Base64, the message
/// with spaces escaped.
const DETAILS_MAX_BYTES: usize = 6_000;
const MESSAGE_MAX_CHARS: usize = 1_000;

/// A refused command.
pub(crate) fn refused(refusal: &Refusal) -> Status {
    match refusal.kind {
        RefusalKind::Invalid => invalid(&refusal.violations),
        RefusalKind::NotFound => Status::new(Code::NotFound, summary(&refusal.violations)),
        RefusalKind::InUse | RefusalKind::Stale => {
            Status::new(Code::FailedPrecondition, summary(&refusal.violations))
        }
    }
}

/// A request that can never succeed, with everything that is wrong with it.
pub(crate) fn invalid(violations: &[Violation]) -> Status {
    let mut fields = Vec::new();
    let mut bytes = 0;
    for (i, Violation { path, reason }) in violations.iter().enumerate() {
        bytes += path.len() + reason.len() + 8;
        if bytes > DETAILS_MAX_BYTES && i > 0 {
            let left = violations.len() - i;
            fields.push(FieldViolation::new("", format!("{left} more mistakes")));
            break;
        }
        fields.push(FieldViolation::new(path, reason));
    }
    Status::with_error_details(
        Code::InvalidArgument,
        summary(violations),
        ErrorDetails::with_bad_request(fields),
    )
}

/// A request with one mistake.
pub(crate) fn invalid_field(path: &str, reason: &str) -> Status {
    invalid(&[Violation::new(path, reason)])
}

/// The named object does not exist.
pub(crate) fn no_such_object(kind: &str, name: &str) -> Status {
    Status::new(Code::NotFound, format!("there is no {kind} `{name}`"))
}

/// A VIP that no service has with a lease.
pub(crate) fn no_leased_vip(vip: std::net::IpAddr) -> Status {
    Status::new(
        Code::NotFound,
        format!("no service has the VIP {vip} with `announce.lease`"),
    )
}

/// A node that cannot be given a VIP.
pub(crate) fn no_lease_node(name: &str) -> Status {
    Status::new(
        Code::FailedPrecondition,
        format!("node `{name}` has never asked for a lease: start its agent, or name another node"),
    )
}

/// A write without a known success.
pub(crate) fn write_failed(error: &WriteError) -> Status {
    Status::new(Code::Unavailable, error.to_string())
}

/// A read that could not be made linearizable.
pub(crate) fn read_failed(error: &ReadError) -> Status {
    Status::new(Code::Unavailable, error.to_string())
}

/// A question about a packet without an answer.
pub(crate) fn explain_failed(error: &ExplainError) -> Status {
    let code = match error {
        ExplainError::Ask { node: _, reason } => match reason {
            AskError::Unknown => Code::NotFound,
            AskError::NotConnected | AskError::Server | AskError::TooOld { .. } => {
                Code::FailedPrecondition
            }
            AskError::Busy => Code::ResourceExhausted,
        },
        ExplainError::Missing { .. } => Code::Unavailable,
        ExplainError::Timeout { .. } | ExplainError::Gone { .. } => Code::Aborted,
        ExplainError::Node { .. } => Code::FailedPrecondition,
    };
    Status::new(code, error.to_string())
}

/// Nothing, if a service has an access log.
pub(crate) fn has_log(state: &FabricState, service: &str) -> Result<(), Status> {
    let object = state.object(v1::Kind::Service, service);
    let spec = object.and_then(|object| object.spec);
    let Some(v1::object::Spec::Service(spec)) = spec else {
        return Err(Status::not_found(format!(
            "there is no service `{service}`"
        )));
    };
    match spec.proxy.and_then(|proxy| proxy.access_log) {
        Some(_) => Ok(()),
        None => Err(Status::failed_precondition(format!(
            "service `{service}` has no access log: a service of layer 7 has one with `proxy.access_log`"
        ))),
    }
}

/// A message of another member that could not be answered.
pub(crate) fn rpc_failed(error: &RpcError) -> Status {
    let code = match error {
        RpcError::Decode { .. } | RpcError::UnknownMethod => Code::InvalidArgument,
        RpcError::Stopped(_) => Code::Unavailable,
    };
    Status::new(code, error.to_string())
}

/// A stream that ends because the member stops.
pub(crate) fn stopping() -> Status {
    Status::new(Code::Unavailable, "this controller member is stopping")
}

/// A stream that ends because this member lost its cluster.
pub(crate) fn cut_off() -> Status {
    Status::new(
        Code::Unavailable,
        "this controller member has lost the leader: try another one",
    )
}

/// A node that knows more than this member.
pub(crate) fn behind(generation: u64) -> Status {
    Status::new(
        Code::Unavailable,
        format!(
            "this controller member has not reached generation {generation} yet: try another one"
        ),
    )
}

/// A stream that did not begin with a `Hello` in time.
pub(crate) fn no_hello() -> Status {
    invalid_field("hello", "the first message of the stream must be a `Hello`")
}

/// A node's stream that was ended from this side.
pub(crate) fn session_ended(end: &SessionEnd) -> Status {
    match end {
        SessionEnd::Superseded => Status::new(
            Code::Aborted,
            "the node has opened another stream: two nodes must not have the same name",
        ),
        SessionEnd::Invalid(violation) => invalid(std::slice::from_ref(violation)),
        SessionEnd::Gone => Status::new(Code::Cancelled, "the node has ended the stream"),
    }
}

/// More nodes than a fabric may have.
pub(crate) fn too_many_nodes(limit: usize) -> Status {
    Status::new(
        Code::ResourceExhausted,
        format!("{limit} nodes are connected to this controller member already"),
    )
}

fn summary(violations: &[Violation]) -> String {
    let list: Vec<_> = violations.iter().map(ToString::to_string).collect();
    let list = list.join("; ");
    let text = match violations.len() {
        1 => list,
        n => format!("{n} mistakes: {list}"),
    };
    if text.chars().count() <= MESSAGE_MAX_CHARS {
        return text;
    }
    let head: String = text.chars().take(MESSAGE_MAX_CHARS).collect();
    format!("{head}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_listed() {
        let violations: Vec<_> = (0..5)
            .map(|i| Violation::new(format!("services[{i}].name"), "a name is required"))
            .collect();
        let status = invalid(&violations);
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().starts_with("5 mistakes: services[0].name"));
        let details = status.get_error_details();
        let fields = &details.bad_request().unwrap().field_violations;
        assert_eq!(fields.len(), 5);
        assert_eq!(fields[4].field, "services[4].name");
    }

    #[test]
    fn answer_stays_within_what_clients_take() {
        let violations: Vec<_> = (0..10_000)
            .map(|i| Violation::new(format!("services[{i}].name"), "a name is required"))
            .collect();
        let status = invalid(&violations);
        assert!(status.details().len() < 8_000, "{}", status.details().len());
        let details = status.get_error_details();
        let last = details.bad_request().unwrap().field_violations.last();
        assert!(last.unwrap().description.ends_with("more mistakes"));
    }
}
