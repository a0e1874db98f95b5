//! HTTP/1.1 messages as they come over a connection: nothing that could be understood in two ways is understood at all.
//!
//! ```text
//! bytes ── head::end ──► whole head ── RequestHead::parse ──► fields ── Request::of ──► Body, keep-alive, what is hop by hop
//!                                                                                         │
//! bytes ── ChunkReader ──► data and its end ◄─────────────────────────────── Body::Chunked ─┘
//! ```
//!
//! All of it is pure: bytes in, values out. Whatever is refused is a [`Refusal`], which knows its status and its counter.

mod body;
mod chunked;
mod edits;
mod fields;
mod head;
mod host;
mod identity;
mod reason;
mod refusal;
mod request;
mod response;
mod rewrite;

pub use body::Body;
pub use chunked::{ChunkReader, Chunked};
pub use edits::FieldEdits;
pub use fields::{FIELDS_MAX, Field};
pub use head::{FieldRoom, HeadLimits, RequestHead, ResponseHead, head_end};
pub use identity::{Identity, IdentityField};
pub use reason::reason;
pub use refusal::Refusal;
pub use request::{Request, is_hop_by_hop};
pub use response::Response;
pub use rewrite::{Answering, ForwardedPolicy, Forwarding, write_request, write_response};
