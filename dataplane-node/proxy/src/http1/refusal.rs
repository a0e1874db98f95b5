/// Why a message is not taken. The connection ends with it: where the next message would begin is not known any more.
///
/// Of a request the client is told [`Refusal::status`]; a response that is refused becomes 502.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// A line ends with LF alone, RFC 9112 section 2.2.
    BareLf,
    /// CR without LF behind it, RFC 9112 section 2.2.
    BareCr,
    /// The first line is none, RFC 9112 sections 3 and 4.
    StartLine,
    /// A method is a token, RFC 9110 section 9.1.
    Method,
    /// A target with bytes that none has, or of no form that the method has, RFC 9112 section 3.2.
    Target,
    /// Neither HTTP/1.0 nor HTTP/1.1, RFC 9112 section 2.3.
    Version,
    /// A name of a field is a token right before the colon, RFC 9112 section 5.1.
    FieldName,
    /// A value with control characters, RFC 9110 section 5.5.
    FieldValue,
    /// A value that goes on in the next line, RFC 9112 section 5.2.
    Folded,
    /// An HTTP/1.1 request without a host, RFC 9112 section 3.2.
    NoHost,
    /// Several hosts, RFC 9112 section 3.2.
    SeveralHosts,
    /// A host that is none, RFC 9110 section 7.2.
    Host,
    /// The target and the field name different hosts, RFC 9112 section 3.2.2.
    HostDiffers,
    /// A length that is not a number, or too large for one, RFC 9110 section 8.6.
    Length,
    /// Several lengths, RFC 9112 section 6.3.
    SeveralLengths,
    /// Both a length and a coding, RFC 9112 section 6.1.
    LengthAndCoding,
    /// A coding of transfer other than `chunked` alone, RFC 9112 section 6.1.
    Coding,
    /// A coding in a message of HTTP/1.0, RFC 9112 section 6.1.
    CodingInHttp10,
    /// A length or a coding where no body can be: in a response that has none, RFC 9112 section 6.1.
    BodyNotAllowed,
    /// A chunk's size that is not a hexadecimal number, or too large, RFC 9112 section 7.1.
    ChunkSize,
    /// An extension of a chunk that is too long or has control characters, RFC 9112 section 7.1.1.
    ChunkExtension,
    /// A chunk is longer than its size said, RFC 9112 section 7.1.
    ChunkEnd,
    /// An expectation other than `100-continue`, RFC 9110 section 10.1.1.
    Expectation,
    /// A head that is longer than is allowed.
    HeadTooLong,
    /// A target that is longer than is allowed.
    TargetTooLong,
    /// More fields than are allowed.
    TooManyFields,
    /// A trailer that is longer than is allowed.
    TrailerTooLong,
    /// A body that is longer than its route allows.
    BodyTooLong,
    /// What asks for a WebSocket has no key, or a body, RFC 6455 section 4.2.1.
    WebSocket,
    /// An upgrade, or a WebSocket over HTTP/2, at a server that takes none.
    NoUpgrade,
}

impl Refusal {
    /// All of them, in order.
    pub const ALL: [Self; 30] = [
        Self::BareLf,
        Self::BareCr,
        Self::StartLine,
        Self::Method,
        Self::Target,
        Self::Version,
        Self::FieldName,
        Self::FieldValue,
        Self::Folded,
        Self::NoHost,
        Self::SeveralHosts,
        Self::Host,
        Self::HostDiffers,
        Self::Length,
        Self::SeveralLengths,
        Self::LengthAndCoding,
        Self::Coding,
        Self::CodingInHttp10,
        Self::BodyNotAllowed,
        Self::ChunkSize,
        Self::ChunkExtension,
        Self::ChunkEnd,
        Self::Expectation,
        Self::HeadTooLong,
        Self::TargetTooLong,
        Self::TooManyFields,
        Self::TrailerTooLong,
        Self::BodyTooLong,
        Self::WebSocket,
        Self::NoUpgrade,
    ];

    /// The status that a client gets, RFC 9110 section 15.
    pub const fn status(self) -> u16 {
        match self {
            Self::Version => 505,
            Self::Coding | Self::NoUpgrade => 501,
            Self::Expectation => 417,
            Self::BodyTooLong => 413,
            Self::TargetTooLong => 414,
            Self::HeadTooLong | Self::TooManyFields | Self::TrailerTooLong => 431,
            Self::BareLf
            | Self::BareCr
            | Self::StartLine
            | Self::Method
            | Self::Target
            | Self::FieldName
            | Self::FieldValue
            | Self::Folded
            | Self::NoHost
            | Self::SeveralHosts
            | Self::Host
            | Self::HostDiffers
            | Self::Length
            | Self::SeveralLengths
            | Self::LengthAndCoding
            | Self::CodingInHttp10
            | Self::BodyNotAllowed
            | Self::ChunkSize
            | Self::ChunkExtension
            | Self::ChunkEnd
            | Self::WebSocket => 400,
        }
    }

    /// The name of its counter.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BareLf => "bare-lf",
            Self::BareCr => "bare-cr",
            Self::StartLine => "start-line",
            Self::Method => "method",
            Self::Target => "target",
            Self::Version => "version",
            Self::FieldName => "field-name",
            Self::FieldValue => "field-value",
            Self::Folded => "folded",
            Self::NoHost => "no-host",
            Self::SeveralHosts => "several-hosts",
            Self::Host => "host",
            Self::HostDiffers => "host-differs",
            Self::Length => "length",
            Self::SeveralLengths => "several-lengths",
            Self::LengthAndCoding => "length-and-coding",
            Self::Coding => "coding",
            Self::CodingInHttp10 => "coding-in-http-1.0",
            Self::BodyNotAllowed => "body-not-allowed",
            Self::ChunkSize => "chunk-size",
            Self::ChunkExtension => "chunk-extension",
            Self::ChunkEnd => "chunk-end",
            Self::Expectation => "expectation",
            Self::HeadTooLong => "head-too-long",
            Self::TargetTooLong => "target-too-long",
            Self::TooManyFields => "too-many-fields",
            Self::TrailerTooLong => "trailer-too-long",
            Self::BodyTooLong => "body-too-long",
            Self::WebSocket => "websocket",
            Self::NoUpgrade => "no-upgrade",
        }
    }

    /// The refusal with such a counter.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_refusal_has_a_name_of_its_own_and_an_error_status() {
        let names: BTreeSet<_> = Refusal::ALL.map(Refusal::name).into_iter().collect();
        assert_eq!(names.len(), Refusal::ALL.len());
        assert!(Refusal::ALL.is_sorted());
        for refusal in Refusal::ALL {
            assert_eq!(Refusal::named(refusal.name()), Some(refusal));
            assert!((400..600).contains(&refusal.status()));
        }
    }
}
