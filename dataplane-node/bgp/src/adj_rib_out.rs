use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rustbgpd_wire::RouteRefreshSubtype;

use crate::attributes::Attributes;
use crate::update::{Terms, Update};
use crate::{Family, Negotiated, NeighborConfig, PerFamily, Prefix};

mod sets;

use sets::{SetId, Sets};

/// What is announced to one neighbor (RFC 4271 section 3.2), and what of it the neighbor has been told.
///
/// Routes may be set at any time. In a session, [`crate::Neighbor::updates`] makes messages that tell the neighbor what it has not
/// been told yet: withdrawals first, since packets that come for nothing are lost, then routes by their attributes, so that a
/// message has as many as fit. A change that is taken back before it was told makes no message.
#[derive(Debug, Default)]
pub struct AdjRibOut {
    entries: BTreeMap<Prefix, Entry>,
    /// How many of them are to be announced, and how many the neighbor knows: it is asked for often.
    desired_count: usize,
    sent_count: usize,
    sets: Sets,
    session: Option<Session>,
    is_draining: bool,
}

/// A prefix that is to be announced, or that the neighbor knows.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    desired: Option<SetId>,
    sent: Option<SetId>,
    /// What stands for it in [`Session::pending`].
    queued: Option<Change>,
}

/// What the neighbor is to be told of a prefix. Withdrawals come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Withdraw,
    Announce(SetId),
}

/// What is only so while there is a session.
#[derive(Debug)]
struct Session {
    terms: Terms,
    /// What to tell, in the order to tell it.
    pending: BTreeSet<(Change, Prefix)>,
    pending_counts: PerFamily<usize>,
    /// What is to be announced and cannot be carried.
    withheld: BTreeSet<Prefix>,
    /// To be sent once all of a family's routes are.
    ends: PerFamily<Ends>,
    /// To be sent at once.
    begins: Vec<Family>,
}

/// What marks the end of a family's routes.
#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    /// RFC 4724 section 2.
    of_rib: bool,
    /// RFC 7313 section 4.
    of_refresh: bool,
}

/// What the neighbor is told next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Routes.
    Update(Update),
    /// Begin and end of an answer to a ROUTE-REFRESH.
    Refresh(Family, RouteRefreshSubtype),
}

// === impl AdjRibOut ===

impl AdjRibOut {
    /// Announces a prefix from now on; without attributes, no longer.
    pub fn set(&mut self, prefix: Prefix, attributes: Option<Arc<Attributes>>) {
        let desired = attributes.map(|attributes| self.sets.hold(attributes));
        let entry = self.entries.entry(prefix).or_default();
        let before = std::mem::replace(&mut entry.desired, desired);
        self.desired_count += usize::from(desired.is_some());
        self.desired_count -= usize::from(before.is_some());
        self.queue(prefix);
        if let Some(before) = before {
            self.sets.release(before);
        }
    }

    /// Asks the neighbor to prefer other ways for all routes, before they are withdrawn (RFC 8326); or no longer.
    pub fn set_draining(&mut self, is_draining: bool) {
        if self.is_draining != is_draining {
            self.is_draining = is_draining;
            self.send_again(|_| true);
        }
    }

    /// Prefixes that are to be announced.
    pub fn desired_count(&self) -> usize {
        self.desired_count
    }

    /// How many prefixes [`Self::sent`] has.
    pub fn sent_count(&self) -> usize {
        self.sent_count
    }

    /// Prefixes that the neighbor has been told of.
    pub fn sent(&self) -> impl Iterator<Item = (Prefix, &Arc<Attributes>)> {
        self.entries.iter().filter_map(|(prefix, entry)| {
            let attributes = self.sets.attributes(entry.sent?)?;
            Some((*prefix, attributes))
        })
    }

    /// Prefixes that the session cannot carry: of a family that was not agreed on, or without a next hop.
    pub fn withheld(&self) -> impl Iterator<Item = Prefix> {
        let session = self.session.iter();
        session.flat_map(|session| session.withheld.iter().copied())
    }

    /// Whether the neighbor has been told everything.
    pub fn is_settled(&self) -> bool {
        let Some(session) = &self.session else {
            return true;
        };
        let has_end = |family| {
            let ends = session.ends.of(family);
            ends.of_rib || ends.of_refresh
        };
        session.pending.is_empty()
            && session.begins.is_empty()
            && !Family::ALL.into_iter().any(has_end)
    }

    /// A session begins: the neighbor knows nothing.
    pub(crate) fn begin(&mut self, config: &NeighborConfig, negotiated: Negotiated) {
        self.end();
        let marks_end = negotiated.peer_restart.is_some();
        let families = negotiated.families;
        self.session = Some(Session {
            terms: Terms::new(config.clone(), negotiated),
            pending: BTreeSet::new(),
            pending_counts: PerFamily::default(),
            withheld: BTreeSet::new(),
            ends: PerFamily::from_each(|family| Ends {
                of_rib: marks_end && *families.of(family),
                of_refresh: false,
            }),
            begins: vec![],
        });
        let prefixes: Vec<Prefix> = self.entries.keys().copied().collect();
        for prefix in prefixes {
            self.queue(prefix);
        }
    }

