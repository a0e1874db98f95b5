use std::{
    collections::HashMap,
    fmt::{self, Write as _},
    time::Duration,
};

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// Bytes of a server's mark: half of what HMAC-SHA256 gives, which nobody guesses.
const MARK_BYTES: usize = 16;
/// What a mark looks like in a cookie: two digits for each byte.
const TOKEN_BYTES: usize = 2 * MARK_BYTES;

/// A cookie that keeps a client with its server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StickyConfig {
    /// The cookie's name: a token, RFC 6265 section 4.1.1.
    pub cookie: String,
    /// What servers are marked with. The first marks, the others are understood: so a key can be replaced. Without one there is no
    /// cookie.
    pub keys: Vec<StickyKey>,
    /// Its `Path`, without control characters and `;`.
    pub path: String,
    /// Kept from scripts.
    pub http_only: bool,
    /// Sent over TLS alone.
    pub secure: bool,
    /// Whether other sites' requests have it; none: nothing is said.
    pub same_site: Option<SameSite>,
    /// How long a client keeps it; none: until it ends.
    pub max_age: Option<Duration>,
}

/// A secret that nodes share.
#[derive(Clone, PartialEq, Eq)]
pub struct StickyKey([u8; 32]);

/// Which requests have a cookie, of those that other sites cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// None.
    Strict,
    /// Those that follow a link.
    Lax,
    /// All, which needs `Secure`.
    None,
}

/// The cookies of a pool's servers.
///
/// A server's mark is an HMAC of the pool's and its own name. It tells neither name nor address, and nobody without the key can make one.
/// Marks are the same for all clients, so that they are made once, and a request costs a look into a table.
#[derive(Debug)]
pub(crate) struct Sticky {
    cookie: String,
    servers: HashMap<[u8; TOKEN_BYTES], Marked>,
    /// A whole line for each server.
    lines: Vec<String>,
}

/// Whom a cookie names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marked {
    pub(crate) server: usize,
    /// Made with the key that marks now.
    pub(crate) is_current: bool,
}

// === impl StickyConfig ===

impl StickyConfig {
    /// `HttpOnly` and `SameSite=Lax`, for all paths.
    pub fn new(cookie: &str, key: StickyKey) -> Self {
        Self {
            cookie: cookie.to_owned(),
            keys: vec![key],
            path: "/".to_owned(),
            http_only: true,
            secure: false,
            same_site: Some(SameSite::Lax),
            max_age: None,
        }
    }

    fn line(&self, token: &str) -> String {
        let mut line = format!("Set-Cookie: {}={token}; Path={}", self.cookie, self.path);
        if let Some(age) = self.max_age {
            write!(line, "; Max-Age={}", age.as_secs()).expect("a string takes everything");
        }
        if self.http_only {
            line.push_str("; HttpOnly");
        }
        if self.secure {
            line.push_str("; Secure");
        }
        line.push_str(match self.same_site {
            Some(SameSite::Strict) => "; SameSite=Strict",
            Some(SameSite::Lax) => "; SameSite=Lax",
            Some(SameSite::None) => "; SameSite=None",
            None => "",
        });
        line.push_str("\r\n");
        line
    }
}

// === impl StickyKey ===

impl StickyKey {
    /// From 32 bytes that nobody can guess.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// From a secret that nodes share, for one purpose: whoever learns the key does not learn the secret, nor the keys of other purposes.
    pub fn derived(secret: &[u8], purpose: &str) -> Self {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("a key of any length will do");
        mac.update(purpose.as_bytes());
        Self(mac.finalize().into_bytes().into())
    }

    fn token(&self, pool: &str, server: &str) -> [u8; TOKEN_BYTES] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key of any length will do");
        // The length keeps the two names apart.
        mac.update(&(pool.len() as u64).to_be_bytes());
        mac.update(pool.as_bytes());
        mac.update(server.as_bytes());
        let mark = mac.finalize().into_bytes();
        let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
        std::array::from_fn(|at| {
            let byte = mark[at / 2];
            digit(if at % 2 == 0 { byte >> 4 } else { byte & 15 })
        })
    }
}

impl fmt::Debug for StickyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StickyKey(..)")
    }
}

// === impl Sticky ===

impl Sticky {
    /// None without a key.
    pub(crate) fn new<'a>(
        config: &StickyConfig,
        pool: &str,
        servers: impl Iterator<Item = &'a str>,
    ) -> Option<Self> {
        let first = config.keys.first()?;
        let mut sticky = Self {
            cookie: config.cookie.clone(),
            servers: HashMap::new(),
            lines: Vec::new(),
        };
        for (index, server) in servers.enumerate() {
            for key in &config.keys {
                let marked = Marked {
                    server: index,
                    is_current: key == first,
                };
                sticky.servers.insert(key.token(pool, server), marked);
            }
            let token = first.token(pool, server);
            let token = std::str::from_utf8(&token).expect("digits are ASCII");
            sticky.lines.push(config.line(token));
        }
        Some(sticky)
    }

    /// The server that a request's `Cookie` field names, if one of its cookies does.
    pub(crate) fn server(&self, field: &[u8]) -> Option<Marked> {
        cookies(field, self.cookie.as_bytes()).find_map(|value| {
            let token: &[u8; TOKEN_BYTES] = value.try_into().ok()?;
            self.servers.get(token).copied()
        })
    }

    /// The field that makes a client come back to a server, with its line's end.
    pub(crate) fn line(&self, server: usize) -> &str {
        &self.lines[server]
    }
}

/// The values of cookies with this name, RFC 6265 section 4.2.1.
pub(crate) fn cookies<'f>(field: &'f [u8], name: &'f [u8]) -> impl Iterator<Item = &'f [u8]> {
    field.split(|byte| *byte == b';').filter_map(move |pair| {
        let pair = pair.trim_ascii();
        pair.strip_prefix(name)?.strip_prefix(b"=")
    })
}

#[cfg(test)]
mod tests;
