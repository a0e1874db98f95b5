//! Limits on connections: of the service, and of each source.
//!
//! Both are exact over all workers: counters in atomic words, without a lock. A source has a word in a table that does not grow: a tag of 40
//! bits and a count of 24. Its place is free again when its last connection is gone. Where all places of a line are taken by other
//! sources, a connection is let in uncounted: the table is sized for the sources that are there at a time, and more of them must
//! not keep others out.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{InvalidRoute, hash::place, request::source_number};

/// Places that a source's may be: a cache line.
const WAYS: usize = 8;
const COUNT_BITS: u32 = 24;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
/// The most connections that a limit may allow.
const CONNECTIONS_MAX: u32 = 10_000_000;
/// The most sources that are told apart at a time, 8 MiB.
const SOURCES_MAX: u32 = 1 << 20;

/// How many connections there may be at a time. The default: any number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionLimits {
    service: Option<u64>,
    source: Option<u64>,
    sources: usize,
}

impl ConnectionLimits {
    /// Of all clients together, and of each source (of IPv6 its first 64 bits); `sources` are told apart at a time.
    pub fn new(
        service: Option<u32>,
        source: Option<u32>,
        sources: u32,
    ) -> Result<Self, InvalidRoute> {
        for (field, limit) in [
            ("connections.service", service),
            ("connections.source", source),
        ] {
            if limit.is_some_and(|limit| !(1..=CONNECTIONS_MAX).contains(&limit)) {
                let reason = format!(
                    "are 1 to {CONNECTIONS_MAX}, or left out, not {}",
                    limit.unwrap_or(0)
                );
                return Err(InvalidRoute::new(field, reason));
            }
        }
        if source.is_some() && !(1..=SOURCES_MAX).contains(&sources) {
            let reason = format!("are 1 to {SOURCES_MAX}, not {sources}");
            return Err(InvalidRoute::new("connections.sources", reason));
        }
        let lines = (sources as usize).div_ceil(WAYS).next_power_of_two();
        Ok(Self {
            service: service.map(u64::from),
            source: source.map(|limit| u64::from(limit).min(COUNT_MASK)),
            sources: source.map_or(0, |_| lines),
        })
    }
}

/// The connections that there are.
#[derive(Debug)]
pub struct Connections {
    limits: ConnectionLimits,
    seed: u64,
    all: AtomicU64,
    lines: Box<[Line]>,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Line([AtomicU64; WAYS]);

/// A connection that is counted, until it is dropped.
#[derive(Debug)]
pub struct Counted {
    connections: Arc<Connections>,
    /// Its source's place.
    place: Option<Place>,
}

/// Where a source is counted; small, as every connection has one.
#[derive(Clone, Copy, Debug)]
struct Place {
    line: u32,
    way: u8,
}

/// Why a connection is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TooMany {
    /// The service has as many as it may.
    Service,
    /// Its source has.
    Source,
}

impl TooMany {
    /// The name of its counter.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Service => "connections-service",
            Self::Source => "connections-source",
        }
    }
}

impl Connections {
    /// None yet. `seed` is not known outside.
    pub fn new(limits: ConnectionLimits, seed: u64) -> Self {
        Self {
            limits,
            seed,
            all: AtomicU64::new(0),
            lines: (0..limits.sources).map(|_| Line::default()).collect(),
        }
    }

    /// What they may be.
    pub const fn limits(&self) -> &ConnectionLimits {
        &self.limits
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.all.load(Relaxed)
    }

    /// Lets a client's connection in, if it may come.
    pub fn admit(self: &Arc<Self>, client: IpAddr) -> Result<Counted, TooMany> {
        let service = self.limits.service.unwrap_or(u64::MAX);
        if self.all.fetch_add(1, Relaxed) >= service {
            self.all.fetch_sub(1, Relaxed);
            return Err(TooMany::Service);
        }
        // From here on, it is taken back when this goes.
        let mut counted = Counted {
            connections: self.clone(),
            place: None,
        };
        if let Some(limit) = self.limits.source {
            counted.place = self.place(source_number(client, self.seed), limit)?;
        }
        Ok(counted)
    }

    /// Whether a client's connection would be let in, which counts for nothing.
    pub fn peek(&self, client: IpAddr) -> Result<(), TooMany> {
        if self.count() >= self.limits.service.unwrap_or(u64::MAX) {
            return Err(TooMany::Service);
        }
        let Some(limit) = self.limits.source else {
            return Ok(());
        };
        let number = source_number(client, self.seed);
        let Line(ways) = &self.lines[place(number, self.lines.len())];
        let tag = number & !COUNT_MASK;
        let is_full = ways.iter().map(|word| word.load(Relaxed)).any(|word| {
            let count = word & COUNT_MASK;
            count >= limit && word & !COUNT_MASK == tag
        });
        if is_full {
            Err(TooMany::Source)
        } else {
            Ok(())
        }
    }

