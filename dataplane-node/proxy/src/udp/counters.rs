use std::sync::atomic::{AtomicU64, Ordering};

use crate::observe::DatagramFate;

/// What becomes of datagrams, counted by all of a service's workers.
#[derive(Debug, Default)]
pub struct UdpCounters([AtomicU64; Event::COUNT]);

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Session,
    ToServer,
    ToClient,
    NoRoom,
    NoServer,
    ServerFull,
    ClientFull,
    ServerGone,
}

/// What was counted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UdpCounts {
    /// Sessions that were begun.
    pub sessions: u64,
    /// Datagrams that went to servers.
    pub to_server: u64,
    /// Datagrams that went to clients.
    pub to_client: u64,
    /// Datagrams that were dropped because there were as many sessions as there may be.
    pub dropped_no_room: u64,
    /// Datagrams that were dropped because there was no server.
    pub dropped_no_server: u64,
    /// Datagrams that were dropped because they could not be sent to the server at once.
    pub dropped_to_server: u64,
    /// Datagrams that were dropped because they could not be sent to the client at once.
    pub dropped_to_client: u64,
    /// Sessions that were ended because the server has said that nobody is there.
    pub servers_gone: u64,
}

impl Event {
    const COUNT: usize = 8;

    /// What it is of a datagram.
    pub(super) const fn fate(self) -> Option<DatagramFate> {
        match self {
            Self::ToServer => Some(DatagramFate::ToServer),
            Self::ToClient => Some(DatagramFate::ToClient),
            Self::NoRoom => Some(DatagramFate::NoRoom),
            Self::NoServer => Some(DatagramFate::NoServer),
            Self::ServerFull => Some(DatagramFate::ServerFull),
            Self::ClientFull => Some(DatagramFate::ClientFull),
            Self::Session | Self::ServerGone => None,
        }
    }
}

impl UdpCounters {
    pub(super) fn add(&self, event: Event, count: u64) {
        self.0[event as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn counts(&self) -> UdpCounts {
        let of = |event: Event| self.0[event as usize].load(Ordering::Relaxed);
        UdpCounts {
            sessions: of(Event::Session),
            to_server: of(Event::ToServer),
            to_client: of(Event::ToClient),
            dropped_no_room: of(Event::NoRoom),
            dropped_no_server: of(Event::NoServer),
            dropped_to_server: of(Event::ServerFull),
            dropped_to_client: of(Event::ClientFull),
            servers_gone: of(Event::ServerGone),
        }
    }
}
