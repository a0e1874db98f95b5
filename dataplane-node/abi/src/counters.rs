/// Packets and bytes; bytes count from the network layer's header on.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Slots of `COUNTERS`; verdicts come first, drop reasons from [`DropReason::FIRST`] on, flow events from
/// [`FlowEvent::FIRST`] on, those of TCP options from [`OptionEvent::FIRST`] on.
pub const COUNTER_SLOTS: u32 = 80;

macro_rules! counted {
    ($(#[$meta:meta])* $name:ident from $first:literal { $($(#[$doc:meta])* $variant:ident = $index:literal => $text:literal,)+ }) => {
        $(#[$meta])*
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$doc])* $variant = $first + $index,)+
        }

        impl $name {
            /// Index of the first one in `COUNTERS`.
            pub const FIRST: u32 = $first;
            /// All of them, in order.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name under which the counter is reported.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            /// Its index in `COUNTERS`.
            #[inline(always)]
            pub const fn index(self) -> u32 {
                self as u32
            }
        }
    };
}

counted! {
    /// How a packet left the program other than by being dropped.
    Verdict from 0 {
        /// Neither IPv4 nor IPv6: passed to the kernel untouched.
        PassNotIp = 0 => "pass-not-ip",
        /// Not for a VIP, nor an answer to translate: passed to the kernel untouched.
        PassNotVip = 1 => "pass-not-vip",
        /// For a VIP's address, but for no port or protocol that is served there: passed to the kernel untouched.
        PassNotServed = 2 => "pass-not-served",
        /// A translated answer whose next hop the kernel has to find out: passed to the kernel, which forwards it.
        PassToRoute = 3 => "pass-to-route",
        /// Sent to a server by destination NAT.
        Dnat = 4 => "l4-dnat",
        /// A server's answer, made the VIP's.
        DnatAnswer = 5 => "l4-dnat-answer",
        /// Sent to a server by full NAT.
        Fullnat = 6 => "l4-fullnat",
        /// A server's answer, made the VIP's and sent to its client.
        FullnatAnswer = 7 => "l4-fullnat-answer",
        /// Sent to a server by its MAC address.
        Dsr = 8 => "l4-dsr",
        /// Sent to a server through a tunnel.
        Tunnel = 9 => "l4-tunnel",
        /// Unpacked from a tunnel on a server and passed to the kernel.
        Decapsulated = 10 => "decapsulated",
        /// An echo request to a VIP, answered.
        EchoReply = 11 => "icmp-echo-reply",
        /// An ICMP error about a packet of a service, taken to whoever sent that.
        IcmpError = 12 => "icmp-error",
        /// A client was told that its packet is too big for the way to the server.
        TooBig = 13 => "icmp-too-big",
        /// A client was told that its packet's time to live has ended here.
        TimeExceeded = 14 => "icmp-time-exceeded",
        /// An ARP request for a VIP, answered.
        ArpReply = 15 => "arp-reply",
        /// A neighbor solicitation for a VIP, answered.
        NeighborAdvertisement = 16 => "nd-advertisement",
        /// Other ARP: passed to the kernel untouched.
        PassArp = 17 => "pass-arp",
        /// Another neighbor solicitation or advertisement: passed to the kernel untouched.
        PassNeighborDiscovery = 18 => "pass-nd",
        /// ARP, or neighbor discovery, by which another host takes itself for the owner of a VIP that this node holds: noted in
        /// `VIP_CLAIMS`, and passed to the kernel untouched.
        PassVipClaim = 19 => "pass-vip-claim",
        /// Of a TCP connection to a leased VIP that began before the node held it: sent on as it is to the node that held it before.
        ToPredecessor = 20 => "to-predecessor",
    }
}

