//! Room for bytes that have come or go out, shared by a worker's connections: one that has none on their way holds none of it.

use std::{cell::RefCell, marker::PhantomData, thread::LocalKey};

/// Bytes of a buffer.
pub const BUFFER_BYTES: usize = 16 << 10;

/// Bytes that have come and are not yet sent on.
pub(crate) type Buffer = Pooled<Plain>;

/// Bytes in a block of the worker's pool, which goes back there.
///
/// ```text
///   ... done ... │ start .. end │ ... space ...
/// ```
#[derive(Debug)]
pub(crate) struct Pooled<K: Kind> {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    _kind: PhantomData<K>,
}

/// Blocks that a worker keeps for the next one who needs one.
pub(crate) type Kept = RefCell<Vec<Box<[u8]>>>;

/// What blocks are for.
pub(crate) trait Kind {
    /// Bytes of a block.
    const BYTES: usize;
    /// The most blocks that a worker keeps.
    const KEPT: usize;

    /// The thread's pool.
    fn pool() -> &'static LocalKey<Kept>;
}

/// See [`Buffer`].
#[derive(Debug)]
pub(crate) struct Plain;

impl Kind for Plain {
    const BYTES: usize = BUFFER_BYTES;
    const KEPT: usize = 256;

    fn pool() -> &'static LocalKey<Kept> {
        thread_local! {
            static POOL: Kept = const { RefCell::new(Vec::new()) };
        }
        &POOL
    }
}

impl<K: Kind> Pooled<K> {
    /// An empty one, from the worker's pool if that has any.
    pub(crate) fn take() -> Self {
        let kept = K::pool().with_borrow_mut(Vec::pop);
        Self {
            bytes: kept.unwrap_or_else(|| vec![0; K::BYTES].into_boxed_slice()),
            start: 0,
            end: 0,
            _kind: PhantomData,
        }
    }

    /// What is in it.
    pub(crate) fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(crate) fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The first `count` bytes are done with.
    pub(crate) fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.end - self.start);
        self.start += count;
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Where more can be put; empty if it is full. What is there moves to the front if there is no other room.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        if self.end == self.bytes.len() {
            self.compact();
        }
        self.tail()
    }

    /// Where more can be put, as much as there can be: what is there moves to the front.
    pub(crate) fn all_space(&mut self) -> &mut [u8] {
        self.compact();
        self.tail()
    }

    /// Where more can be put, without moving what is there.
    pub(crate) fn tail(&mut self) -> &mut [u8] {
        &mut self.bytes[self.end..]
    }

    fn compact(&mut self) {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
    }

    /// So many bytes were put where more can be put.
    pub(crate) fn fill(&mut self, count: usize) {
        debug_assert!(count <= self.bytes.len() - self.end);
        self.end += count;
    }

    /// Has so much room from here on, at least.
    pub(crate) fn grow(&mut self, bytes: usize) {
        if self.bytes.len() < bytes {
            let mut larger = vec![0; bytes].into_boxed_slice();
            larger[..self.end].copy_from_slice(&self.bytes[..self.end]);
            self.bytes = larger;
        }
    }
}

impl<K: Kind> Drop for Pooled<K> {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes.len() != K::BYTES {
            return;
        }
        // While a thread ends, there is no pool any more.
        let _kept = K::pool().try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.len() < K::KEPT {
                pool.push(bytes);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_move_to_the_front_when_the_end_is_reached() {
        let mut buffer = Buffer::take();
        buffer.space().fill(7);
        buffer.fill(BUFFER_BYTES - 1);
        buffer.consume(2);
        assert_eq!(buffer.space().len(), 1);
        buffer.fill(1);
        assert_eq!(buffer.space().len(), 2);
        buffer.consume(BUFFER_BYTES - 5);
        assert_eq!(buffer.filled(), [7; 3]);
        buffer.consume(3);
        assert!(buffer.is_empty());
        assert_eq!(buffer.space().len(), BUFFER_BYTES);
    }

    #[test]
    fn all_space_is_what_is_not_filled() {
        let mut buffer = Buffer::take();
        buffer.space().fill(7);
        buffer.fill(BUFFER_BYTES);
        assert!(buffer.all_space().is_empty());
        buffer.consume(BUFFER_BYTES - 2);
        assert!(buffer.tail().is_empty());
        assert_eq!(buffer.all_space().len(), BUFFER_BYTES - 2);
        assert_eq!(buffer.filled(), [7; 2]);
        buffer.grow(2 * BUFFER_BYTES);
        assert_eq!(buffer.all_space().len(), 2 * BUFFER_BYTES - 2);
        assert_eq!(buffer.filled(), [7; 2]);
    }

    #[test]
    fn a_block_that_has_grown_does_not_go_back() {
        let mut buffer = Buffer::take();
        buffer.grow(BUFFER_BYTES + 1);
        drop(buffer);
        assert_eq!(Buffer::take().space().len(), BUFFER_BYTES);
    }
}
