use std::collections::BTreeMap;

use lbfabric_model::{Generation, ObjectKey, digest_in_order, digest_of_object};
use lbfabric_proto::v1;
use prost::Message as _;

/// What the node holds of the fabric: encoded objects, exactly as a controller sent them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HeldSnapshot {
    pub(crate) generation: Generation,
    objects: BTreeMap<ObjectKey, HeldObject>,
}

/// An object as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeldObject {
    pub(crate) bytes: Vec<u8>,
    pub(crate) digest: u64,
}

/// A delta that cannot be followed; the stream has to be opened again, which compares object by object.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DeltaError {
    #[error("an object has no key, or one of an unknown kind")]
    Key,
    #[error(
        "after the delta of generation {generation} the objects do not add up to what the controller says"
    )]
    Digest { generation: Generation },
}

/// What a delta did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DeltaOutcome {
    /// It was older than what the node holds.
    Ignored,
    /// These objects are not what they were, or are gone.
    Applied(Vec<ObjectKey>),
}

impl HeldSnapshot {
    /// Follows a delta as a whole or not at all.
    pub(crate) fn apply(&mut self, delta: v1::Delta) -> Result<DeltaOutcome, DeltaError> {
        let v1::Delta {
            generation,
            upserts,
            removals,
            digest,
        } = delta;
        let generation = Generation(generation);
        if generation < self.generation {
            return Ok(DeltaOutcome::Ignored);
        }
        let key = |key: Option<v1::NodeObjectKey>| {
            let key = key.and_then(|key| ObjectKey::try_from(key).ok());
            key.ok_or(DeltaError::Key)
        };
        let mut changes: BTreeMap<ObjectKey, Option<HeldObject>> = BTreeMap::new();
        for removal in removals {
            changes.insert(key(Some(removal))?, None);
        }
        for v1::EncodedObject { key: name, object } in upserts {
            let digest = digest_of_object(&object);
            let held = HeldObject {
                bytes: object,
                digest,
            };
            changes.insert(key(name)?, Some(held));
        }
        let before: Vec<_> = changes
            .into_iter()
            .map(|(key, change)| (key, self.put(key, change)))
            .collect();
        if self.digest() != digest {
            for (key, old) in before {
                self.put(key, old);
            }
            return Err(DeltaError::Digest { generation });
        }
        self.generation = generation;
        let digest = |held: Option<&HeldObject>| held.map(|it| it.digest);
        let differing = before
            .into_iter()
            .filter(|(key, old)| digest(old.as_ref()) != digest(self.objects.get(key)));
        Ok(DeltaOutcome::Applied(
            differing.map(|(key, _)| key).collect(),
        ))
    }

    /// Holds an object, or none, and gives what was held before.
    fn put(&mut self, key: ObjectKey, object: Option<HeldObject>) -> Option<HeldObject> {
        match object {
            Some(object) => self.objects.insert(key, object),
            None => self.objects.remove(&key),
        }
    }

    /// The digest of the whole.
    fn digest(&self) -> u64 {
        digest_in_order(self.objects().map(|(key, held)| (key, held.digest)))
    }

    /// The objects for `Hello`.
    pub(crate) fn held(&self) -> Vec<v1::HeldObject> {
        self.objects
            .iter()
            .map(|(key, held)| v1::HeldObject {
                key: Some((*key).into()),
                digest: held.digest,
            })
            .collect()
    }

    pub(crate) fn objects(&self) -> impl Iterator<Item = (ObjectKey, &HeldObject)> {
        self.objects.iter().map(|(key, held)| (*key, held))
    }

    pub(crate) fn object(&self, key: ObjectKey) -> Option<&HeldObject> {
        self.objects.get(&key)
    }

    /// The form in which it is kept on disk: a delta from nothing.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let upserts = self.objects.iter().map(|(key, held)| v1::EncodedObject {
            key: Some((*key).into()),
            object: held.bytes.clone(),
        });
        v1::Delta {
            generation: self.generation.0,
            upserts: upserts.collect(),
            removals: Vec::new(),
            digest: self.digest(),
        }
        .encode_to_vec()
    }

    /// Reads what [`Self::encode`] has written; `None` if it is something else.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let delta = v1::Delta::decode(bytes).ok()?;
        let mut held = Self::default();
        held.apply(delta).ok()?;
        Some(held)
    }
}

#[cfg(test)]
mod tests {
    use lbfabric_model::{ObjectKind, digest_of_whole};

    use super::*;

    fn delta(
        generation: u64,
        upserts: &[(u32, &[u8])],
        removals: &[u32],
        whole: &[(u32, &[u8])],
    ) -> v1::Delta {
        let key = |id: u32| ObjectKey {
            kind: ObjectKind::Pool,
            id,
        };
        let digests = whole
            .iter()
            .map(|(id, bytes)| (key(*id), digest_of_object(bytes)));
        v1::Delta {
            generation,
            upserts: upserts
                .iter()
                .map(|(id, bytes)| v1::EncodedObject {
                    key: Some(key(*id).into()),
                    object: bytes.to_vec(),
                })
                .collect(),
            removals: removals.iter().map(|id| key(*id).into()).collect(),
            digest: digest_of_whole(&digests.collect()),
        }
    }

    #[test]
    fn deltas_in_order() {
        let mut held = HeldSnapshot::default();
        let first = delta(5, &[(1, b"a"), (2, b"b")], &[], &[(1, b"a"), (2, b"b")]);
        let applied = |ids: &[u32]| {
            let key = |id: &u32| ObjectKey {
                kind: ObjectKind::Pool,
                id: *id,
            };
            Ok(DeltaOutcome::Applied(ids.iter().map(key).collect()))
        };
        assert_eq!(held.apply(first.clone()), applied(&[1, 2]));
        // What is sent again as it was has not changed, nor has what was never there.
        let second = delta(6, &[(2, b"b"), (3, b"c")], &[1, 9], &[(2, b"b"), (3, b"c")]);
        assert_eq!(held.apply(second), applied(&[1, 3]));
        let after = held.clone();
        // An older one, however valid, changes nothing.
        assert_eq!(held.apply(first), Ok(DeltaOutcome::Ignored));
        assert_eq!(held, after);
        assert_eq!(HeldSnapshot::decode(&held.encode()), Some(held));
    }

    #[test]
    fn a_delta_that_does_not_add_up_changes_nothing() {
        let mut held = HeldSnapshot::default();
        let wrong = delta(5, &[(1, b"a")], &[], &[(1, b"other")]);
        let generation = Generation(5);
        assert_eq!(held.apply(wrong), Err(DeltaError::Digest { generation }));
        let mut nameless = delta(5, &[(1, b"a")], &[], &[(1, b"a")]);
        nameless.upserts[0].key = None;
        assert_eq!(held.apply(nameless), Err(DeltaError::Key));
        assert_eq!(held, HeldSnapshot::default());
    }
}
