/// What follows a head, RFC 9112 section 6.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// As many bytes; often none.
    Length(u64),
    /// Chunks, with their own end.
    Chunked,
    /// All that comes until the connection closes. Responses only.
    UntilClose,
}
