//! A member whose state was lost comes back as one that has forgotten its log and its votes. If it voted at once, it could
//! make a leader of a member that lacks what this one had acknowledged. So a member whose state began empty does not vote
//! for a candidate with a history until it has caught up with a leader; from then on it is like any other. When a
//! cluster is founded, no candidate has a history.
//!
//! It may vote earlier for a candidate whose last entry is of a leader that it has followed since it began, or of a later one: that
//! leader had all that was acknowledged before, and whatever this member has acknowledged since, it remembers. Without that, a
//! founder that leads for a moment would leave a cluster in which nobody may be elected: itself for the history that it has
//! just written, and the others because it has more.

use std::sync::{Mutex, PoisonError};

use openraft::{
    raft::{AppendEntriesRequest, VoteRequest, VoteResponse},
    vote::RaftLeaderId as _,
};
use tracing::{debug, info, warn};

use super::{
    log_store::LogStore,
    types::{LeaderId, TypeConfig, Vote},
};

/// The entry with which every log begins: the members of the cluster.
const FOUNDING_INDEX: u64 = 0;

/// Whether this member may vote.
pub(crate) struct Newcomer {
    log: LogStore,
    /// The commit that the first leader told: what has to be in the log.
    goal: Mutex<Option<u64>>,
    /// The first leader that it has followed.
    first_leader: Mutex<Option<LeaderId>>,
}

// === impl Newcomer ===

impl Newcomer {
    pub(crate) fn new(log: LogStore) -> Self {
        Self {
            log,
            goal: Mutex::new(None),
            first_leader: Mutex::new(None),
        }
    }

    /// The refusal of a vote that this member must not give.
    pub(crate) fn refuse_vote(
        &self,
        request: &VoteRequest<TypeConfig>,
    ) -> Option<VoteResponse<TypeConfig>> {
        let history = request
            .last_log_id
            .map_or(FOUNDING_INDEX, |last| last.index);
        if self.log.is_settled() || history == FOUNDING_INDEX || self.has_followed(request) {
            return None;
        }
        debug!(vote = %request.vote, "a newcomer does not vote");
        let own = self.log.vote().unwrap_or_else(|| Vote::new(0, 0));
        Some(VoteResponse::new(own, self.log.last(), false))
    }

    /// Whether the candidate has its last entry from a leader that this member has followed, or from a later one.
    fn has_followed(&self, request: &VoteRequest<TypeConfig>) -> bool {
        let first = self.first_leader.lock();
        let first = *first.unwrap_or_else(PoisonError::into_inner);
        let last = request.last_log_id.map(|last| last.leader_id);
        first.is_some_and(|first| last.is_some_and(|last| last >= first))
    }

    /// Takes note of a leader's message that was accepted.
    pub(crate) async fn followed(&self, leader: LeaderId, leader_commit: Option<u64>) {
        if self.log.is_settled() {
            return;
        }
        self.first_leader
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(leader);
        let goal = {
            let mut goal = self.goal.lock().unwrap_or_else(PoisonError::into_inner);
            *goal = goal.or(leader_commit);
            *goal
        };
        if goal.is_some_and(|goal| self.log.last().is_some_and(|last| last.index >= goal)) {
            self.settle().await;
        }
    }

    /// Takes note that a majority has made this member its leader: there is nothing that it lacks.
    pub(crate) async fn led(&self) {
        if !self.log.is_settled() {
            self.settle().await;
        }
    }

    async fn settle(&self) {
        match self.log.settle().await {
            Ok(()) => info!("this member has caught up with the cluster"),
            Err(e) => warn!(error = %e, "cannot write that this member has caught up"),
        }
    }
}

/// The commit that a leader's message tells.
pub(crate) fn commit_of(request: &AppendEntriesRequest<TypeConfig>) -> Option<u64> {
    request.leader_commit.map(|commit| commit.index)
}

/// The leader that a message comes from.
pub(crate) fn leader_of(request: &AppendEntriesRequest<TypeConfig>) -> LeaderId {
    request.vote.leader_id().to_committed()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use openraft::vote::RaftLeaderIdExt;

    use super::*;
    use crate::raft::types::LogId;

    fn leader(term: u64, node: u64) -> LeaderId {
        openraft::alias::LeaderIdOf::<TypeConfig>::new_committed(term, node)
    }

    fn request(last: Option<u64>) -> VoteRequest<TypeConfig> {
        VoteRequest::new(
            Vote::new(2, 1),
            last.map(|index| LogId::new(leader(1, 1), index)),
        )
    }

    #[tokio::test]
    async fn newcomer_votes_for_founders_only_until_it_has_caught_up() {
        let folder = tempfile::tempdir().unwrap();
        let db = redb::Database::create(folder.path().join("raft.redb")).unwrap();
        let log = LogStore::open(Arc::new(db)).unwrap();
        let newcomer = Newcomer::new(log);
        assert!(newcomer.refuse_vote(&request(None)).is_none());
        assert!(newcomer.refuse_vote(&request(Some(0))).is_none());
        let refused = newcomer.refuse_vote(&request(Some(1))).unwrap();
        assert!(!refused.vote_granted);
        assert!(!refused.is_granted_to(&Vote::new(2, 1)));
        // A leader that has committed more than this member has does not settle it.
        newcomer.followed(leader(3, 1), Some(7)).await;
        assert!(newcomer.refuse_vote(&request(Some(1))).is_some());
        newcomer.led().await;
        assert!(newcomer.refuse_vote(&request(Some(1))).is_none());
    }

    /// A founder led for a moment, and only this member has heard of it.
    #[tokio::test]
    async fn newcomer_votes_for_who_has_what_its_first_leader_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let db = redb::Database::create(folder.path().join("raft.redb")).unwrap();
        let newcomer = Newcomer::new(LogStore::open(Arc::new(db)).unwrap());
        newcomer.followed(leader(1, 2), None).await;
        let of = |term, node| {
            let last = LogId::new(leader(term, node), 2);
            newcomer.refuse_vote(&VoteRequest::new(Vote::new(5, 3), Some(last)))
        };
        assert!(of(1, 2).is_none(), "that leader's own");
        assert!(of(1, 3).is_none() && of(4, 1).is_none(), "a later one's");
        assert!(of(1, 1).is_some(), "an earlier one's");
        // It goes by the first one.
        newcomer.followed(leader(7, 1), None).await;
        assert!(of(1, 2).is_none());
    }
}
