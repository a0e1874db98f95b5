use std::sync::{
    Mutex, MutexGuard, PoisonError, TryLockError,
    atomic::{AtomicU64, Ordering},
};

/// Bytes of lines that wait to be written, of each half.
pub(crate) const HALF_BYTES_MAX: usize = 1 << 20;

/// A worker's lines on their way to the thread that writes them.
///
/// ```text
///            ┌─ half ◄── whichever of them the writer does not empty
///  worker ───┤
///            └─ half ──► swapped for an empty one by the writer
/// ```
///
/// The writer holds one half at a time and for no longer than a swap takes, so the worker always finds one that it can have at once.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    halves: [Mutex<Half>; 2],
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Half {
    bytes: Vec<u8>,
    lines: u64,
}

/// What is to be done about a line that was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    /// The writer is to be told: there is something now, or much.
    Tell,
    /// The writer knows.
    Known,
    /// There was no room.
    Dropped,
}

impl Lines {
    /// Puts the line that `write` appends. By one thread only, which never waits.
    pub(crate) fn put(&self, write: impl FnOnce(&mut Vec<u8>)) -> Put {
        let Some(mut half) = self.free_half() else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return Put::Dropped;
        };
        let before = half.bytes.len();
        write(&mut half.bytes);
        let after = half.bytes.len();
        if after > HALF_BYTES_MAX {
            half.bytes.truncate(before);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return Put::Dropped;
        }
        half.lines += 1;
        if before == 0 || before <= HALF_BYTES_MAX / 2 && after > HALF_BYTES_MAX / 2 {
            Put::Tell
        } else {
            Put::Known
        }
    }

    /// The first half unless the writer has it.
    fn free_half(&self) -> Option<MutexGuard<'_, Half>> {
        self.halves.iter().find_map(|half| match half.try_lock() {
            Ok(half) => Some(half),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        })
    }

    /// Takes what is there, into `bytes`, which is empty; says how many lines that are. By the writer.
    pub(crate) fn take(&self, half: usize, bytes: &mut Vec<u8>) -> u64 {
        let mut half = self.halves[half]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut half.bytes, bytes);
        std::mem::take(&mut half.lines)
    }

    /// Lines for which there was no room.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(lines: &Lines, length: usize) -> Put {
        lines.put(|out| out.resize(out.len() + length, b'x'))
    }

    #[test]
    fn the_writer_is_told_of_the_first_line_and_when_there_are_many() {
        let lines = Lines::default();
        assert_eq!(line(&lines, 10), Put::Tell);
        assert_eq!(line(&lines, HALF_BYTES_MAX / 2 - 10), Put::Known);
        assert_eq!(line(&lines, 1), Put::Tell);
        assert_eq!(line(&lines, HALF_BYTES_MAX / 2), Put::Dropped);
        assert_eq!(line(&lines, HALF_BYTES_MAX / 2 - 1), Put::Known);
        assert_eq!(line(&lines, 1), Put::Dropped);
        let mut taken = Vec::new();
        assert_eq!(lines.take(0, &mut taken), 4);
        assert_eq!((taken.len(), lines.dropped()), (HALF_BYTES_MAX, 2));
        assert_eq!(line(&lines, 10), Put::Tell);
    }

    #[test]
    fn while_the_writer_has_one_half_lines_go_to_the_other() {
        let lines = Lines::default();
        let writer = lines.halves[0].lock().unwrap();
        assert_eq!(line(&lines, 3), Put::Tell);
        drop(writer);
        assert_eq!(line(&lines, 5), Put::Tell);
        let mut taken = Vec::new();
        assert_eq!((lines.take(1, &mut taken), taken.len()), (1, 3));
        taken.clear();
        assert_eq!((lines.take(0, &mut taken), taken.len()), (1, 5));
        // Nor is there any waiting if it had both.
        let _both = (
            lines.halves[0].lock().unwrap(),
            lines.halves[1].lock().unwrap(),
        );
        assert_eq!(line(&lines, 5), Put::Dropped);
        assert_eq!(lines.dropped(), 1);
    }
}
