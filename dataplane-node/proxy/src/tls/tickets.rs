//! Session tickets under given keys, so that whichever worker or node a client comes back to can go on with its session.
//!
//! ```text
//!  │ key's name 16 │ nonce 12 │ sealed(end of its life 8, rustls' state), tag 16 │
//! ```
//!
//! AES-256-GCM-SIV (RFC 8452) holds with nonces that many nodes choose at random under one key.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    aead::{self, AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey},
    hkdf, rand,
};
use rustls::server::ProducesTickets;

const NAME_BYTES: usize = 16;
const LIFE_BYTES: usize = 8;
const KEY_BYTES: usize = 32;
const HEAD_BYTES: usize = NAME_BYTES + aead::NONCE_LEN;
/// RFC 8446 section 4.6.1.
const LIFETIME_MAX: Duration = Duration::from_hours(7 * 24);

/// A secret that tickets are made with.
#[derive(Clone, PartialEq, Eq)]
pub struct TicketKey([u8; KEY_BYTES]);

/// The secrets of a service's tickets, and how long a ticket lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TicketConfig {
    /// New tickets are made with the first. Those of the others are taken, and replaced.
    pub keys: Vec<TicketKey>,
    /// At most seven days.
    pub lifetime: Duration,
}

/// What rustls makes tickets with, and opens them.
pub(super) struct Tickets {
    keys: Vec<Key>,
    lifetime: Duration,
}

struct Key {
    name: [u8; NAME_BYTES],
    key: LessSafeKey,
}

// === impl TicketKey ===

impl TicketKey {
    /// One that is given.
    pub const fn new(secret: [u8; KEY_BYTES]) -> Self {
        Self(secret)
    }

    /// A new one; nothing if the system has no random numbers.
    pub fn random() -> Option<Self> {
        let mut secret = [0; KEY_BYTES];
        rand::fill(&mut secret).ok()?;
        Some(Self(secret))
    }
}

impl fmt::Debug for TicketKey {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("TicketKey(..)")
    }
}

// === impl Tickets ===

impl Tickets {
    /// `context` is what a ticket is good for: one that was made in another context cannot be opened, though the keys are the same.
    pub(super) fn new(config: &TicketConfig, context: &[u8]) -> Self {
        Self {
            keys: config.keys.iter().map(|it| Key::new(it, context)).collect(),
            lifetime: config.lifetime.min(LIFETIME_MAX),
        }
    }

    fn seal(&self, plain: &[u8], now: SystemTime) -> Option<Vec<u8>> {
        let Key { name, key } = self.keys.first()?;
        let mut nonce = [0; aead::NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let end = seconds(now).checked_add(self.lifetime.as_secs())?;
        let tag = AES_256_GCM_SIV.tag_len();
        let mut ticket = Vec::with_capacity(HEAD_BYTES + LIFE_BYTES + plain.len() + tag);
        ticket.extend_from_slice(name);
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(&end.to_be_bytes());
        ticket.extend_from_slice(plain);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = key
            .seal_in_place_separate_tag(nonce, Aad::from(name), &mut ticket[HEAD_BYTES..])
            .ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    fn open(&self, ticket: &[u8], now: SystemTime) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk()?;
        // Names are no secret.
        let Key { key, .. } = self.keys.iter().find(|key| key.name == *name)?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = key
            .open_in_place(nonce, Aad::from(name), &mut sealed)
            .ok()?;
        let (end, plain) = opened.split_first_chunk()?;
        (seconds(now) < u64::from_be_bytes(*end)).then(|| plain.to_vec())
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        !self.keys.is_empty()
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(self.lifetime.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, SystemTime::now())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open(cipher, SystemTime::now())
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Tickets").finish_non_exhaustive()
    }
}

/// A clock before 1970 is as good as one at its beginning.
fn seconds(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

// === impl Key ===

impl Key {
    fn new(secret: &TicketKey, context: &[u8]) -> Self {
        struct Length(usize);
        impl hkdf::KeyType for Length {
            fn len(&self) -> usize {
                self.0
            }
        }
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"lbfabric ticket 1");
        let derived = salt.extract(&secret.0);
        let mut bytes = [0; NAME_BYTES + KEY_BYTES];
        derived
            .expand(&[context], Length(bytes.len()))
            .and_then(|key| key.fill(&mut bytes))
            .expect("HKDF gives up to 255 blocks");
        let (name, key) = bytes.split_at(NAME_BYTES);
        let key = UnboundKey::new(&AES_256_GCM_SIV, key).expect("the key has the cipher's length");
        Self {
            name: std::array::from_fn(|at| name[at]),
            key: LessSafeKey::new(key),
        }
    }
}

#[cfg(test)]
mod tests;
