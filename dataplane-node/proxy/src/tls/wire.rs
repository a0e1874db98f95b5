use std::cell::RefCell;

/// Bytes of a wire buffer: two records of full length, whichever version and cipher.
pub(super) const WIRE_BYTES: usize = 33 << 10;
/// The most that a handshake's messages may need: the longest message that rustls takes, and a record behind it.
pub(super) const HANDSHAKE_BYTES: usize = 80 << 10;
/// Wire buffers that each worker keeps for the next one who needs one.
const KEPT: usize = 64;

thread_local! {
    static POOL: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// Records as they come over a connection or go over it. A connection on which none is on its way has none of these.
///
/// ```text
///   ... done ... │ start .. end │ ... space ...
/// ```
#[derive(Debug)]
pub(super) struct Wire {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Wire {
    /// An empty one, from the worker's pool if that has any.
    pub(super) fn take() -> Self {
        let kept = POOL.with_borrow_mut(Vec::pop);
        Self {
            bytes: kept.unwrap_or_else(|| vec![0; WIRE_BYTES].into_boxed_slice()),
            start: 0,
            end: 0,
        }
    }

    pub(super) fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(super) fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The first `count` bytes are done with.
    pub(super) fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.end - self.start);
        self.start += count;
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Where more can be put, with what is there at the front; empty if it is full.
    pub(super) fn space(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        &mut self.bytes[self.end..]
    }

    /// Where more can be put, without moving what is there.
    pub(super) fn tail(&mut self) -> &mut [u8] {
        &mut self.bytes[self.end..]
    }

    /// So many bytes were put into [`Wire::space`] or [`Wire::tail`].
    pub(super) fn fill(&mut self, count: usize) {
        debug_assert!(count <= self.bytes.len() - self.end);
        self.end += count;
    }

    /// Has room for a handshake's longest message from here on.
    pub(super) fn grow(&mut self) {
        if self.bytes.len() < HANDSHAKE_BYTES {
            let mut larger = vec![0; HANDSHAKE_BYTES].into_boxed_slice();
            larger[..self.end].copy_from_slice(&self.bytes[..self.end]);
            self.bytes = larger;
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes.len() != WIRE_BYTES {
            return;
        }
        // While a thread ends, there is no pool any more.
        let _kept = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.len() < KEPT {
                pool.push(bytes);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_is_all_that_is_not_filled() {
        let mut wire = Wire::take();
        wire.space().fill(7);
        wire.fill(WIRE_BYTES);
        assert!(wire.space().is_empty());
        wire.consume(WIRE_BYTES - 2);
        assert!(wire.tail().is_empty());
        assert_eq!(wire.space().len(), WIRE_BYTES - 2);
        assert_eq!(wire.filled(), [7; 2]);
        wire.grow();
        assert_eq!(wire.space().len(), HANDSHAKE_BYTES - 2);
        assert_eq!(wire.filled(), [7; 2]);
    }
}
