use std::time::Duration;

/// How HTTP/2 is spoken, with clients and with servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2Config {
    /// Clients may speak it: in clear text with prior knowledge, RFC 9113 section 3.3, and over TLS where it is agreed on.
    pub clients: bool,
    /// What servers speak.
    pub servers: ServerProtocol,
    /// Requests that a connection may have open, of clients and of servers.
    pub streams: u32,
    /// Bytes of a body that may come before they go on, for each stream.
    pub stream_window_bytes: u32,
    /// The same for all streams of a connection together: what a client that does not wait can make us hold.
    pub connection_window_bytes: u32,
    /// Bytes of a body that wait for a slow reader, for each stream.
    pub send_buffer_bytes: usize,
    /// Requests that a client may take back.
    pub resets: Allowance,
    /// Frames that carry nothing of a request.
    pub controls: Allowance,
    /// A connection with open requests over which nothing has come for so long is asked whether it is there.
    pub keep_alive: Duration,
    /// How long its answer may take.
    pub keep_alive_timeout: Duration,
    /// Connections to each server, for each worker.
    pub server_connections: usize,
}

/// What servers speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 with prior knowledge, many requests at a time over one connection.
    Http2,
}

/// How often something may happen on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// So often at once.
    pub burst: u32,
    /// And so often a second, for as long as it likes.
    pub per_second: u32,
}

impl Default for Http2Config {
    fn default() -> Self {
        Self {
            clients: true,
            servers: ServerProtocol::default(),
            streams: 100,
            stream_window_bytes: 256 << 10,
            connection_window_bytes: 1 << 20,
            send_buffer_bytes: 64 << 10,
            resets: Allowance {
                burst: 200,
                per_second: 50,
            },
            controls: Allowance {
                burst: 1_000,
                per_second: 200,
            },
            keep_alive: Duration::from_secs(30),
            keep_alive_timeout: Duration::from_secs(10),
            server_connections: 4,
        }
    }
}
