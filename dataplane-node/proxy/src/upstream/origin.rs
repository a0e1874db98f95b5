use std::{cell::RefCell, rc::Rc, time::Instant};

use super::{
    connection::{IdleConnection, Upstream},
    server::Server,
    source::Source,
};
use crate::http2;

/// A client whose connections to servers are its own: a server that was told at the beginning whose connection it is, or sees it from its
/// address, believes that until its end. They go with this.
#[derive(Debug)]
pub(crate) struct Origin {
    /// What each begins with.
    told: Box<[u8]>,
    /// Where each comes from, if not from the node.
    source: Option<Source>,
    idle: RefCell<Vec<(Rc<Server>, IdleConnection)>>,
    http2: RefCell<Vec<(Rc<Server>, Rc<http2::Peers>)>>,
}

impl Origin {
    /// None for a client that no server hears of: it shares connections with others.
    pub(crate) fn new(told: Box<[u8]>, source: Option<Source>) -> Option<Rc<Self>> {
        (!told.is_empty() || source.is_some()).then(|| {
            Rc::new(Self {
                told,
                source,
                idle: RefCell::default(),
                http2: RefCell::default(),
            })
        })
    }

    pub(super) fn told(&self) -> &[u8] {
        &self.told
    }

    /// Where a connection to a server comes from.
    pub(super) fn source(&self, server: &Server) -> Option<Source> {
        self.source.filter(|it| it.reaches(server.address))
    }

    /// A connection to a server that waits, if there is one.
    pub(super) fn idle_connection(&self, server: &Rc<Server>, now: Instant) -> Option<Upstream> {
        let mut idle = self.idle.borrow_mut();
        let at = idle.iter().position(|(of, _)| Rc::ptr_eq(of, server))?;
        let (_, connection) = idle.swap_remove(at);
        connection.is_alive(now).then(|| connection.into_upstream())
    }

    /// Keeps one connection to each server.
    pub(super) fn keep(&self, server: &Rc<Server>, connection: IdleConnection) {
        let mut idle = self.idle.borrow_mut();
        if !idle.iter().any(|(of, _)| Rc::ptr_eq(of, server)) {
            idle.push((server.clone(), connection));
        }
    }

    /// Its connections of HTTP/2 to a server.
    pub(super) fn http2(&self, server: &Rc<Server>) -> Rc<http2::Peers> {
        let mut all = self.http2.borrow_mut();
        if let Some((_, peers)) = all.iter().find(|(of, _)| Rc::ptr_eq(of, server)) {
            return peers.clone();
        }
        let peers = Rc::<http2::Peers>::default();
        all.push((server.clone(), peers.clone()));
        peers
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        for (_, peers) in &*self.http2.borrow() {
            peers.close();
        }
    }
}
