use lbfabric_proto::v1::{self, object};

use crate::{
    BackendId, Bgp, Certificate, CertificateId, Generation, Node, Pool, PoolId, Service, ServiceId,
};

/// An object and the generation of its last change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored<T> {
    pub(crate) generation: Generation,
    pub(crate) value: T,
}

/// A service as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredService {
    pub(crate) generation: Generation,
    pub(crate) id: ServiceId,
    pub(crate) service: Service,
}

/// A pool as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredPool {
    pub(crate) generation: Generation,
    pub(crate) id: PoolId,
    pub(crate) pool: Pool,
    /// In the order of `pool.backends`.
    pub(crate) backend_ids: Vec<BackendId>,
}

/// A certificate as it is stored, with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredCertificate {
    pub(crate) generation: Generation,
    pub(crate) id: CertificateId,
    pub(crate) certificate: Certificate,
}

impl StoredService {
    pub(crate) fn to_object(&self) -> v1::Object {
        object(
            v1::Kind::Service,
            self.service.name.as_str(),
            self.generation,
            object::Spec::Service(Box::new(self.service.to_spec())),
        )
    }
}

impl StoredPool {
    pub(crate) fn to_object(&self) -> v1::Object {
        object(
            v1::Kind::Pool,
            self.pool.name.as_str(),
            self.generation,
            object::Spec::Pool(self.pool.to_spec()),
        )
    }
}

impl Stored<Node> {
    /// Without secrets, which nobody gets back.
    pub(crate) fn to_object(&self) -> v1::Object {
        let spec = v1::NodeSpec {
            bgp: self.value.bgp.as_ref().map(Bgp::without_passwords),
            ..self.value.to_spec()
        };
        object(
            v1::Kind::Node,
            self.value.name.as_str(),
            self.generation,
            object::Spec::Node(spec),
        )
    }
}

impl StoredCertificate {
    /// Without the key, which nobody gets back.
    pub(crate) fn to_object(&self) -> v1::Object {
        let spec = v1::CertificateSpec {
            key: String::new(),
            ..self.certificate.to_spec()
        };
        object(
            v1::Kind::Certificate,
            self.certificate.name.as_str(),
            self.generation,
            object::Spec::Certificate(spec),
        )
    }
}

fn object(kind: v1::Kind, name: &str, generation: Generation, spec: object::Spec) -> v1::Object {
    v1::Object {
        r#ref: Some(v1::ObjectRef {
            kind: kind.into(),
            name: name.to_owned(),
        }),
        generation: generation.0,
        spec: Some(spec),
        status: None,
    }
}
