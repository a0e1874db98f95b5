/// What a service's connections carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Carries {
    /// HTTP/1.1 and HTTP/2.
    #[default]
    Http,
    /// Anything: it is not looked at.
    Tcp,
    /// TLS, which servers end.
    TlsPassthrough,
}
