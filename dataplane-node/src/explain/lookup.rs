use std::time::Duration;

use lbfabric_abi::{
    Address, Backend, Endpoint, EndpointPrefix, FlowBucket, Guard, LeasedVip, Reverse, RingSlot,
    Session, SessionLine, SessionRecord, Settings, SourcePrefix, SourceTokens, VipPrefix,
    VipService,
};

use crate::maps::ReadMapError;

/// Single looks into the maps, as the program takes them; none where it would find nothing.
pub(crate) trait Lookup {
    fn settings(&self) -> Result<Settings, ReadMapError>;

    /// A word of the address filter.
    fn filter_word(&self, index: u32) -> Result<u64, ReadMapError>;

    /// The service of exactly this endpoint.
    fn vip_port(&self, endpoint: &Endpoint) -> Result<Option<VipService>, ReadMapError>;

    /// The service of the narrowest range with this endpoint.
    fn vip_range(&self, endpoint: &EndpointPrefix) -> Result<Option<VipService>, ReadMapError>;

    /// The longest VIP of at most `bits` that an address is in.
    fn vip_prefix(&self, address: &Address, bits: u32) -> Result<Option<VipPrefix>, ReadMapError>;

    /// Whether an address is a VIP by itself.
    fn is_vip_address(&self, address: &Address) -> Result<bool, ReadMapError>;

    /// What the answers of exactly this server's endpoint become.
    fn reverse_port(&self, endpoint: &Endpoint) -> Result<Option<Reverse>, ReadMapError>;

    /// As above, of the narrowest range with this endpoint.
    fn reverse_range(&self, endpoint: &EndpointPrefix) -> Result<Option<Reverse>, ReadMapError>;

    /// A service's protection.
    fn guard(&self, id: u32) -> Result<Option<Guard>, ReadMapError>;

    /// What the longest prefix says of a client.
    fn source_rule(&self, client: &SourcePrefix) -> Result<Option<u32>, ReadMapError>;

    /// A service's token bucket.
    fn service_tokens(&self, id: u32) -> Result<Option<u64>, ReadMapError>;

    /// A set of clients' token buckets.
    fn source_tokens(&self, set: u32) -> Result<Option<SourceTokens>, ReadMapError>;

    /// A bucket of the UDP flows of late.
    fn recent_bucket(&self, index: u32) -> Result<Option<FlowBucket>, ReadMapError>;

    fn ring_slot(&self, index: u32) -> Result<Option<RingSlot>, ReadMapError>;

    fn backend(&self, id: u32) -> Result<Option<Backend>, ReadMapError>;

    /// A full-NAT session.
    fn session(&self, index: u32) -> Result<Option<Session>, ReadMapError>;

    /// What else there is of a full-NAT session.
    fn session_record(&self, index: u32) -> Result<Option<SessionRecord>, ReadMapError>;

    /// A line of words that lead to sessions.
    fn session_tags(&self, line: u32) -> Result<Option<SessionLine>, ReadMapError>;

    /// A leased VIP, and the end of the node's lease, of `CLOCK_BOOTTIME`.
    fn leased_vip(&self, vip: &Address) -> Result<Option<(LeasedVip, Duration)>, ReadMapError>;

    /// A bucket of the flow table.
    fn flow_bucket(&self, index: u32) -> Result<Option<FlowBucket>, ReadMapError>;
}
