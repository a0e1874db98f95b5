use std::fmt;

use bytes::Bytes;
use openraft::{BasicNode, alias, storage::Snapshot};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

openraft::declare_raft_types!(
    /// What the library is parametrized with.
    pub(crate) TypeConfig:
        D = Encoded,
        R = Encoded,
        NodeId = u64,
        Node = BasicNode,
);

/// Who has led: in what term, and which member.
pub(crate) type LeaderId = alias::CommittedLeaderIdOf<TypeConfig>;
pub(crate) type LogId = alias::LogIdOf<TypeConfig>;
pub(crate) type Entry = alias::EntryOf<TypeConfig>;
pub(crate) type Vote = alias::VoteOf<TypeConfig>;
pub(crate) type Membership = alias::StoredMembershipOf<TypeConfig>;
pub(crate) type SnapshotMeta = alias::SnapshotMetaOf<TypeConfig>;
pub(crate) type RaftSnapshot = alias::SnapshotOf<TypeConfig, Bytes>;

/// An encoded protobuf message: a command in the log, or its result. The log outlives changes of our structs this way.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Encoded(pub(crate) Bytes);

/// A member's time as leader. Of two, one is later than the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tenure {
    pub(crate) term: u64,
    /// One term may have several leaders, one after the other.
    pub(crate) member: u64,
}

impl Tenure {
    pub(crate) fn of(leader: &LeaderId) -> Self {
        Self {
            term: leader.term,
            member: leader.node_id,
        }
    }
}

/// A snapshot from its parts.
pub(crate) fn snapshot(meta: SnapshotMeta, data: Bytes) -> RaftSnapshot {
    Snapshot {
        meta,
        snapshot: data,
    }
}

// === impl Encoded ===

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Serialize for Encoded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Encoded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BytesVisitor;

        impl de::Visitor<'_> for BytesVisitor {
            type Value = Encoded;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Encoded, E> {
                Ok(Encoded(Bytes::copy_from_slice(bytes)))
            }
        }

        deserializer.deserialize_bytes(BytesVisitor)
    }
}
