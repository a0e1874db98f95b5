use std::collections::VecDeque;

/// Requests that no server has room for, in the order in which they came.
#[derive(Debug)]
pub(crate) struct WaitQueue<K, W> {
    waiting: VecDeque<Waiting<K, W>>,
    next: u64,
}

/// A place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

#[derive(Debug)]
struct Waiting<K, W> {
    ticket: Ticket,
    /// The one server that it is for; none: any.
    wants: Option<K>,
    /// How it is told.
    waker: W,
}

impl<K: Eq, W> WaitQueue<K, W> {
    pub(crate) fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            next: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Takes the last place, if no more than `limit` wait then.
    pub(crate) fn join(&mut self, wants: Option<K>, waker: W, limit: u32) -> Option<Ticket> {
        if self.waiting.len() >= limit as usize {
            return None;
        }
        let ticket = Ticket(self.next);
        self.next += 1;
        self.waiting.push_back(Waiting {
            ticket,
            wants,
            waker,
        });
        Some(ticket)
    }

    /// A server has room for one: whoever has waited longest of those that it is for. `is_open`: it takes this one, who wants any server.
    pub(crate) fn next_for(&mut self, server: &K, is_open: impl Fn(&W) -> bool) -> Option<W> {
        let is_for = |it: &Waiting<K, W>| match &it.wants {
            Some(wanted) => wanted == server,
            None => is_open(&it.waker),
        };
        let at = self.waiting.iter().position(is_for)?;
        Some(self.waiting.remove(at)?.waker)
    }

    /// Gives a place up; whether it was still there.
    pub(crate) fn leave(&mut self, ticket: Ticket) -> bool {
        // Tickets grow towards the end.
        let at = self.waiting.binary_search_by_key(&ticket, |it| it.ticket);
        at.is_ok_and(|at| self.waiting.remove(at).is_some())
    }
}

#[cfg(test)]
mod proptests;
