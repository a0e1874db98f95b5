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
    /// Full NAT towards servers, for plain packets of flows that have a session.
    FullnatPlain = 9,
    /// Full NAT back to clients, for plain packets.
    FullnatPlainAnswer = 10,
    /// Enters a full-NAT flow that has no session.
    FullnatAdmit = 11,
}

impl NextProgram {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::General,
        Self::Deliver,
        Self::FullnatForward,
        Self::FullnatAnswer,
        Self::Answer,
        Self::FullnatPlain,
        Self::FullnatPlainAnswer,
        Self::FullnatAdmit,
    ];

    /// The number of places in `PROGRAMS`.
    pub const PLACES: u32 = 16;

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
            Self::FullnatPlain => "lbfabric_fullnat_plain",
            Self::FullnatPlainAnswer => "lbfabric_fullnat_plain_answer",
            Self::FullnatAdmit => "lbfabric_fullnat_admit",
        }
    }
}
