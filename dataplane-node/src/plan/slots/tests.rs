//! Every transition of a slot.

use super::*;

const HOLD: Duration = Duration::from_secs(100);

/// One slot in maps that take every write.
struct Slot {
    memory: SlotMemory,
    start: Instant,
    holds: RingSlot,
    dead: Vec<u32>,
}

impl Slot {
    fn new(holds: RingSlot) -> Self {
        Self {
            memory: SlotMemory::default(),
            start: Instant::now(),
            holds,
            dead: Vec::new(),
        }
    }

    /// The slot after a plan at a time, and in how many seconds it will change by itself.
    fn plan(&mut self, secs: u64, cur: u32, in_table: Option<&[u32]>) -> (RingSlot, Option<u64>) {
        let now = self.start + Duration::from_secs(secs);
        let in_table = in_table.map(|servers| servers.iter().copied().collect());
        let rules = SlotRules {
            now,
            hold: HOLD,
            is_alive: &|id| !self.dead.contains(&id),
            in_table: in_table.as_ref(),
        };
        let (slot, at) = self.memory.next(0, self.holds, cur, &rules);
        self.holds = slot;
        (slot, at.map(|at| (at - now).as_secs()))
    }
}

const fn marked(server: u32) -> RingSlot {
    RingSlot::changed(server, server)
}

#[test]
fn steady_stays_steady() {
    let mut slot = Slot::new(RingSlot::steady(1));
    assert_eq!(slot.plan(0, 1, None), (RingSlot::steady(1), None));
    assert!(slot.memory.is_empty());
}

#[test]
fn a_changed_slot_settles_after_the_hold_time() {
    let mut slot = Slot::new(RingSlot::steady(1));
    assert_eq!(slot.plan(0, 2, None), (RingSlot::changed(2, 1), Some(100)));
    assert_eq!(slot.plan(99, 2, None), (RingSlot::changed(2, 1), Some(1)));
    assert_eq!(slot.plan(100, 2, None), (marked(2), None));
}

#[test]
fn another_change_does_not_begin_the_hold_time_anew() {
    let mut slot = Slot::new(RingSlot::steady(1));
    slot.plan(0, 2, None);
    assert_eq!(slot.plan(60, 3, None), (RingSlot::changed(3, 1), Some(40)));
    assert_eq!(slot.plan(100, 3, None), (marked(3), None));
}

#[test]
fn back_to_base_is_steady_at_once_and_begins_anew() {
    let mut slot = Slot::new(RingSlot::steady(1));
    slot.plan(0, 2, None);
    assert_eq!(slot.plan(60, 1, None), (marked(1), None));
    assert_eq!(slot.plan(70, 2, None), (RingSlot::changed(2, 1), Some(100)));
}

#[test]
fn a_dead_base_is_given_up_at_once() {
    let mut slot = Slot::new(RingSlot::steady(1));
    slot.plan(0, 2, None);
    slot.dead.push(1);
    assert_eq!(slot.plan(1, 2, None), (marked(2), None));
    // In a steady slot nothing was written: nothing needs to be read.
    let mut slot = Slot::new(RingSlot::steady(1));
    slot.dead.push(1);
    assert_eq!(slot.plan(0, 2, None), (RingSlot::steady(2), None));
}

#[test]
fn without_a_server_nobody_belongs_to_base() {
    let mut slot = Slot::new(RingSlot::EMPTY);
    assert_eq!(slot.plan(0, 2, None), (RingSlot::steady(2), None));
    // A ring that runs empty keeps its flows.
    let none = RingSlot::NONE;
    let emptied = RingSlot::changed(none, 2);
    assert_eq!(slot.plan(1, none, None), (emptied, Some(100)));
    assert_eq!(slot.plan(2, 2, None), (marked(2), None));
    slot.plan(3, none, None);
    assert_eq!(slot.plan(103, none, None), (marked(none), None));
    assert_eq!(slot.plan(104, 3, None), (marked(3), None));
}

#[test]
fn a_mark_goes_when_no_entry_can_disagree() {
    let mut slot = Slot::new(RingSlot::steady(1));
    slot.plan(0, 2, None);
    // A changed slot is read in any case.
    assert_eq!(slot.plan(1, 2, Some(&[])).0, RingSlot::changed(2, 1));
    // What was read before it settled does not count.
    assert_eq!(slot.plan(100, 2, Some(&[])).0, marked(2));
    assert_eq!(slot.plan(101, 2, None).0, marked(2));
    assert_eq!(slot.plan(110, 2, Some(&[1, 2, 7])).0, marked(2));
    // Server 7 was never one of this slot, and entries for 2 agree with it.
    assert_eq!(slot.plan(120, 2, Some(&[2, 7])).0, RingSlot::steady(2));
    assert!(slot.memory.is_empty());
}

#[test]
fn all_servers_that_a_slot_had_are_remembered() {
    let mut slot = Slot::new(RingSlot::steady(1));
    slot.plan(0, 2, None);
    slot.plan(10, 3, None);
    slot.plan(100, 3, None);
    slot.plan(110, 4, None);
    slot.plan(210, 4, None);
    for server in [1, 2, 3] {
        assert_eq!(slot.plan(220, 4, Some(&[server])).0, marked(4), "{server}");
    }
    assert_eq!(slot.plan(230, 4, Some(&[4])).0, RingSlot::steady(4));
}

#[test]
fn after_a_restart_slots_count_as_just_changed() {
    let mut slot = Slot::new(RingSlot::steady(1));
    slot.plan(0, 2, None);
    slot.memory = SlotMemory::default();
    assert_eq!(slot.plan(90, 2, None), (RingSlot::changed(2, 1), Some(100)));
    assert_eq!(slot.plan(190, 2, None), (marked(2), None));
    // Which servers it had is not known: every one counts.
    slot.memory = SlotMemory::default();
    assert_eq!(slot.plan(191, 2, Some(&[7])).0, marked(2));
    assert_eq!(slot.plan(192, 2, Some(&[2])).0, RingSlot::steady(2));
}

#[test]
fn a_failed_write_does_not_count_as_a_change() {
    let mut slot = Slot::new(RingSlot::steady(1));
    slot.plan(0, 2, None);
    slot.holds = RingSlot::steady(1);
    assert_eq!(slot.plan(50, 2, None), (RingSlot::changed(2, 1), Some(100)));
}