counted! {
    /// Why a packet for a VIP was dropped.
    DropReason from 32 {
        /// A header is cut short.
        Truncated = 0 => "drop-truncated",
        /// A length field says more than there is, or less than its own header.
        BadLength = 1 => "drop-bad-length",
        /// A fragment whose packet's first one has not been seen, or too long ago.
        Fragment = 2 => "drop-fragment",
        /// The time to live would reach 0 at this node.
        TtlExpired = 3 => "drop-ttl-expired",
        /// The ring has no server: the pool is empty or every weight is 0.
        NoBackend = 4 => "drop-no-backend",
        /// The server has no address of the packet's family.
        NoBackendAddress = 5 => "drop-no-backend-address",
        /// The server's link-layer address is not known (yet).
        NextHopUnresolved = 6 => "drop-next-hop-unresolved",
        /// The node has no address of the family to send from.
        NoSourceAddress = 7 => "drop-no-source-address",
        /// Every source port that was tried is taken.
        NatPortsExhausted = 8 => "drop-nat-ports-exhausted",
        /// The tables of sessions could not take the flow.
        NatTableFull = 9 => "drop-nat-table-full",
        /// No room in the frame for the outer header.
        NoHeadroom = 10 => "drop-no-headroom",
        /// The answer has no route.
        NoRoute = 11 => "drop-no-route",
        /// A map that is always there was not: a defect.
        Internal = 12 => "drop-internal",
        /// A tunnel has marked congestion on a packet whose sender does not know such marks (RFC 6040 section 4.2).
        Ecn = 13 => "drop-ecn",
        /// From an address that no packet may come from, or to a link-layer group.
        Martian = 14 => "drop-martian",
        /// From the very address that it is for.
        Land = 15 => "drop-land",
        /// More extension headers than are looked through, or more than one fragment header.
        ExtensionHeaders = 16 => "drop-extension-headers",
        /// An echo request to a VIP that no healthy server stands behind.
        EchoUnserved = 17 => "drop-echo-unserved",
        /// An ICMP error that quotes too little, or another packet than the one it could be about.
        BadQuote = 18 => "drop-bad-quote",
        /// An ICMP error about a flow that is not known.
        UnknownFlow = 19 => "drop-unknown-flow",
        /// The client is not among those who may use the service.
        Denied = 20 => "drop-denied",
        /// A new flow, more than the service may take.
        ServiceLimit = 21 => "drop-service-limit",
        /// A new flow, more than its client may have.
        SourceLimit = 22 => "drop-source-limit",
        /// Too big for the way to the server, or at the end of its time to live, and so many were answered that this one was
        /// not.
        IcmpRateLimit = 23 => "drop-icmp-rate-limit",
        /// Too big for the way to the server, and no sender can be told to send so little.
        TooBig = 24 => "drop-too-big",
        /// A flow of destination NAT with exact state that the server could not tell from another one: the same client address
        /// and port, to another VIP.
        ExactStateClash = 25 => "drop-exact-state-clash",
        /// An ARP request or a neighbor solicitation for a leased VIP that another node holds, or nobody.
        VipNotHeld = 26 => "drop-vip-not-held",
        /// An ARP request or a neighbor solicitation for a VIP that the node holds, after the end of its lease.
        LeaseOver = 27 => "drop-lease-over",
        /// An ARP request or a neighbor solicitation for a leased VIP of a form that the RFCs tell not to answer.
        BadSolicitation = 28 => "drop-bad-solicitation",
        /// Of a TCP connection that is not known here, to a leased VIP that the node has just given up: whoever sends it again finds the
        /// node that has it.
        VipMoved = 29 => "drop-vip-moved",
    }
}

counted! {
    /// What the flow table did for a packet, beside the way that the packet left.
    FlowEvent from 64 {
        /// It knew the flow.
        Hit = 0 => "flow-hit",
        /// It did not.
        Miss = 1 => "flow-miss",
        /// It took a new flow.
        Insert = 2 => "flow-insert",
        /// It forgot a flow that was in use, for a new one.
        EvictLive = 3 => "flow-evict-live",
    }
}

counted! {
    /// What became of a TCP option that a packet was to get, beside the way that the packet left.
    OptionEvent from 76 {
        /// A SYN without room for its client's address, or of a shape that does not take it.
        ClientAddressOmitted = 0 => "client-address-omitted",
    }
}

/// Index and name of every counter.
pub fn counter_names() -> impl Iterator<Item = (u32, &'static str)> {
    let verdicts = Verdict::ALL.iter().map(|it| (it.index(), it.name()));
    let reasons = DropReason::ALL.iter().map(|it| (it.index(), it.name()));
    let events = FlowEvent::ALL.iter().map(|it| (it.index(), it.name()));
    let options = OptionEvent::ALL.iter().map(|it| (it.index(), it.name()));
    verdicts.chain(reasons).chain(events).chain(options)
}

const _: () =
    assert!(OptionEvent::FIRST as usize + OptionEvent::ALL.len() <= COUNTER_SLOTS as usize);
const _: () =
    assert!(FlowEvent::FIRST as usize + FlowEvent::ALL.len() <= OptionEvent::FIRST as usize);
const _: () =
    assert!(DropReason::FIRST as usize + DropReason::ALL.len() <= FlowEvent::FIRST as usize);
const _: () = assert!(Verdict::ALL.len() <= DropReason::FIRST as usize);
