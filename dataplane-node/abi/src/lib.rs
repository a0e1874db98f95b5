//! What the XDP programs and the node agent share byte for byte: map keys and values, limits, verdicts, drop
//! reasons, and the arithmetic that both sides must agree on.
//!
//! | map | kind | key | value |
//! | --- | --- | --- | --- |
//! | `SETTINGS` | array of 1 | 0 | [`Settings`] |
//! | `FILTER` | array of [`FILTER_WORDS`] | [`FilterBit::word`] | `u64`, bits of addresses |
//! | `VIP_PORTS4` | hash | [`Endpoint::key4`] | [`VipService`] |
//! | `VIP_PORTS6` | hash | [`Endpoint::key6`] | [`VipPort6`] |
//! | `VIP_RANGES` | LPM trie | [`EndpointPrefix`] | [`VipService`] |
//! | `VIP_PREFIXES` | LPM trie | [`Address`] | [`VipNetwork`] |
//! | `VIP_ADDRESSES` | hash | [`Address`] | `u32`, [`VipFlags`] |
//! | `POOLS` | hash | pool id | [`PoolRing`] (read by the agent only) |
//! | `RINGS` | array | slot | [`RingSlot`] |
//! | `BACKENDS` | array | backend id | [`Backend`] |
//! | `FLOWS` | array | [`FlowPlace::bucket`] | [`FlowBucket`] |
//! | `REVERSE_PORTS4` | hash | [`Endpoint::key4`] of a server | [`Reverse`] |
//! | `REVERSE_PORTS6` | hash | [`Endpoint`] of a server | [`Reverse`] |
//! | `REVERSE_RANGES` | LPM trie | [`EndpointPrefix`] of a server | [`Reverse`] |
//! | `SESSIONS` | array | index | [`Session`] |
//! | `SESSION_RECORDS` | array | index | [`SessionRecord`] |
//! | `SESSION_TAGS` | array | [`SessionPlace::first`] or [`SessionPlace::second`], client to VIP, or server to client | [`SessionLine`] |
//! | `NAT_CURSOR` | array | backend id | [`NatCursor`] |
//! | `GUE_PORTS` | array of [`GUE_PORT_WORDS`] | UDP port / 64 | `u64`, a bit for each port |
//! | `QUIC_SERVERS` | hash | [`QuicServer`] | `u32` backend id |
//! | `GUARDS` | hash | [`VipService::guard`] | [`Guard`] |
//! | `SOURCE_RULES` | LPM trie | [`SourcePrefix`] | `u32`, [`SourcePrefix::ALLOWED`] or [`SourcePrefix::DENIED`] |
//! | `SERVICE_TOKENS` | array | [`VipService::guard`] | `u64`, as [`RateLimit::take`] leaves it |
//! | `SOURCE_TOKENS` | array | set | [`SourceTokens`] |
//! | `RECENT_FLOWS` | array | [`FlowPlace::bucket`] | [`FlowBucket`] |
//! | `SERVER_VIPS` | LPM trie | [`Address`] | `u32`, always 1 |
//! | `TOLD_PORTS` | array of [`GUE_PORT_WORDS`] | TCP port / 64 | `u64`, a bit for each port |
//! | `TOLD_BY` | hash | [`Address`] of a node | `u32`, always 1 |
//! | `CLIENT_ADDRESSES` | LRU hash | [`Flow`] node to server | [`ClientAddress`] |
//! | `LEASED_VIPS` | hash | [`Address`] | [`LeasedVip`] |
//! | `LEASE` | array of 1 | 0 | `u64`, the lease's end in nanoseconds of `CLOCK_BOOTTIME`; zero if there is none |
//! | `LINKS` | hash | interface index | [`LinkAddress`] |
//! | `VIP_CLAIMS` | LRU hash | [`VipClaim`] | [`ClaimsSeen`] |
//! | `COUNTERS` | per-CPU array | [`Verdict`], [`DropReason`], [`FlowEvent`] or [`OptionEvent`] index | `u64` packets |
//! | `SERVICE_COUNTERS` | per-CPU array | service id | [`Traffic`] |
//! | `BACKEND_COUNTERS` | per-CPU array | backend id | [`Traffic`] |
//! | `STEERED` | LPM trie | [`Steered`] | [`SteeredTo`] |
//! | `STEERING_SOCKETS` | socket map of [`Steered::SOCKETS`] | [`Steered::listeners`], or [`SteeredTo::place`] of datagrams | a socket of the layer-7 engine |
//! | `STEERING_COUNTERS` | per-CPU array | [`SteeringEvent`] index | `u64` lookups |
//! | `PROGRAMS` | program array | [`NextProgram`] index | a program; each load of the programs has its own |
#![no_std]

mod address;
mod backend;
mod checksum;
mod client_address;
mod counters;
mod endpoint;
mod filter;
mod flow_hash;
mod flow_table;
mod guard;
mod lease;
mod limits;
mod nat;
mod next_program;
#[cfg(feature = "aya")]
mod pod;
mod quic;
mod ring;
mod service;
mod session;
mod settings;
mod steering;

pub use address::Address;
pub use backend::{Backend, NextHop};
pub use checksum::Checksum;
pub use client_address::{CLIENT_ADDRESS_KIND, ClientAddress};
pub use counters::{
    COUNTER_SLOTS, DropReason, FlowEvent, OptionEvent, Traffic, Verdict, counter_names,
};
pub use endpoint::{Endpoint, EndpointPrefix, VipNetwork, VipPort6, VipPrefix};
pub use filter::{FILTER_WORDS, FilterBit, FilterRegion};
pub use flow_hash::{FLOW_KEY_WORDS, FlowKey, slot_of};
pub use flow_table::{FLOW_WAYS, FlowBucket, FlowEntry, FlowPlace, FlowTick};
pub use guard::{Guard, RateLimit, SOURCE_WAYS, SourcePrefix, SourceTokens, TOKEN_UNITS};
pub use lease::{ClaimsSeen, LeasedVip, LinkAddress, OlderConnections, VipClaim};
pub use limits::*;
pub use nat::{Flow, Reverse};
pub use next_program::NextProgram;
pub use quic::QuicServer;
pub use ring::{PoolRing, RingSlot};
pub use service::{Affinity, Encapsulation, Mode, OuterSource, Protocol, VipFlags, VipService};
pub use session::{
    NatCursor, SESSION_WAYS, Session, SessionLife, SessionLine, SessionPacket, SessionPlace,
    SessionRecord, SessionState, SessionTick, SessionWord, fold6, session_of_end,
};
pub use settings::Settings;
pub use steering::{Steered, SteeredTo, SteeringEvent};
