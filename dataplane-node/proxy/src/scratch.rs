//! Room that a message is put together in before it is written.

use std::{
    cell::RefCell,
    ops::{Deref, DerefMut},
};

/// The most bytes that are kept of one.
const KEPT_BYTES: usize = 16 << 10;
/// What each worker keeps for the next message.
const KEPT: usize = 64;

thread_local! {
    static POOL: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes that are written at once and then forgotten: none of it is held by a connection that waits for the other side's next word.
#[derive(Debug, Default)]
pub(crate) struct Scratch(Vec<u8>);

impl Scratch {
    /// An empty one, from the worker's pool if that has any.
    pub(crate) fn take() -> Self {
        let kept = POOL.with_borrow_mut(Vec::pop);
        Self(kept.unwrap_or_default())
    }
}

impl Deref for Scratch {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.0);
        if bytes.capacity() > KEPT_BYTES {
            return;
        }
        bytes.clear();
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
    fn the_next_one_has_the_room_of_the_last_and_nothing_in_it() {
        let mut scratch = Scratch::take();
        scratch.extend_from_slice(&[7; 1000]);
        drop(scratch);
        let next = Scratch::take();
        assert!(next.is_empty() && next.capacity() >= 1000);
        let mut long = Scratch::take();
        long.resize(KEPT_BYTES + 1, 7);
        drop(long);
        assert!(Scratch::take().capacity() <= KEPT_BYTES);
    }
}
