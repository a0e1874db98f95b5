//! Questions to a node on its stream.

use std::collections::BTreeMap;

use tokio::sync::{mpsc, oneshot};

/// Questions that wait to be sent to one node.
const WAITING_MAX: usize = 16;

/// The questions of a kind to one node on one stream, each until its answer comes or nobody waits for it any more.
pub(crate) struct Questions<Q, A> {
    outbound: mpsc::Sender<Q>,
    open: BTreeMap<u64, oneshot::Sender<A>>,
    last_id: u64,
}

/// Why a node cannot be asked.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum AskError {
    #[error("is not known")]
    Unknown,
    #[error("is not connected to any controller member")]
    NotConnected,
    #[error("is a server, and forwards nothing: ask a load balancer")]
    Server,
    #[error("runs version {version}, which cannot {what}: upgrade it")]
    TooOld { version: String, what: &'static str },
    #[error("has {WAITING_MAX} questions waiting already: try again")]
    Busy,
}

// === impl Questions ===

impl<Q, A> Questions<Q, A> {
    /// None so far, and the end that they are sent from.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Q>) {
        let (outbound, waiting) = mpsc::channel(WAITING_MAX);
        let questions = Self {
            outbound,
            open: BTreeMap::new(),
            last_id: 0,
        };
        (questions, waiting)
    }

    /// Asks what is made for an id.
    pub(crate) fn ask(
        &mut self,
        make: impl FnOnce(u64) -> Q,
    ) -> Result<oneshot::Receiver<A>, AskError> {
        self.open.retain(|_, answer| !answer.is_closed());
        self.last_id += 1;
        let sent = self.outbound.try_send(make(self.last_id));
        sent.map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => AskError::Busy,
            mpsc::error::TrySendError::Closed(_) => AskError::NotConnected,
        })?;
        let (answer, waiting) = oneshot::channel();
        self.open.insert(self.last_id, answer);
        Ok(waiting)
    }

    /// Hands the answer to whoever waits for it.
    pub(crate) fn answer(&mut self, id: u64, reply: A) {
        if let Some(waiting) = self.open.remove(&id) {
            // Who does not wait any more has given up.
            drop(waiting.send(reply));
        }
    }

    /// Tells all who wait that no answer will come.
    pub(crate) fn abandon(&mut self) {
        self.open.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_goes_to_its_question() {
        let (mut questions, mut outbound) = Questions::<u64, &str>::new();
        let mut first = questions.ask(|id| id).unwrap();
        let mut second = questions.ask(|id| id).unwrap();
        let ids = [outbound.try_recv(), outbound.try_recv()].map(Result::unwrap);
        questions.answer(ids[1], "second");
        assert_eq!(second.try_recv(), Ok("second"));
        assert!(first.try_recv().is_err());
        // One that nobody asked for, or that comes twice, is nobody's.
        questions.answer(ids[1], "again");
        questions.answer(77, "unasked");
        questions.abandon();
        assert_eq!(first.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }

    #[test]
    fn a_node_that_takes_no_questions_is_not_flooded() {
        let (mut questions, outbound) = Questions::<u64, ()>::new();
        for _ in 0..WAITING_MAX {
            drop(questions.ask(|id| id).unwrap());
        }
        assert_eq!(questions.ask(|id| id).unwrap_err(), AskError::Busy);
        // Those that nobody waits for are forgotten.
        assert!(questions.open.is_empty());
        drop(outbound);
        let gone = questions.ask(|id| id);
        assert_eq!(gone.unwrap_err(), AskError::NotConnected);
    }
}