    /// Counts one more of a source; none if there is no place.
    fn place(&self, number: u64, limit: u64) -> Result<Option<Place>, TooMany> {
        let line = place(number, self.lines.len());
        let at = u32::try_from(line).expect("there are fewer lines than sources");
        let tag = number & !COUNT_MASK;
        let Line(ways) = &self.lines[line];
        for want_free in [false, true] {
            for (way, word) in (0..).zip(ways) {
                let updated = word.fetch_update(Relaxed, Relaxed, |word| match word & COUNT_MASK {
                    0 if want_free => Some(tag | 1),
                    0 => None,
                    count if word & !COUNT_MASK == tag && count < limit => Some(word + 1),
                    _ => None,
                });
                match updated {
                    Ok(_) => return Ok(Some(Place { line: at, way })),
                    Err(word) if word & COUNT_MASK != 0 && word & !COUNT_MASK == tag => {
                        return Err(TooMany::Source);
                    }
                    Err(_) => {}
                }
            }
        }
        Ok(None)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.connections.all.fetch_sub(1, Relaxed);
        if let Some(Place { line, way }) = self.place {
            // The place is this source's as long as it counts anything, so this one is in it.
            self.connections.lines[line as usize].0[usize::from(way)].fetch_sub(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn connections(service: Option<u32>, source: Option<u32>, sources: u32) -> Arc<Connections> {
        Arc::new(Connections::new(
            ConnectionLimits::new(service, source, sources).unwrap(),
            0,
        ))
    }

    fn client(number: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, number])
    }

    #[test]
    fn a_service_and_its_sources_have_as_many_as_they_may() {
        let connections = connections(Some(3), Some(2), 64);
        let first = connections.admit(client(1)).unwrap();
        let _second = connections.admit(client(1)).unwrap();
        assert_eq!(connections.admit(client(1)).unwrap_err(), TooMany::Source);
        let other = connections.admit(client(2)).unwrap();
        assert_eq!(connections.admit(client(3)).unwrap_err(), TooMany::Service);
        assert_eq!(connections.peek(client(3)), Err(TooMany::Service));
        assert_eq!(connections.count(), 3);
        drop(other);
        assert_eq!(connections.admit(client(1)).unwrap_err(), TooMany::Source);
        assert_eq!(connections.peek(client(1)), Err(TooMany::Source));
        drop(first);
        assert_eq!(connections.peek(client(1)), Ok(()));
        drop(connections.admit(client(1)).unwrap());
        assert_eq!(connections.count(), 1);
    }

    #[test]
    fn a_full_table_keeps_nobody_out() {
        let connections = connections(None, Some(1), 1);
        let all: Vec<_> = (0..20)
            .map(|number| connections.admit(client(number)).unwrap())
            .collect();
        assert_eq!(all.iter().filter(|it| it.place.is_some()).count(), WAYS);
        let counted = (0..20)
            .filter(|number| connections.admit(client(*number)).is_err())
            .count();
        assert_eq!(counted, WAYS);
        drop(all);
        let words = connections.lines[0].0.iter();
        assert!(
            words
                .into_iter()
                .all(|word| word.load(Relaxed) & COUNT_MASK == 0)
        );
        assert_eq!(connections.count(), 0);
    }

    #[test]
    fn workers_count_together() {
        let connections = connections(Some(500), Some(100), 64);
        let let_in = |number: u8| {
            let all: Vec<_> = (0..200)
                .filter_map(|_| connections.admit(client(number)).ok())
                .collect();
            all
        };
        let all: Vec<_> = thread::scope(|scope| {
            let workers: Vec<_> = (0..4).map(|_| scope.spawn(|| let_in(7))).collect();
            workers
                .into_iter()
                .flat_map(|it| it.join().unwrap())
                .collect()
        });
        // Two workers may each have taken a place for the same source; never more, and mostly one.
        assert!((100..=400).contains(&all.len()), "{}", all.len());
        drop(all);
        assert_eq!(connections.count(), 0);
        assert_eq!(let_in(7).len(), 100);
    }

    #[test]
    fn what_is_no_limit_is_refused() {
        let field = |service, source, sources| {
            ConnectionLimits::new(service, source, sources)
                .unwrap_err()
                .field
        };
        assert_eq!(field(Some(0), None, 0), "connections.service");
        assert_eq!(field(None, Some(0), 1), "connections.source");
        assert_eq!(field(None, Some(1), 0), "connections.sources");
        assert_eq!(field(None, Some(1), SOURCES_MAX + 1), "connections.sources");
    }
}
