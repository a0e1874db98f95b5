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
    /// Takes a fragment where the first one of its packet has gone.
    Fragment = 8,
    /// ICMP errors that go to clients.
    IcmpToClient = 9,
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
        Self::Fragment,
        Self::IcmpToClient,
    ];
    /// Entries of `PROGRAMS`: one more than the largest index.
    pub const SLOTS: u32 = {
        let (mut slots, mut rest) = (0, Self::ALL);
        while let [next, others @ ..] = rest {
            if next.index() >= slots {
                slots = next.index() + 1;
            }
            rest = others;
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
            Self::Fragment => "lbfabric_fragment",
            Self::IcmpToClient => "lbfabric_icmp_to_client",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_has_its_place() {
        let mut taken = [false; NextProgram::SLOTS as usize];
        for next in NextProgram::ALL {
            let place = &mut taken[next.index() as usize];
            assert!(!*place, "{next:?}");
            *place = true;
            assert!(next.program().starts_with("lbfabric_"));
        }
    }
}
