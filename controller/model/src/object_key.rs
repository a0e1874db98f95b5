use lbfabric_proto::v1;

/// Names an object within a node's snapshot; ordered as the objects are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// The kind.
    pub kind: ObjectKind,
    /// The id within the kind.
    pub id: u32,
}

/// The kinds of object in a node's snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// What holds for the whole node; its id is 0.
    Settings,
    /// A pool.
    Pool,
    /// A service.
    Service,
    /// The VIPs that a server holds; its id is 0.
    ServerVips,
    /// A certificate.
    Certificate,
}

impl From<ObjectKey> for v1::NodeObjectKey {
    fn from(ObjectKey { kind, id }: ObjectKey) -> Self {
        Self {
            kind: v1::NodeObjectKind::from(kind).into(),
            id,
        }
    }
}

impl From<ObjectKind> for v1::NodeObjectKind {
    fn from(kind: ObjectKind) -> Self {
        match kind {
            ObjectKind::Settings => Self::Settings,
            ObjectKind::Pool => Self::Pool,
            ObjectKind::Service => Self::Service,
            ObjectKind::ServerVips => Self::ServerVips,
            ObjectKind::Certificate => Self::Certificate,
        }
    }
}

impl TryFrom<v1::NodeObjectKey> for ObjectKey {
    type Error = UnknownObjectKind;

    fn try_from(proto: v1::NodeObjectKey) -> Result<Self, UnknownObjectKind> {
        let kind = match proto.kind() {
            v1::NodeObjectKind::Settings => ObjectKind::Settings,
            v1::NodeObjectKind::Pool => ObjectKind::Pool,
            v1::NodeObjectKind::Service => ObjectKind::Service,
            v1::NodeObjectKind::ServerVips => ObjectKind::ServerVips,
            v1::NodeObjectKind::Certificate => ObjectKind::Certificate,
            v1::NodeObjectKind::Unspecified => return Err(UnknownObjectKind(proto.kind)),
        };
        Ok(Self { kind, id: proto.id })
    }
}

/// An object of a kind that this version does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an object is of the unknown kind {0}: the controller is newer than this node")]
pub struct UnknownObjectKind(pub i32);
