use crate::QUIC_SERVER_ID_MAX;

/// What a server of a pool puts into its QUIC connection IDs. `QUIC_SERVERS[it]` is the server.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QuicServer {
    /// The server ID, and zeros behind it.
    pub id: [u8; QUIC_SERVER_ID_MAX],
    /// The pool's id.
    pub pool: u32,
    /// Bytes of the server ID.
    pub length: u32,
}

const _: () = assert!(size_of::<QuicServer>() == 16);
