//! What a TLS client says first, read and not answered: the name of the server that it wants, and the protocols that it speaks.
//!
//! ```text
//! records, 5 bytes ahead of each     Fragments: their bytes, one behind the other
//! +--+-----+----+-----------------+
//! |22| 3 . | len| ClientHello ... | ── read ──► ClientHello { server_name, protocols() }
//! +--+-----+----+-----------------+
//! |22| 3 . | len| ... goes on     |
//! ```
//!
//! Pure, and bounded by [`HELLO_BYTES`]. A message that its server would read in another way gets a [`HelloRefusal`]: its lengths must come
//! out even, and its name be one that DNS has.

mod fragments;
mod hello;
mod name;
mod refusal;

#[cfg(test)]
mod proptests;
#[cfg(test)]
mod tests;

pub use hello::{ClientHello, HELLO_BYTES, read};
pub use name::Name;
pub use refusal::HelloRefusal;
