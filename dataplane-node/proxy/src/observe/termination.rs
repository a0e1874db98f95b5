/// How a request ended, as two letters with the meaning that they have in HAProxy's log (its configuration manual, section 8.5): who or
/// what ended it, and what was waited for then. `--` is the end that all wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Termination {
    /// Who or what ended it.
    pub cause: Cause,
    /// What was waited for.
    pub phase: Phase,
}

/// Who or what ended a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// Its end.
    #[default]
    Normal,
    /// The client: it has closed the connection, or reset the stream.
    Client,
    /// The client has not sent or taken anything for too long.
    ClientTimeout,
    /// The server: it has refused or closed the connection, or there is none.
    Server,
    /// The server has not answered for too long, or no server was free for too long.
    ServerTimeout,
    /// This proxy: what came was refused, or a limit is reached.
    Proxy,
    /// This proxy has answered by itself, as it was told to: a redirect, a fixed answer.
    Local,
}

/// What was waited for when a request ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Nothing.
    #[default]
    Done,
    /// A whole and sound request.
    Request,
    /// A server that takes another request.
    Queue,
    /// A connection to the server.
    Connect,
    /// The head of the server's answer.
    Headers,
    /// The rest of a body.
    Data,
    /// The client, to take the last of an answer that the server has sent whole.
    Last,
}

/// No server takes the request, or a connection.
pub(crate) const NO_SERVER: Termination = Termination::new(Cause::Server, Phase::Connect);

/// What a server has failed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServerFailure {
    /// It took no connection.
    Connect,
    /// It took none in time.
    ConnectTimeout,
    /// It has closed without an answer.
    NoAnswer,
    /// It has not answered in time.
    AnswerTimeout,
    /// Its answer was refused.
    Malformed,
    /// Its answer broke off.
    Broken,
    /// The rest of its answer did not come in time.
    BodyTimeout,
}

// === impl Termination ===

impl Termination {
    /// The end that all wanted.
    pub const NORMAL: Self = Self::new(Cause::Normal, Phase::Done);
    /// Every one that there can be.
    pub const COUNT: usize = Cause::ALL.len() * Phase::ALL.len();

    /// Such an end.
    pub const fn new(cause: Cause, phase: Phase) -> Self {
        Self { cause, phase }
    }

    /// The two letters.
    pub const fn letters(self) -> [u8; 2] {
        [self.cause.letter(), self.phase.letter()]
    }

    /// Its place among all of them, below [`COUNT`](Self::COUNT).
    pub const fn index(self) -> usize {
        self.cause as usize * Phase::ALL.len() + self.phase as usize
    }

    /// All of them, by [`index`](Self::index).
    pub fn all() -> impl Iterator<Item = Self> {
        let of = |cause| Phase::ALL.into_iter().map(move |it| Self::new(cause, it));
        Cause::ALL.into_iter().flat_map(of)
    }

    /// What the server of the request has failed at, if it is the server's fault.
    pub const fn server_failure(self) -> Option<ServerFailure> {
        match (self.cause, self.phase) {
            (Cause::Server, Phase::Connect) => Some(ServerFailure::Connect),
            (Cause::ServerTimeout, Phase::Connect) => Some(ServerFailure::ConnectTimeout),
            (Cause::Server, Phase::Headers) => Some(ServerFailure::NoAnswer),
            (Cause::ServerTimeout, Phase::Headers) => Some(ServerFailure::AnswerTimeout),
            (Cause::Proxy, Phase::Headers) => Some(ServerFailure::Malformed),
            (Cause::Server, Phase::Data | Phase::Last) => Some(ServerFailure::Broken),
            (Cause::ServerTimeout, Phase::Data | Phase::Last) => Some(ServerFailure::BodyTimeout),
            (Cause::Server | Cause::ServerTimeout, Phase::Done | Phase::Request | Phase::Queue)
            | (
                Cause::Proxy,
                Phase::Done
                | Phase::Request
                | Phase::Queue
                | Phase::Connect
                | Phase::Data
                | Phase::Last,
            )
            | (Cause::Normal | Cause::Client | Cause::ClientTimeout | Cause::Local, _) => None,
        }
    }
}

// === impl Cause ===

impl Cause {
    /// Because of the client: it is late, or gone.
    pub(crate) const fn client(is_late: bool) -> Self {
        if is_late {
            Self::ClientTimeout
        } else {
            Self::Client
        }
    }

