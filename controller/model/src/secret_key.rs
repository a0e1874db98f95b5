use std::fmt;

use lbfabric_proto::v1;

const KEY_BYTES: usize = 32;

/// A secret that all nodes have. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey([u8; KEY_BYTES]);

impl SecretKey {
    /// One that is drawn at random.
    pub const fn new(secret: [u8; KEY_BYTES]) -> Self {
        Self(secret)
    }

    /// The secret itself, for what is made with it.
    pub const fn secret(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// None if it has another length.
    pub(crate) fn from_proto(proto: &v1::SecretKey) -> Option<Self> {
        <[u8; KEY_BYTES]>::try_from(&proto.secret[..])
            .ok()
            .map(Self)
    }

    pub(crate) fn to_proto(&self) -> v1::SecretKey {
        v1::SecretKey {
            secret: self.0.to_vec(),
        }
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use lbfabric_proto::internal::v1 as internal;
    use prost::Message as _;

    use super::*;
    use crate::{
        Command, CompiledFabric, FabricState, Generation, NodeFacts, Role, snapshot::SnapshotObject,
    };

    #[test]
    fn whatever_has_a_secret_does_not_show_it() {
        let key = SecretKey::new([0xab; KEY_BYTES]);
        let commands = [
            Command::SetHashKey([1; 16]),
            Command::SetCookieKey(key.clone()),
            Command::AddTicketKey {
                period: 1,
                secret: key.clone(),
            },
        ];
        let mut state = FabricState::default();
        for (index, command) in (1..).zip(&commands) {
            state.apply(Generation(index), command);
        }
        let facts = NodeFacts {
            name: "n1".into(),
            role: Role::LoadBalancer,
            addresses: vec![],
        };
        let compiled = CompiledFabric::compile(&state, None);
        let node = compiled.for_node(&facts);
        let settings = node.objects.values().next().expect("settings");
        let snapshot = state.to_snapshot();
        // They do have it.
        let has = |bytes: &[u8]| bytes.windows(KEY_BYTES).any(|it| it == key.secret());
        assert!(has(&settings.bytes) && has(&snapshot.encode_to_vec()));
        let decoded = SnapshotObject::decode(&settings.bytes).expect("it is whole");
        let sent: Vec<_> = commands.iter().map(internal::Command::from).collect();
        let shown = format!(
            "{key:?} {state:?} {compiled:?} {snapshot:?} {decoded:?} {commands:?} {sent:?}"
        );
        assert!(shown.contains("SecretKey"), "{shown}");
        // Decimal or hexadecimal.
        for digits in ["171, 171", "abab", "ab, ab"] {
            assert!(!shown.contains(digits), "{shown}");
        }
    }
}
