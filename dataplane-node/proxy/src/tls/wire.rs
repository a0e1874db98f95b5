//! Records as they come over a connection or go over it.

use std::{cell::RefCell, thread::LocalKey};

use crate::buffer::{Kept, Kind, Pooled};

/// Bytes of a wire buffer: two records of full length, whichever version and cipher.
const WIRE_BYTES: usize = 33 << 10;
/// The most that a handshake's messages may need: the longest message that rustls takes, and a record behind it.
pub(super) const HANDSHAKE_BYTES: usize = 80 << 10;

/// Records on their way. A connection without any has none of these.
pub(super) type Wire = Pooled<Records>;

/// See [`Wire`].
#[derive(Debug)]
pub(super) struct Records;

impl Kind for Records {
    const BYTES: usize = WIRE_BYTES;
    const KEPT: usize = 64;

    fn pool() -> &'static LocalKey<Kept> {
        thread_local! {
            static POOL: Kept = const { RefCell::new(Vec::new()) };
        }
        &POOL
    }
}
