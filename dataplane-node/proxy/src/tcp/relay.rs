use std::{
    cell::Cell,
    io,
    task::Poll,
    time::{Duration, Instant},
};

use socket2::SockRef;
use tokio::{io::Interest, net::TcpStream};

use super::one_way::OneWay;
use crate::{
    alarm::Alarm,
    observe::{Cause, Phase, Termination},
    socket::Socket,
    stream::{Incoming, Stream},
};

/// How a relayed connection ended, and what it moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Relayed {
    pub(crate) end: End,
    /// Bytes, without those that the servers' sockets have not taken.
    pub(crate) to_server: u64,
    pub(crate) to_client: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Both sides have closed, each its own direction.
    Closed,
    /// The client has reset the connection, or it has failed: so is the server's.
    ClientReset,
    /// The same of the server.
    ServerReset,
    /// Nothing has moved for too long.
    Idle,
}

impl Relayed {
    /// How the connection ended, as it is logged.
    pub(crate) const fn termination(&self) -> Termination {
        match self.end {
            End::Closed => Termination::NORMAL,
            End::ClientReset => Termination::new(Cause::Client, Phase::Data),
            End::ServerReset => Termination::new(Cause::Server, Phase::Data),
            // Of both sides it is the client who has to begin.
            End::Idle => Termination::new(Cause::ClientTimeout, Phase::Data),
        }
    }
}

/// Moves everything in both directions, what is in the buffers first, until both sides have closed. After an end of another kind, both
/// sockets are reset when they are dropped.
pub(crate) async fn relay(client: &mut Stream, server: &mut Stream, idle: Duration) -> Relayed {
    let (to_server, to_client) = (Cell::new(0), Cell::new(0));
    let last = Cell::new(Instant::now());
    let there = OneWay {
        from: Incoming {
            socket: &client.socket,
            buffer: &mut client.buffer,
            alarm: &client.alarm,
        },
        to: &server.socket,
        last: &last,
        moved: &to_server,
    };
    let back = OneWay {
        from: Incoming {
            socket: &server.socket,
            buffer: &mut server.buffer,
            alarm: &server.alarm,
        },
        to: &client.socket,
        last: &last,
        moved: &to_client,
    };
    keep_urgent_bytes(client.socket.tcp(), server.socket.tcp());
    let mut cut = Cut::of([&client.socket, &server.socket]);
    let end = tokio::select! {
        biased;
        ended = async { tokio::try_join!(there.run(), back.run()) } => match ended {
            Ok(_) => End::Closed,
            Err(_failed) => reset_by(client.socket.tcp()),
        },
        () = failed(client.socket.tcp()) => End::ClientReset,
        () = failed(server.socket.tcp()) => End::ServerReset,
        () = silent(&client.alarm, &last, idle) => End::Idle,
    };
    cut.is_whole = end == End::Closed;
    Relayed {
        end,
        to_server: to_server.get(),
        to_client: to_client.get(),
    }
}

/// Whose reset it was. A socket that was reset has no other side any more.
fn reset_by(client: &TcpStream) -> End {
    match client.peer_addr() {
        Ok(_) => End::ServerReset,
        Err(_reset) => End::ClientReset,
    }
}

/// Resets the sides of a connection that ends before they have ended it: also one whose task is ended.
pub(crate) struct Cut<'a, const SIDES: usize> {
    sockets: [&'a Socket; SIDES],
    pub(crate) is_whole: bool,
}

impl<'a, const SIDES: usize> Cut<'a, SIDES> {
    pub(crate) const fn of(sockets: [&'a Socket; SIDES]) -> Self {
        Self {
            sockets,
            is_whole: false,
        }
    }
}

impl<const SIDES: usize> Drop for Cut<'_, SIDES> {
    fn drop(&mut self) {
        if !self.is_whole {
            for socket in self.sockets {
                socket.cut();
            }
        }
    }
}

/// Lets a byte that is urgent come where it is in the stream, instead of never.
fn keep_urgent_bytes(client: &TcpStream, server: &TcpStream) {
    for socket in [client, server] {
        // One that is gone has none.
        let _gone = SockRef::from(socket).set_out_of_band_inline(true);
    }
}

/// Waits for a reset, which comes also while nobody reads.
pub(crate) async fn failed(socket: &TcpStream) {
    let _error: io::Result<_> = socket.ready(Interest::ERROR).await;
}

/// Waits until nothing has moved for so long.
pub(crate) async fn silent(alarm: &Alarm, last: &Cell<Instant>, limit: Duration) {
    loop {
        let left = limit.saturating_sub(last.get().elapsed());
        if left.is_zero() {
            return;
        }
        let _late = alarm.within(left, |_| Poll::<()>::Pending).await;
    }
}
