use std::cell::RefCell;

/// Bytes of a buffer.
pub const BUFFER_BYTES: usize = 16 << 10;
/// Buffers that each worker keeps for the next one who needs one.
const KEPT: usize = 256;

thread_local! {
    static POOL: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes that have come and are not yet sent on. A connection without any has none of these.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// An empty one, from the worker's pool if that has any.
    pub(crate) fn take() -> Self {
        let kept = POOL.with_borrow_mut(Vec::pop);
        Self {
            bytes: kept.unwrap_or_else(|| vec![0; BUFFER_BYTES].into_boxed_slice()),
            start: 0,
            end: 0,
        }
    }

    /// What is in it.
    pub(crate) fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(crate) fn is_empty(&self) -> bool {
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

    /// Where more can be put; empty if it is full.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        if self.end == self.bytes.len() && self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        &mut self.bytes[self.end..]
    }

    /// So many bytes were put into [`Buffer::space`].
    pub(crate) fn fill(&mut self, count: usize) {
        self.end += count;
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
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
    fn bytes_move_to_the_front_when_the_end_is_reached() {
        let mut buffer = Buffer::take();
        buffer.space().fill(7);
        buffer.fill(BUFFER_BYTES);
        assert!(buffer.space().is_empty());
        buffer.consume(BUFFER_BYTES - 3);
        assert_eq!(buffer.space().len(), BUFFER_BYTES - 3);
        assert_eq!(buffer.filled(), [7; 3]);
        buffer.consume(3);
        assert!(buffer.is_empty());
        assert_eq!(buffer.space().len(), BUFFER_BYTES);
    }
}
