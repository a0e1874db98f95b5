use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU32;

use super::Packet;

/// Between whom a session is. It is also what a packet comes with, whose port tells single hops and multihop apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Path {
    /// A partner on a link (RFC 5881).
    SingleHop {
        /// The partner's address.
        remote: IpAddr,
        /// The link's index.
        interface: u32,
    },
    /// A partner beyond routers (RFC 5883).
    Multihop {
        /// The partner's address.
        remote: IpAddr,
        /// Ours.
        local: IpAddr,
    },
}

/// Knows whose a packet is (RFC 5880 section 6.3): by our discriminator where the partner knows it, by addresses before. `Id` is
/// what the shell knows its sessions by.
#[derive(Clone, Debug)]
pub struct Demultiplexer<Id> {
    by_discriminator: BTreeMap<NonZeroU32, Entry<Id>>,
    by_path: BTreeMap<Path, NonZeroU32>,
}

#[derive(Clone, Copy, Debug)]
struct Entry<Id> {
    id: Id,
    path: Path,
    least_ttl: u8,
}

/// Why a packet is nobody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stranger {
    /// No session has the discriminator.
    #[error("no session has the discriminator {0}")]
    Discriminator(u32),
    /// No session is between these.
    #[error("no session is on the path {0:?}")]
    Path(Path),
    /// It has passed more routers than the session allows: one hop takes none (RFC 5881 section 5).
    #[error("a TTL of {0} is too low")]
    Ttl(u8),
}

// === impl Demultiplexer ===

impl<Id> Default for Demultiplexer<Id> {
    fn default() -> Self {
        Self {
            by_discriminator: BTreeMap::new(),
            by_path: BTreeMap::new(),
        }
    }
}

impl<Id: Copy> Demultiplexer<Id> {
    /// A discriminator that no session has, the first from `random` on.
    pub fn free_discriminator(&self, random: u32) -> NonZeroU32 {
        let mut number = random;
        loop {
            match NonZeroU32::new(number) {
                Some(free) if !self.by_discriminator.contains_key(&free) => return free,
                Some(_) | None => number = number.wrapping_add(1),
            }
        }
    }

    /// Adds a session, in place of one on the same path. Multihop packets need a TTL of `least_ttl`; those of one hop need 255.
    pub fn insert(&mut self, discriminator: NonZeroU32, path: Path, least_ttl: u8, id: Id) {
        if let Some(before) = self.by_path.insert(path, discriminator) {
            self.by_discriminator.remove(&before);
        }
        let least_ttl = match path {
            Path::SingleHop { .. } => 255,
            Path::Multihop { .. } => least_ttl,
        };
        let entry = Entry {
            id,
            path,
            least_ttl,
        };
        if let Some(before) = self.by_discriminator.insert(discriminator, entry)
            && before.path != path
        {
            self.by_path.remove(&before.path);
        }
    }

    /// Takes a session out.
    pub fn remove(&mut self, discriminator: NonZeroU32) {
        if let Some(entry) = self.by_discriminator.remove(&discriminator) {
            self.by_path.remove(&entry.path);
        }
    }

    /// The session of a packet that came on the path with the TTL. One with a discriminator has to come from the partner as well.
    pub fn find(&self, packet: &Packet, path: Path, ttl: u8) -> Result<Id, Stranger> {
        let discriminator = match NonZeroU32::new(packet.your_discriminator) {
            Some(discriminator) => discriminator,
            None => *self.by_path.get(&path).ok_or(Stranger::Path(path))?,
        };
        let entry = self.by_discriminator.get(&discriminator);
        let entry = entry.ok_or(Stranger::Discriminator(discriminator.get()))?;
        if entry.path != path {
            return Err(Stranger::Path(path));
        }
        if ttl < entry.least_ttl {
            return Err(Stranger::Ttl(ttl));
        }
        Ok(entry.id)
    }
}

#[cfg(test)]
mod tests {
    use super::super::session::testing::packet;
    use super::*;

    fn on_link(last: u8, interface: u32) -> Path {
        let remote = IpAddr::from([192, 0, 2, last]);
        Path::SingleHop { remote, interface }
    }

    fn number(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).unwrap()
    }

    fn found(table: &Demultiplexer<u8>, yours: u32, path: Path, ttl: u8) -> Result<u8, Stranger> {
        let mut packet = packet(super::super::State::Down);
        packet.your_discriminator = yours;
        table.find(&packet, path, ttl)
    }

    #[test]
    fn by_discriminator_and_by_path() {
        let mut table = Demultiplexer::default();
        table.insert(number(7), on_link(1, 2), 0, 70);
        table.insert(number(8), on_link(1, 3), 0, 80);
        assert_eq!(found(&table, 7, on_link(1, 2), 255), Ok(70));
        assert_eq!(found(&table, 0, on_link(1, 3), 255), Ok(80));
        let elsewhere = on_link(1, 4);
        assert_eq!(
            found(&table, 0, elsewhere, 255),
            Err(Stranger::Path(elsewhere))
        );
        assert_eq!(
            found(&table, 7, elsewhere, 255),
            Err(Stranger::Path(elsewhere))
        );
        assert_eq!(
            found(&table, 9, on_link(1, 2), 255),
            Err(Stranger::Discriminator(9))
        );
        table.remove(number(7));
        let gone = on_link(1, 2);
        assert_eq!(found(&table, 0, gone, 255), Err(Stranger::Path(gone)));
    }

    #[test]
    fn the_ttl_proves_the_distance() {
        let mut table = Demultiplexer::default();
        table.insert(number(7), on_link(1, 2), 0, 70);
        assert_eq!(
            found(&table, 0, on_link(1, 2), 254),
            Err(Stranger::Ttl(254))
        );
        let far = Path::Multihop {
            remote: [192, 0, 2, 1].into(),
            local: [192, 0, 2, 2].into(),
        };
        table.insert(number(8), far, 250, 80);
        assert_eq!(found(&table, 8, far, 250), Ok(80));
        assert_eq!(found(&table, 8, far, 249), Err(Stranger::Ttl(249)));
    }

    #[test]
    fn one_session_for_each_path_and_discriminator() {
        let mut table = Demultiplexer::default();
        table.insert(number(7), on_link(1, 2), 0, 70);
        table.insert(number(8), on_link(1, 2), 0, 80);
        let gone = Err(Stranger::Discriminator(7));
        assert_eq!(found(&table, 7, on_link(1, 2), 255), gone);
        table.insert(number(8), on_link(2, 2), 0, 81);
        let moved = on_link(1, 2);
        assert_eq!(found(&table, 0, moved, 255), Err(Stranger::Path(moved)));
        assert_eq!(table.free_discriminator(8), number(9));
        assert_eq!(table.free_discriminator(0), number(1));
        assert_eq!(table.free_discriminator(u32::MAX), number(u32::MAX));
    }
}
