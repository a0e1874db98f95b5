//! When what is due. Time is counted in ticks, and moves when [`Wheel::advance`] says so.
//!
//! ```text
//!  slots:   [deadline 70, queued 40] [deadline never, queued 42] ...     by alarm
//!  buckets: ... 40: [0]  41: []  42: [1] ...                             by tick, for SPAN ticks from now
//! ```
//!
//! An alarm stands in the bucket of the tick at which it is looked at next, which may be long before its deadline. There it is told, put
//! into a later bucket, or left out if it has no deadline any more.

use std::task::Waker;

/// A tick that does not come.
pub(super) const NEVER: u32 = u32::MAX;
/// How far ahead there are buckets.
const SPAN: u32 = 1024;

#[derive(Debug)]
pub(super) struct Wheel {
    now: u32,
    slots: Vec<Slot>,
    free: Vec<u32>,
    buckets: Vec<Vec<u32>>,
}

#[derive(Debug)]
struct Slot {
    deadline: u32,
    /// The bucket that counts, if it is in several: the earliest.
    queued: u32,
    waker: Option<Waker>,
}

impl Wheel {
    pub(super) fn new() -> Self {
        Self {
            now: 0,
            slots: Vec::new(),
            free: Vec::new(),
            buckets: vec![Vec::new(); SPAN as usize],
        }
    }

    pub(super) const fn now(&self) -> u32 {
        self.now
    }

    /// Whether there are no alarms.
    pub(super) const fn is_empty(&self) -> bool {
        self.slots.len() == self.free.len()
    }

    /// A new alarm, without a deadline.
    pub(super) fn insert(&mut self) -> u32 {
        if let Some(id) = self.free.pop() {
            return id;
        }
        self.slots.push(Slot {
            deadline: NEVER,
            queued: NEVER,
            waker: None,
        });
        u32::try_from(self.slots.len() - 1).expect("a thread has fewer than 2^32 connections")
    }

    /// Forgets an alarm. Its number is free for the next one, which keeps its place in the buckets.
    pub(super) fn remove(&mut self, id: u32) {
        self.disarm(id);
        self.free.push(id);
    }

    /// Sets what is told at a tick, in place of what was set before.
    pub(super) fn arm(&mut self, id: u32, deadline: u32, waker: &Waker) {
        let slot = &mut self.slots[id as usize];
        slot.deadline = deadline;
        match &mut slot.waker {
            Some(set) => set.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        if deadline < slot.queued {
            self.queue(id);
        }
    }

    pub(super) fn disarm(&mut self, id: u32) {
        let slot = &mut self.slots[id as usize];
        slot.deadline = NEVER;
        slot.waker = None;
    }

    /// Moves on, and gives whom to tell.
    pub(super) fn advance(&mut self, to: u32) -> Vec<Waker> {
        let mut due = Vec::new();
        while self.now < to {
            self.now += 1;
            let at = (self.now % SPAN) as usize;
            let mut bucket = std::mem::take(&mut self.buckets[at]);
            for id in bucket.drain(..) {
                let slot = &mut self.slots[id as usize];
                if slot.queued != self.now {
                    // It has been in an earlier bucket too.
                    continue;
                }
                slot.queued = NEVER;
                if slot.deadline <= self.now {
                    due.extend(slot.waker.take());
                } else if slot.deadline != NEVER {
                    self.queue(id);
                }
            }
            // Its memory is of use for those who come.
            if self.buckets[at].is_empty() {
                self.buckets[at] = bucket;
            }
        }
        due
    }

    /// Puts it into the bucket of its deadline, or into the last one.
    fn queue(&mut self, id: u32) {
        let slot = &mut self.slots[id as usize];
        let tick = slot.deadline.clamp(self.now + 1, self.now + SPAN - 1);
        slot.queued = tick;
        self.buckets[(tick % SPAN) as usize].push(id);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        sync::{Arc, Mutex},
        task::Wake,
    };

    use proptest::prelude::*;

    use super::*;

    /// Notes who was told.
    struct Told(u32, Arc<Mutex<BTreeSet<u32>>>);

    impl Wake for Told {
        fn wake(self: Arc<Self>) {
            self.1.lock().unwrap().insert(self.0);
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert,
        Remove(usize),
        Arm(usize, u32),
        Disarm(usize),
        Advance(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        let ticks = || prop_oneof![1u32..20, 1u32..3 * SPAN];
        prop_oneof![
            2 => Just(Step::Insert),
            1 => any::<usize>().prop_map(Step::Remove),
            5 => (any::<usize>(), ticks()).prop_map(|(which, ticks)| Step::Arm(which, ticks)),
            1 => any::<usize>().prop_map(Step::Disarm),
            4 => ticks().prop_map(Step::Advance),
        ]
    }

    proptest! {
        /// Whose tick has come, and nobody else, whatever was set before.
        #[test]
        fn those_are_told_whose_time_it_is(steps in prop::collection::vec(step(), 1..120)) {
            let mut wheel = Wheel::new();
            let mut deadlines = BTreeMap::<u32, u32>::new();
            let told = Arc::new(Mutex::new(BTreeSet::new()));
            for step in steps {
                let which = |n: usize| deadlines.keys().copied().nth(n % deadlines.len().max(1));
                match step {
                    Step::Insert => {
                        deadlines.insert(wheel.insert(), NEVER);
                    }
                    Step::Remove(n) => if let Some(id) = which(n) {
                        wheel.remove(id);
                        deadlines.remove(&id);
                    },
                    Step::Arm(n, ticks) => if let Some(id) = which(n) {
                        let waker = Waker::from(Arc::new(Told(id, told.clone())));
                        wheel.arm(id, wheel.now() + ticks, &waker);
                        deadlines.insert(id, wheel.now() + ticks);
                    },
                    Step::Disarm(n) => if let Some(id) = which(n) {
                        wheel.disarm(id);
                        deadlines.insert(id, NEVER);
                    },
                    Step::Advance(ticks) => {
                        let now = wheel.now() + ticks;
                        wheel.advance(now).into_iter().for_each(Waker::wake);
                        prop_assert_eq!(wheel.now(), now);
                        let due: BTreeSet<_> = deadlines.iter().filter(|it| *it.1 <= now).map(|it| *it.0).collect();
                        for id in &due {
                            deadlines.insert(*id, NEVER);
                        }
                        prop_assert_eq!(std::mem::take(&mut *told.lock().unwrap()), due);
                    }
                }
                prop_assert_eq!(wheel.is_empty(), deadlines.is_empty());
            }
        }
    }

    /// However often a deadline moves, an alarm has few places.
    #[test]
    fn places_do_not_pile_up() {
        let mut wheel = Wheel::new();
        let id = wheel.insert();
        for _ in 0..10_000 {
            for ticks in [1_200, 200] {
                wheel.arm(id, wheel.now() + ticks, Waker::noop());
            }
        }
        let places = wheel.buckets.iter().map(Vec::len).sum::<usize>();
        assert_eq!(places, 2);
    }
}
