/// What becomes of a datagram of a service that relays them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DatagramFate {
    /// It went to a server.
    ToServer,
    /// It went to a client.
    ToClient,
    /// It was dropped: there were as many sessions as there may be.
    NoRoom,
    /// It was dropped: there was no server.
    NoServer,
    /// It was dropped: it could not be sent to its server at once.
    ServerFull,
    /// It was dropped: it could not be sent to its client at once.
    ClientFull,
}

impl DatagramFate {
    /// All of them, in order.
    pub const ALL: [Self; 6] = [
        Self::ToServer,
        Self::ToClient,
        Self::NoRoom,
        Self::NoServer,
        Self::ServerFull,
        Self::ClientFull,
    ];

    /// The name of its counter.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ToServer => "to-server",
            Self::ToClient => "to-client",
            Self::NoRoom => "dropped-no-room",
            Self::NoServer => "dropped-no-server",
            Self::ServerFull => "dropped-server-full",
            Self::ClientFull => "dropped-client-full",
        }
    }
}
