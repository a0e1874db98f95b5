use std::collections::{BTreeMap, BTreeSet};

use lbfabric_proto::v1;

/// Makes one sequence of changes out of a watch that breaks now and then.
///
/// A stream that is opened again begins with every object that exists. Of these only those that are new or have another
/// generation are passed on, and at `synced` the ones that have gone meanwhile.
#[derive(Debug, Default)]
pub(super) struct Follower {
    /// The objects that were passed on, with their generation.
    known: BTreeMap<Key, u64>,
    /// While a stream that was opened again has not said `synced`: what it has named.
    resumed: Option<BTreeSet<Key>>,
    synced: bool,
}

type Key = (i32, String);

impl Follower {
    /// The stream begins again.
    pub(super) fn restart(&mut self) {
        self.resumed = Some(BTreeSet::new());
    }

    /// Takes a message and gives those that the user is to see.
    pub(super) fn message(&mut self, mut response: v1::WatchResponse) -> Vec<v1::WatchResponse> {
        if response.synced {
            return self.synced(response);
        }
        let Some(object) = response.object.as_ref() else {
            return vec![response];
        };
        let Some(of) = object.r#ref.as_ref() else {
            return vec![response];
        };
        let key = (of.kind, of.name.clone());
        if response.action() == v1::Action::Delete {
            self.known.remove(&key);
            return vec![response];
        }
        let before = self.known.insert(key.clone(), object.generation);
        if let Some(named) = &mut self.resumed {
            named.insert(key);
            if before == Some(object.generation) {
                return Vec::new();
            }
            if before.is_some() {
                response.set_action(v1::Action::Update);
            }
        }
        vec![response]
    }

    fn synced(&mut self, response: v1::WatchResponse) -> Vec<v1::WatchResponse> {
        let mut shown = Vec::new();
        if let Some(named) = self.resumed.take() {
            let gone: Vec<Key> = self
                .known
                .keys()
                .filter(|key| !named.contains(*key))
                .cloned()
                .collect();
            for key in gone {
                self.known.remove(&key);
                let (kind, name) = key;
                let object = v1::Object {
                    r#ref: Some(v1::ObjectRef { kind, name }),
                    ..Default::default()
                };
                shown.push(v1::WatchResponse {
                    generation: response.generation,
                    synced: false,
                    action: v1::Action::Delete.into(),
                    object: Some(object),
                });
            }
        }
        // The user is told once that all is there.
        if !self.synced {
            self.synced = true;
            shown.push(response);
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(name: &str, generation: u64, action: v1::Action) -> v1::WatchResponse {
        let object = v1::Object {
            r#ref: Some(v1::ObjectRef {
                kind: v1::Kind::Pool.into(),
                name: name.to_owned(),
            }),
            generation,
            ..Default::default()
        };
        v1::WatchResponse {
            generation,
            synced: false,
            action: action.into(),
            object: Some(object),
        }
    }

    fn synced(generation: u64) -> v1::WatchResponse {
        v1::WatchResponse {
            generation,
            synced: true,
            ..Default::default()
        }
    }

    #[test]
    fn shows_each_change_once_over_a_broken_stream() {
        use v1::Action::{Create, Delete, Update};
        let mut follower = Follower::default();
        for message in [
            change("a", 1, Create),
            change("b", 2, Create),
            change("c", 3, Create),
            synced(3),
            change("d", 4, Create),
        ] {
            assert_eq!(follower.message(message.clone()), vec![message]);
        }
        follower.restart();
        assert_eq!(follower.message(change("a", 1, Create)), vec![]);
        assert_eq!(
            follower.message(change("b", 6, Create)),
            vec![change("b", 6, Update)]
        );
        assert_eq!(follower.message(change("d", 4, Create)), vec![]);
        assert_eq!(
            follower.message(change("e", 5, Create)),
            vec![change("e", 5, Create)]
        );
        let mut gone = change("c", 6, Delete);
        gone.object.as_mut().expect("an object").generation = 0;
        assert_eq!(follower.message(synced(6)), vec![gone]);
        assert_eq!(
            follower.message(change("a", 7, Delete)),
            vec![change("a", 7, Delete)]
        );
        assert_eq!(
            follower.message(change("a", 8, Create)),
            vec![change("a", 8, Create)]
        );
    }

    #[test]
    fn a_stream_that_breaks_twice_before_it_is_synced_loses_nothing() {
        let mut follower = Follower::default();
        let create = |name, generation| change(name, generation, v1::Action::Create);
        follower.message(create("a", 1));
        follower.restart();
        assert_eq!(follower.message(create("a", 1)), vec![]);
        follower.restart();
        assert_eq!(follower.message(create("b", 2)), vec![create("b", 2)]);
        let shown = follower.message(synced(3));
        let names: Vec<_> = shown.iter().map(|r| (r.action(), r.synced)).collect();
        assert_eq!(
            names,
            [(v1::Action::Delete, false), (v1::Action::Unspecified, true)]
        );
    }
}
