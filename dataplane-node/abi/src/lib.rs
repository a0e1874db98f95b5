//! What the XDP programs and the node agent share byte for byte: map keys and values, limits, verdicts, drop
//! reasons, and the arithmetic that both sides must agree on.
//!
//! | map | kind | key | value |
//! | --- | --- | --- | --- |
//! | `SETTINGS` | array of 1 | 0 | [`Settings`] |
//! | `FILTER` | array of [`FILTER_WORDS`] | [`FilterBit::word`] | `u64`, bits of addresses |
//! | `VIP_PORTS4` | hash | [`Endpoint::key4`] | [`VipService`] |
//! | `VIP_PORTS6` | hash | [`Endpoint`] | [`VipService`] |
//! | `VIP_RANGES` | LPM trie | [`EndpointPrefix`] | [`VipService`] |
//! | `VIP_ADDRESSES` | hash | [`Address`] | `u32`, always 1 |
//! | `POOLS` | hash | pool id | [`PoolRing`] (read by the agent only) |
//! | `RINGS` | array | slot | [`RingSlot`] |
//! | `BACKENDS` | array | backend id | [`Backend`] |
//! | `FLOWS` | array | [`FlowPlace::bucket`] | [`FlowBucket`] |
//! | `REVERSE_PORTS4` | hash | [`Endpoint::key4`] of a server | [`Reverse`] |
//! | `REVERSE_PORTS6` | hash | [`Endpoint`] of a server | [`Reverse`] |
//! | `REVERSE_RANGES` | LPM trie | [`EndpointPrefix`] of a server | [`Reverse`] |
//! | `SESSIONS` | array | index | [`Session`] |
//! | `SESSION_TAGS` | array | [`SessionPlace::first`] or [`SessionPlace::second`], client to VIP | [`SessionLine`] |
//! | `SESSION_BACK` | array | [`SessionPlace::first`], server to node | [`SessionLine`] |
//! | `NAT_CURSOR` | array of [`NAT_CURSORS`] | backend id modulo their number | `u64`, ports given out |
//! | `SERVER_VIPS` | hash | [`Address`] | `u32`, always 1 |
//! | `COUNTERS` | per-CPU array | [`Verdict`], [`DropReason`] or [`FlowEvent`] index | `u64` packets |
//! | `SERVICE_COUNTERS` | per-CPU array | service id | [`Traffic`] |
//! | `BACKEND_COUNTERS` | per-CPU array | backend id | [`Traffic`] |
//! | `PROGRAMS` | program array | [`NextProgram`] index | a program; each load of the programs has its own |
#![no_std]

mod address;
mod backend;
mod checksum;
mod counters;
mod endpoint;
mod filter;
mod flow_hash;
mod flow_table;
mod limits;
mod nat;
mod next_program;
#[cfg(feature = "aya")]
mod pod;
mod ring;
mod service;
mod session;
mod settings;

pub use address::Address;
pub use backend::{Backend, NextHop};
pub use checksum::Checksum;
pub use counters::{COUNTER_SLOTS, DropReason, FlowEvent, Traffic, Verdict, counter_names};
pub use endpoint::{Endpoint, EndpointPrefix};
pub use filter::{FILTER_REGION_WORDS, FILTER_WORDS, FilterBit, FilterRegion};
pub use flow_hash::{FLOW_KEY_WORDS, FlowKey, slot_of};
pub use flow_table::{FLOW_WAYS, FlowBucket, FlowEntry, FlowPlace, FlowTick};
pub use limits::*;
pub use nat::{Flow, Reverse};
pub use next_program::NextProgram;
pub use ring::{PoolRing, RingSlot};
pub use service::{Affinity, Encapsulation, Mode, OuterSource, Protocol, VipService};
pub use session::{
    SESSION_WAYS, Session, SessionLife, SessionLine, SessionPacket, SessionPlace, SessionState,
    SessionTick, SessionWord, fold6,
};
pub use settings::Settings;