    /// The session has ended: what the neighbor knew is of no use.
    pub(crate) fn end(&mut self) {
        self.session = None;
        self.sent_count = 0;
        let sets = &mut self.sets;
        self.entries.retain(|_, entry| {
            entry.queued = None;
            if let Some(sent) = entry.sent.take() {
                sets.release(sent);
            }
            entry.desired.is_some()
        });
    }

    /// The neighbor wants to be told of a family once more (RFC 2918).
    pub(crate) fn refresh(&mut self, family: Family) {
        let Some(session) = &mut self.session else {
            return;
        };
        if !session.terms.carries(family) {
            return;
        }
        if session.terms.marks_refresh() && !session.ends.of(family).of_refresh {
            session.begins.push(family);
            session.ends.of_mut(family).of_refresh = true;
        }
        self.send_again(|prefix| prefix.family() == family);
    }

    /// The next message, if there is something to tell.
    pub(crate) fn next_message(&mut self) -> Option<Told> {
        let session = self.session.as_mut()?;
        if let Some(family) = session.begins.pop() {
            return Some(Told::Refresh(family, RouteRefreshSubtype::BoRR));
        }
        if let Some(family) = session.ended_family() {
            let ends = session.ends.of_mut(family);
            if std::mem::take(&mut ends.of_rib) {
                return Some(Told::Update(Update::end_of_rib(family)));
            }
            ends.of_refresh = false;
            return Some(Told::Refresh(family, RouteRefreshSubtype::EoRR));
        }
        let (change, prefix) = *session.pending.first()?;
        let family = prefix.family();
        let update = match change {
            Change::Withdraw => Update::withdrawal(&session.terms, family),
            Change::Announce(set) => {
                let attributes = self.sets.attributes(set)?;
                Update::announcement(&session.terms, family, attributes, self.is_draining)?
            }
        };
        Some(Told::Update(self.fill(update, change, family)))
    }

    /// Takes prefixes of the family that change in the same way, as many as fit.
    fn fill(&mut self, mut update: Update, change: Change, family: Family) -> Update {
        let mut room = update.room();
        while let Some(session) = &mut self.session
            && let Some((next, prefix)) = session.pending.first().copied()
            && next == change
            && prefix.family() == family
            && let Some(left) = room.checked_sub(prefix.encoded_len())
        {
            room = left;
            session.replace(prefix, Some(change), None);
            update.push(prefix);
            self.mark_sent(prefix, change);
        }
        update
    }

    fn mark_sent(&mut self, prefix: Prefix, change: Change) {
        let Some(entry) = self.entries.get_mut(&prefix) else {
            return;
        };
        let sent = match change {
            Change::Withdraw => None,
            Change::Announce(set) => Some(self.sets.hold_again(set)),
        };
        entry.queued = None;
        let before = std::mem::replace(&mut entry.sent, sent);
        self.sent_count += usize::from(sent.is_some());
        self.sent_count -= usize::from(before.is_some());
        if entry.desired.is_none() && entry.sent.is_none() {
            self.entries.remove(&prefix);
        }
        if let Some(before) = before {
            self.sets.release(before);
        }
    }

    /// Queues what is to be told of a prefix, in place of what was to be told before.
    fn queue(&mut self, prefix: Prefix) {
        let Some(entry) = self.entries.get_mut(&prefix) else {
            return;
        };
        if let Some(session) = &mut self.session {
            let is_sendable =
                |set: &SetId| session.terms.can_send(prefix, self.sets.attributes(*set));
            let desired = entry.desired.filter(is_sendable);
            if desired == entry.desired {
                session.withheld.remove(&prefix);
            } else {
                session.withheld.insert(prefix);
            }
            let change = desired.map_or(Change::Withdraw, Change::Announce);
            let change = (desired != entry.sent).then_some(change);
            session.replace(prefix, entry.queued, change);
            entry.queued = change;
        }
        if entry.desired.is_none() && entry.sent.is_none() {
            self.entries.remove(&prefix);
        }
    }

    /// Queues routes that the neighbor knows already.
    fn send_again(&mut self, is_meant: impl Fn(Prefix) -> bool) {
        let Some(session) = &mut self.session else {
            return;
        };
        for (prefix, entry) in &mut self.entries {
            if let (Some(sent), None) = (entry.sent, entry.queued)
                && is_meant(*prefix)
            {
                let change = Some(Change::Announce(sent));
                session.replace(*prefix, None, change);
                entry.queued = change;
            }
        }
    }
}

// === impl Session ===

impl Session {
    fn replace(&mut self, prefix: Prefix, before: Option<Change>, after: Option<Change>) {
        let count = self.pending_counts.of_mut(prefix.family());
        if let Some(before) = before {
            *count -= usize::from(self.pending.remove(&(before, prefix)));
        }
        if let Some(after) = after {
            *count += usize::from(self.pending.insert((after, prefix)));
        }
    }

    /// A family all of whose routes have been told, and whose end has not been marked.
    fn ended_family(&self) -> Option<Family> {
        Family::ALL.into_iter().find(|family| {
            let ends = self.ends.of(*family);
            (ends.of_rib || ends.of_refresh) && *self.pending_counts.of(*family) == 0
        })
    }
}

#[cfg(test)]
mod tests;
