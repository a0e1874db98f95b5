//! The latest lines of each service, for whoever wants to see them.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

/// Bytes of a part of a service's lines, which goes as a whole.
const PART_BYTES: usize = 16 << 10;
/// Parts that are kept of a service.
const PARTS_MAX: usize = 16;
/// Services that lines are kept of: those that were written last.
const SERVICES_MAX: usize = 256;

/// The latest lines of each service: the last quarter of a megabyte, of 256 services at most. Whoever reads too slowly loses lines, and is
/// told how many.
#[derive(Debug)]
pub struct Recent {
    services: Mutex<HashMap<Arc<str>, Lines>>,
    news: watch::Sender<u64>,
}

/// Some lines of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Excerpt {
    /// Without their ends.
    pub lines: Vec<String>,
    /// Where the next one begins.
    pub next: u64,
    /// How many there were between what was asked for and the first one.
    pub lost: u64,
}

/// Of a service.
#[derive(Debug, Default)]
struct Lines {
    parts: VecDeque<Part>,
    /// The number of the first line that is there.
    first: u64,
    /// The number of the next line.
    next: u64,
    /// When one came last, by the number of the batch.
    batch: u64,
}

#[derive(Debug, Default)]
struct Part {
    bytes: Vec<u8>,
    lines: u64,
}

// === impl Recent ===

impl Recent {
    /// Changes whenever there are lines.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Where the last `count` lines of a service begin.
    pub fn last(&self, service: &str, count: u64) -> u64 {
        let services = self.lock();
        let lines = services.get(service);
        lines.map_or(0, |it| it.next.saturating_sub(count).max(it.first))
    }

    /// Lines of a service from this one on: as many as have so many bytes together, one at least.
    pub fn from(&self, service: &str, begin: u64, bytes_max: usize) -> Excerpt {
        let services = self.lock();
        let Some(lines) = services.get(service) else {
            return Excerpt {
                next: begin,
                ..Excerpt::default()
            };
        };
        // Its lines were let go of, and numbered anew.
        let begin = if begin > lines.next { 0 } else { begin };
        let mut excerpt = Excerpt {
            next: begin.max(lines.first),
            lost: lines.first.saturating_sub(begin),
            lines: Vec::new(),
        };
        let skipped = usize::try_from(excerpt.next - lines.first).unwrap_or(usize::MAX);
        let all = lines.parts.iter();
        let all = all.flat_map(|part| part.bytes.split_inclusive(|byte| *byte == b'\n'));
        let mut bytes = 0;
        for line in all.skip(skipped) {
            bytes += line.len();
            if bytes > bytes_max && !excerpt.lines.is_empty() {
                break;
            }
            let line = String::from_utf8_lossy(line.trim_ascii_end());
            excerpt.lines.push(line.into_owned());
            excerpt.next += 1;
        }
        excerpt
    }

    /// Keeps lines, each with its end, and behind the name of its service.
    pub(super) fn keep<'a>(&self, lines: impl Iterator<Item = (&'a str, &'a [u8])>) {
        let batch = *self.news.borrow() + 1;
        let mut services = self.lock();
        for (service, line) in lines {
            if !services.contains_key(service) {
                make_room(&mut services);
                services.insert(service.into(), Lines::default());
            }
            if let Some(lines) = services.get_mut(service) {
                lines.put(line);
                lines.batch = batch;
            }
        }
        drop(services);
        self.news.send_replace(batch);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Lines>> {
        // Nothing in it can be half done.
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            services: Mutex::default(),
            news: watch::Sender::new(0),
        }
    }
}

/// Lets go of the service that was not written for the longest time, if there are too many.
fn make_room(services: &mut HashMap<Arc<str>, Lines>) {
    if services.len() < SERVICES_MAX {
        return;
    }
    let oldest = services.iter().min_by_key(|(_, lines)| lines.batch);
    if let Some(name) = oldest.map(|(name, _)| name.clone()) {
        services.remove(&name);
    }
}

// === impl Lines ===

impl Lines {
    fn put(&mut self, line: &[u8]) {
        let is_full = |part: &Part| part.bytes.len() + line.len() > PART_BYTES;
        if self.parts.back().is_none_or(is_full) {
            if self.parts.len() == PARTS_MAX
                && let Some(gone) = self.parts.pop_front()
            {
                self.first += gone.lines;
            }
            self.parts.push_back(Part::default());
        }
        if let Some(part) = self.parts.back_mut() {
            part.bytes.extend_from_slice(line);
            part.lines += 1;
            self.next += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(recent: &Recent, service: &str, lines: std::ops::Range<u32>) {
        let lines: Vec<_> = lines.map(|it| format!("{it}\n")).collect();
        recent.keep(lines.iter().map(|it| (service, it.as_bytes())));
    }

    #[test]
    fn the_last_lines_of_a_service_are_its_own() {
        let recent = Recent::default();
        assert_eq!(recent.last("a", 10), 0);
        assert_eq!(recent.from("a", 0, 100), Excerpt::default());
        keep(&recent, "a", 0..5);
        keep(&recent, "b", 100..103);
        let begin = recent.last("a", 2);
        let excerpt = recent.from("a", begin, 100);
        assert_eq!(excerpt.lines, ["3", "4"]);
        assert_eq!((excerpt.next, excerpt.lost), (5, 0));
        assert!(recent.from("a", excerpt.next, 100).lines.is_empty());
        keep(&recent, "a", 5..6);
        assert_eq!(recent.from("a", excerpt.next, 100).lines, ["5"]);
        // As many as there is room for, and one if there is none.
        assert_eq!(recent.from("a", 0, 4).lines, ["0", "1"]);
        assert_eq!(recent.from("b", 0, 1).lines, ["100"]);
    }

    #[test]
    fn who_is_slow_is_told_what_is_lost() {
        let recent = Recent::default();
        let line = vec![b'x'; PART_BYTES / 4 - 1];
        let line = [&line[..], b"\n"].concat();
        let kept = (4 * PARTS_MAX) as u64;
        recent.keep((0..kept + 4).map(|_| ("a", &line[..])));
        let excerpt = recent.from("a", 0, usize::MAX);
        assert_eq!((excerpt.lost, excerpt.next), (4, kept + 4));
        assert_eq!(excerpt.lines.len() as u64, kept);
        assert_eq!(recent.last("a", u64::MAX), 4);
        // A line that is longer than a part is one.
        let long = [&vec![b'y'; 2 * PART_BYTES][..], b"\n"].concat();
        recent.keep([("a", &long[..])].into_iter());
        let begin = recent.last("a", 1);
        assert_eq!(recent.from("a", begin, 1).lines[0].len(), 2 * PART_BYTES);
    }

    #[test]
    fn services_that_say_nothing_make_room() {
        let recent = Recent::default();
        keep(&recent, "old", 0..3);
        let next = recent.from("old", 0, 100).next;
        for number in 0..SERVICES_MAX {
            keep(&recent, &number.to_string(), 0..1);
        }
        assert!(recent.from("old", 0, 100).lines.is_empty());
        assert_eq!(recent.from("0", 0, 100).lines, ["0"]);
        // When it says something again, it begins anew.
        keep(&recent, "old", 7..8);
        assert_eq!(recent.from("old", next, 100).lines, ["7"]);
    }

    #[test]
    fn there_is_news_when_there_are_lines() {
        let recent = Recent::default();
        let mut news = recent.news();
        assert!(!news.has_changed().unwrap());
        keep(&recent, "a", 0..2);
        assert!(news.has_changed().unwrap());
        news.mark_unchanged();
        assert!(!news.has_changed().unwrap());
    }
}
