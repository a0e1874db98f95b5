/// Why what comes is no `ClientHello` that can be routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HelloRefusal {
    /// No TLS, or a record of another type, RFC 8446 section 5.1.
    NoHandshake,
    /// A record that is empty or longer than 2^14 bytes, RFC 8446 section 5.1.
    Record,
    /// Another message of the handshake, RFC 8446 section 4.
    NoHello,
    /// Longer than [`HELLO_BYTES`](super::HELLO_BYTES), with its records.
    TooLong,
    /// Something is longer than what it is part of, or shorter, RFC 8446 section 4.1.2.
    Length,
    /// An extension twice, RFC 8446 section 4.2.
    Repeated,
    /// Not one name that DNS has, RFC 6066 section 3.
    ServerName,
}

impl HelloRefusal {
    /// All of them, in order.
    pub const ALL: [Self; 7] = [
        Self::NoHandshake,
        Self::Record,
        Self::NoHello,
        Self::TooLong,
        Self::Length,
        Self::Repeated,
        Self::ServerName,
    ];

    /// The name of its counter.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoHandshake => "no-handshake",
            Self::Record => "record",
            Self::NoHello => "no-hello",
            Self::TooLong => "too-long",
            Self::Length => "length",
            Self::Repeated => "repeated",
            Self::ServerName => "server-name",
        }
    }

    /// The alert that the client gets, RFC 8446 section 6; none if it does not speak TLS.
    pub const fn alert(self) -> Option<u8> {
        match self {
            Self::NoHandshake => None,
            Self::NoHello => Some(10),
            Self::Record => Some(22),
            Self::Repeated | Self::ServerName => Some(47),
            Self::TooLong | Self::Length => Some(50),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_refusal_has_a_name_of_its_own() {
        let names: BTreeSet<_> = HelloRefusal::ALL.map(HelloRefusal::name).into();
        assert_eq!(names.len(), HelloRefusal::ALL.len());
        assert!(HelloRefusal::ALL.is_sorted());
    }
}
