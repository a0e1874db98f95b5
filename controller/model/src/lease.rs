//! Who answers for a VIP on a flat network: one node at a time, for as long as its lease lasts.
//!
//! ```text
//!            LeaseRequest ──────────────► Leader ── Propose ──► log ── Assignments::apply ──► every controller
//!  Owner ◄── Grant (120 ms from the request) ─┤ ▲                                                     │
//!   │  ▲                                      │ └───────────────── applied ───────────────────────────┘
//!   │  └─ nobody leads ── Witness ◄── Round ──┘   (a majority follows, and says whom it told what)
//!   ├── agreed? ──► Owner of each peer
//!   └── Answer, Stop, Until ──► XDP map
//! ```
//!
//! [`Assignments`] are replicated: VIP, owner, epoch, and the nodes that may get it next. Leases are not: the [`Leader`] keeps them in memory, and what it
//! says counts from the last time that a majority followed it. [`place`] says where VIPs should be. Every controller is a [`Witness`]: it tells owners
//! that nobody leads, and leaders whom it has told so. An [`Owner`] answers while one of these gives it leave, by its own clock.
//!
//! # Why there are never two owners
//!
//! A node answers for a VIP until the latest of three ends, and no other node begins to before all of them have passed:
//!
//! 1. *Its grant's.* It ends a lease after the node asked, and after the leader's last round, whichever came first. The leader counts from
//!    there and gives nothing away before a [`Timers::fence`] is over. A leader elected later waits one fence from its election: no round of an older one began
//!    after that, as somebody who votes follows nobody of an older term.
//! 2. *A majority's that nobody leads.* It ends a lease after the node asked, and goes on only from 1 or 2 without a gap. A leader gives the VIP away after a
//!    round that began when 1 was over, and in which nobody of a majority has told that node anything for a fence. What is told after such a round comes too late:
//!    the node has fallen silent.
//! 3. *All peers'.* It ends a lease after the node asked. Whoever agreed takes nothing new for a fence, whatever it is granted. Nobody else is given the
//!    VIP, unless the node released it. From here 2 is closed, as a peer may own the VIP and keep quiet.
//!
//! A released assignment is never taken up again: who is to have it next gets another epoch. Whoever starts and has forgotten what it said
//! behaves as if it had just said everything. Clocks may differ by what brings a lease to a fence.
//!
//! All of it is pure: moments and messages come in, and what is to be done comes out. The rules with their reasons stand in
//! `docs/adr/2026-11-27-lease-rules.md`, the times in `docs/adr/2026-11-27-lease-timers.md`.

mod assignments;
mod leader;
mod message;
mod moment;
mod owner;
mod placement;
mod stored;
mod timers;
mod wire;
mod witness;

pub(crate) use self::stored::address;
pub use self::{
    assignments::{Assign, Assignment, Assignments, Epoch},
    leader::{Leader, LeaderAction, LeaderView, NodeView, VipView},
    message::{Grant, Granted, LeaseRequest, Ordinal, Release, Round, Unfit, WitnessReport},
    moment::Moment,
    owner::{Adopted, LossPolicy, Owner, OwnerAction},
    placement::{Candidates, NodePlace, PlacementRules, Spread, VipPlace, place},
    timers::{InvalidTimers, Timers},
    witness::Witness,
};

#[cfg(test)]
mod checker;
#[cfg(test)]
mod latency;
