/// Why what comes is no header. The connection ends with it: what comes behind cannot be told from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HeaderRefusal {
    /// It begins in another way.
    Missing,
    /// It does not end in time: version 1 within 107 bytes, version 2 within [`HEADER_BYTES`](super::HEADER_BYTES).
    TooLong,
    /// A CR or an LF that is not part of the end, section 2.1.
    LineEnd,
    /// A family that there is not, sections 2.1 and 2.2.
    Family,
    /// Not an address of that family, as it is written, section 2.1.
    Address,
    /// Not a port, as it is written, section 2.1.
    Port,
    /// More or fewer fields than there are, or not one space between them, section 2.1.
    Fields,
    /// A version other than 2, section 2.2.
    Version,
    /// A command other than `LOCAL` and `PROXY`, section 2.2.
    Command,
    /// Shorter than its addresses are, section 2.2.
    Length,
    /// A value that is longer than what is left, or has not the length of its kind, section 2.2.7.
    Value,
    /// Two values of a kind, of which one would have to be chosen.
    Repeated,
    /// A text that is none, sections 2.2.1 and 2.2.6.
    Text,
    /// The checksum is another one, section 2.2.3.
    Checksum,
}

impl HeaderRefusal {
    /// All of them, in order.
    pub const ALL: [Self; 14] = [
        Self::Missing,
        Self::TooLong,
        Self::LineEnd,
        Self::Family,
        Self::Address,
        Self::Port,
        Self::Fields,
        Self::Version,
        Self::Command,
        Self::Length,
        Self::Value,
        Self::Repeated,
        Self::Text,
        Self::Checksum,
    ];

    /// The name of its counter.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::TooLong => "too-long",
            Self::LineEnd => "line-end",
            Self::Family => "family",
            Self::Address => "address",
            Self::Port => "port",
            Self::Fields => "fields",
            Self::Version => "version",
            Self::Command => "command",
            Self::Length => "length",
            Self::Value => "value",
            Self::Repeated => "repeated",
            Self::Text => "text",
            Self::Checksum => "checksum",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_refusal_has_a_name_of_its_own() {
        let names: BTreeSet<_> = HeaderRefusal::ALL.map(HeaderRefusal::name).into();
        assert_eq!(names.len(), HeaderRefusal::ALL.len());
        assert!(HeaderRefusal::ALL.is_sorted());
    }
}
