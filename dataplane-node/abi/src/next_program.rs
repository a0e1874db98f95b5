/// The programs that `lbfabric_lb` and those behind it go on with by a tail call: `PROGRAMS[index]`.
///
/// Each is checked by the kernel by itself, with a stack of its own.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextProgram {
    /// Reads packets of any shape and finds their service and server.
    General = 0,
    /// Takes a packet to the server that was found for it.
    Deliver = 1,
    /// Full NAT towards servers.
    FullnatForward = 2,
    /// Full NAT back to clients.
    FullnatAnswer = 3,
    /// Destination NAT back to clients.
    Answer = 4,
    /// ICMP and ICMPv6: echo, and errors about packets of services.
    Icmp = 5,
    /// Tells a client that its packet cannot go on.
    TooBig = 6,
    /// Turns away clients that may not use a service, and new flows beyond its limits.
    Guard = 7,
    /// Takes a fragment where the first one of its packet has gone.
    Fragment = 8,
    /// Destination NAT with exact state towards servers.
    ExactForward = 11,
    /// Lowers the MSS option of a client's SYN, or of a SYN-ACK that comes back through the node, and leaves the packet to one of the others.
    Clamp = 10,
    /// Chooses the server of a packet that may pass.
    Choose = 9,
    /// Full NAT back to clients, for plain packets.
    FullnatPlainAnswer = 12,
    /// Enters a full-NAT flow that has no session.
    FullnatAdmit = 13,
    /// ICMP errors that go to clients.
    IcmpToClient = 14,
    /// Puts the client's address into the SYN of a full-NAT service, and leaves the packet to one of the others.
    ClientAddress = 15,
    /// Enters a flow of destination NAT with exact state that has no session.
    ExactAdmit = 16,
    /// ARP, and IPv6's neighbor discovery: answers for the VIPs whose lease the node has.
    Neighbor = 17,
}

impl NextProgram {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::General,
        Self::Deliver,
        Self::FullnatForward,
        Self::FullnatAnswer,
        Self::Answer,
        Self::Icmp,
        Self::TooBig,
        Self::Guard,
        Self::Fragment,
        Self::Choose,
        Self::Clamp,
        Self::FullnatPlainAnswer,
        Self::FullnatAdmit,
        Self::IcmpToClient,
        Self::ClientAddress,
        Self::ExactForward,
        Self::ExactAdmit,
        Self::Neighbor,
    ];
    /// Entries of `PROGRAMS`: the largest index and one.
    pub const SLOTS: u32 = {
        let (mut slots, mut n) = (0, 0);
        while n < Self::ALL.len() {
            let index = Self::ALL[n].index();
            if index >= slots {
                slots = index + 1;
            }
            n += 1;
        }
        slots
    };

    /// Its index in `PROGRAMS`.
    #[inline(always)]
    pub const fn index(self) -> u32 {
        self as u32
    }

    /// Its name in the object.
    pub const fn program(self) -> &'static str {
        match self {
            Self::General => "lbfabric_general",
            Self::Deliver => "lbfabric_deliver",
            Self::FullnatForward => "lbfabric_fullnat_forward",
            Self::FullnatAnswer => "lbfabric_fullnat_answer",
            Self::Answer => "lbfabric_answer",
            Self::Icmp => "lbfabric_icmp",
            Self::TooBig => "lbfabric_too_big",
            Self::Guard => "lbfabric_guard",
            Self::Fragment => "lbfabric_fragment",
            Self::Choose => "lbfabric_choose",
            Self::Clamp => "lbfabric_clamp",
            Self::IcmpToClient => "lbfabric_icmp_to_client",
            Self::FullnatPlainAnswer => "lbfabric_fullnat_plain_answer",
            Self::FullnatAdmit => "lbfabric_fullnat_admit",
            Self::ClientAddress => "lbfabric_client_address",
            Self::ExactForward => "lbfabric_exact_forward",
            Self::ExactAdmit => "lbfabric_exact_admit",
            Self::Neighbor => "lbfabric_neighbor",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_has_its_place() {
        for (n, next) in NextProgram::ALL.iter().enumerate() {
            assert!(next.index() < NextProgram::SLOTS);
            assert!(next.program().starts_with("lbfabric_"));
            for other in &NextProgram::ALL[..n] {
                assert_ne!(next.index(), other.index());
                assert_ne!(next.program(), other.program());
            }
        }
    }
}