    /// The same of the server.
    pub(crate) const fn server(is_late: bool) -> Self {
        if is_late {
            Self::ServerTimeout
        } else {
            Self::Server
        }
    }

    const ALL: [Self; 7] = [
        Self::Normal,
        Self::Client,
        Self::ClientTimeout,
        Self::Server,
        Self::ServerTimeout,
        Self::Proxy,
        Self::Local,
    ];

    const fn letter(self) -> u8 {
        match self {
            Self::Normal => b'-',
            Self::Client => b'C',
            Self::ClientTimeout => b'c',
            Self::Server => b'S',
            Self::ServerTimeout => b's',
            Self::Proxy => b'P',
            Self::Local => b'L',
        }
    }
}

// === impl Phase ===

impl Phase {
    const ALL: [Self; 7] = [
        Self::Done,
        Self::Request,
        Self::Queue,
        Self::Connect,
        Self::Headers,
        Self::Data,
        Self::Last,
    ];

    const fn letter(self) -> u8 {
        match self {
            Self::Done => b'-',
            Self::Request => b'R',
            Self::Queue => b'Q',
            Self::Connect => b'C',
            Self::Headers => b'H',
            Self::Data => b'D',
            Self::Last => b'L',
        }
    }
}

// === impl ServerFailure ===

impl ServerFailure {
    /// All of them, in order.
    pub const ALL: [Self; 7] = [
        Self::Connect,
        Self::ConnectTimeout,
        Self::NoAnswer,
        Self::AnswerTimeout,
        Self::Malformed,
        Self::Broken,
        Self::BodyTimeout,
    ];

    /// The name of its counter.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::ConnectTimeout => "connect-timeout",
            Self::NoAnswer => "no-answer",
            Self::AnswerTimeout => "answer-timeout",
            Self::Malformed => "malformed",
            Self::Broken => "broken",
            Self::BodyTimeout => "body-timeout",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The pairs that HAProxy's manual explains in section 8.5, as far as there is something like them here.
    #[test]
    fn letters_are_those_of_haproxy() {
        use Cause::{Client, ClientTimeout, Local, Normal, Proxy, Server, ServerTimeout};
        use Phase::{Connect, Data, Done, Headers, Last, Queue, Request};
        let table = [
            ("--", Normal, Done, None),
            ("CR", Client, Request, None),
            ("cR", ClientTimeout, Request, None),
            ("PR", Proxy, Request, None),
            ("LR", Local, Request, None),
            ("CQ", Client, Queue, None),
            ("sQ", ServerTimeout, Queue, None),
            ("PQ", Proxy, Queue, None),
            ("CC", Client, Connect, None),
            ("SC", Server, Connect, Some("connect")),
            ("sC", ServerTimeout, Connect, Some("connect-timeout")),
            ("PC", Proxy, Connect, None),
            ("CH", Client, Headers, None),
            ("cH", ClientTimeout, Headers, None),
            ("SH", Server, Headers, Some("no-answer")),
            ("sH", ServerTimeout, Headers, Some("answer-timeout")),
            ("PH", Proxy, Headers, Some("malformed")),
            ("CD", Client, Data, None),
            ("cD", ClientTimeout, Data, None),
            ("SD", Server, Data, Some("broken")),
            ("sD", ServerTimeout, Data, Some("body-timeout")),
            ("PD", Proxy, Data, None),
            ("CL", Client, Last, None),
            ("cL", ClientTimeout, Last, None),
        ];
        for (letters, cause, phase, failure) in table {
            let termination = Termination::new(cause, phase);
            assert_eq!(termination.letters(), letters.as_bytes());
            let failed = termination.server_failure().map(ServerFailure::name);
            assert_eq!(failed, failure, "{letters}");
        }
    }

    #[test]
    fn each_has_letters_and_a_place_of_its_own() {
        let all: Vec<_> = Termination::all().collect();
        assert_eq!(all.len(), Termination::COUNT);
        assert!(all.iter().enumerate().all(|(at, it)| it.index() == at));
        let letters: BTreeSet<_> = all.iter().map(|it| it.letters()).collect();
        assert_eq!(letters.len(), all.len());
        assert_eq!(Termination::default(), Termination::NORMAL);
        let names: BTreeSet<_> = ServerFailure::ALL.map(ServerFailure::name).into();
        assert_eq!(names.len(), ServerFailure::ALL.len());
        let places = ServerFailure::ALL.map(|it| it as usize);
        assert!(places.into_iter().eq(0..ServerFailure::ALL.len()));
    }
}
