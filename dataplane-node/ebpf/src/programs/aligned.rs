//! Values that lie at whole words: on the stack the kernel wants map keys and what is copied by words to be aligned.

use core::ops::{Deref, DerefMut};

/// A value at an address that words can be read from.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(crate) struct Aligned<T>(pub(crate) T);

impl<T> Deref for Aligned<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Aligned<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}
