//! What a fabric is and what follows from it, without a socket or a clock: validation of specifications, the replicated
//! state and its commands, compilation to a node's snapshot, and the servers' places on a ring.
//!
//! ```text
//! v1::FabricSpec ─ Document::parse ─► Document ─► Command ─ FabricState::apply ─► FabricState
//!                                                                                    │
//!         Delta ◄─ NodeSnapshot::delta ─ NodeSnapshot ◄─ CompiledFabric::for_node ───┘
//!           └─ SnapshotObject::decode (on the node)
//! ```

mod announcement;
mod backend;
mod bgp;
mod certificate;
mod command;
mod compile;
mod document;
mod fields;
mod flow_keeping;
mod generation;
mod health_check;
mod id;
mod labels;
pub mod lease;
mod limits;
pub mod maglev;
mod name;
mod node;
mod object_key;
mod outcome;
mod packet_question;
mod pool;
mod port_range;
mod ports;
mod prefix;
mod proxy;
mod quic_server_id;
pub mod route_text;
mod secret_key;
mod service;
mod service_mode;
pub mod snapshot;
mod source_rules;
mod state;
mod ticket_keys;
mod tunnel;
mod violation;
mod vip;
mod wire_enum;

pub use announcement::{AnnouncedBy, Announcement, BgpRoute, Community, LeaseRule};
pub use backend::Backend;
pub use bgp::{AddressFamily, Bfd, Bgp, BgpAggregate, BgpNeighbor, Md5Password, Md5Secret};
pub use certificate::{CERTIFICATES_MAX, Certificate, certificate_status};
pub use command::{Apply, Command, Delete, ObjectRef};
pub use compile::{
    CompiledFabric, EncodedObject, NodeFacts, NodeSnapshot, Role, digest_in_order,
    digest_of_object, digest_of_whole,
};
pub use document::{Document, InvalidDocument};
pub use flow_keeping::FlowKeeping;
pub use generation::Generation;
pub use health_check::{Check, HealthCheck};
pub use id::{BackendId, CertificateId, PoolId, ServiceId};
pub use labels::Labels;
pub use lbfabric_abi::{Affinity, Encapsulation, Mode, OuterSource, Protocol};
pub use limits::{Limits, RateLimit};
pub use name::Name;
pub use node::Node;
pub use object_key::{ObjectKey, ObjectKind, UnknownObjectKind};
pub use outcome::{Outcome, Refusal, RefusalKind};
pub use packet_question::PacketQuestion;
pub use pool::Pool;
pub use port_range::PortRange;
pub use ports::Ports;
pub use prefix::Prefix;
pub use proxy::{
    AccessLog, AccessLogFormat, Algorithm, AlgorithmName, Authorities, Balancing, Carries,
    ClientCertificatePolicy, ClientCertificates, Forwarded, ForwardedPolicy, HashOn, HeadLimits,
    Http2, IdleConnections, Listening, OutlierEjection, PoolField, Proxy, ProxyProtocol,
    ProxyProtocolHeader, ProxyProtocolOthers, ProxyTimeouts, RequestQuestion, RetryBudget, Routing,
    SameSite, ServerLimits, ServerTls, ServerVerification, Sni, SniOthers, SniRoute, StickyCookie,
    Tls, TlsVersion, Trace, UdpRelay,
};
pub use quic_server_id::QuicServerId;
pub use secret_key::SecretKey;
pub use service::Service;
pub use service_mode::{ProxyMode, ServiceMode};
pub use source_rules::SourceRules;
pub use state::{FabricState, LeaseCommand, Leases, VipWish, WishChange};
pub use ticket_keys::{TICKET_PERIOD_SECS, TicketKeys};
pub use tunnel::Tunnel;
pub use violation::Violation;
