use lbfabric_model::{CertificateId, FabricState, ObjectKey, ObjectKind, PoolId, ServiceId};
use lbfabric_proto::v1;

/// Refusals by what they refuse.
pub(super) fn by_key(
    refusals: &[v1::NodeObjectRefusal],
) -> impl Iterator<Item = (ObjectKey, v1::NodeObjectRefusal)> + '_ {
    refusals.iter().filter_map(|refusal| {
        let key = ObjectKey::try_from(refusal.key?).ok()?;
        Some((key, refusal.clone()))
    })
}

/// The object that a key stands for; none once it is deleted.
pub(super) fn object_ref(key: ObjectKey, node: &str, state: &FabricState) -> Option<v1::ObjectRef> {
    let (kind, name) = match key.kind {
        ObjectKind::Service => (v1::Kind::Service, state.service_name(ServiceId(key.id))?),
        ObjectKind::Pool => (v1::Kind::Pool, state.pool_name(PoolId(key.id))?),
        ObjectKind::Certificate => (
            v1::Kind::Certificate,
            state.certificate_name(CertificateId(key.id))?,
        ),
        ObjectKind::Settings | ObjectKind::ServerVips => (v1::Kind::Node, node),
    };
    Some(v1::ObjectRef {
        kind: kind.into(),
        name: name.to_owned(),
    })
}
