use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::lease::Moment;

/// Who has answered which question.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Asking<T: Ord> {
    pub(in crate::lease) answers: BTreeMap<Moment, BTreeSet<T>>,
}

impl<T: Ord> Default for Asking<T> {
    fn default() -> Self {
        Self {
            answers: BTreeMap::new(),
        }
    }
}

// === impl Asking ===

impl<T: Ord> Asking<T> {
    /// Asks anew. An answer to a question that was asked a lease ago is of no use.
    pub(super) fn ask(&mut self, now: Moment, lease: Duration) {
        self.answers.retain(|asked, _| now.since(*asked) < lease);
        self.answers.entry(now).or_default();
    }

    /// Takes an answer, if it is to a question that was asked.
    pub(super) fn answer(&mut self, asked: Moment, by: T) {
        if let Some(answers) = self.answers.get_mut(&asked) {
            answers.insert(by);
        }
    }

    /// All who have answered a question.
    pub(super) fn of(&self, asked: Moment) -> impl Iterator<Item = &T> {
        self.answers.get(&asked).into_iter().flatten()
    }

    /// Forgets all questions.
    pub(super) fn clear(&mut self) {
        self.answers.clear();
    }
}
