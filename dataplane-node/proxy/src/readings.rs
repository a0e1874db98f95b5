//! Readings of bytes from outside that are parts of something larger in the engine, each by itself: for fuzz targets, which hold them against
//! what the same bytes mean elsewhere.

use crate::balance::{Sticky, StickyConfig};

pub use crate::http2::readings::{KEY, http1_request, http2_flood, http2_request, http2_response};

/// The cookies that keep clients with the servers of a pool.
#[derive(Debug)]
pub struct StickyCookies(Sticky);

impl StickyCookies {
    /// Of a pool and its servers, by their names. None without a key.
    pub fn new(config: &StickyConfig, pool: &str, servers: &[&str]) -> Option<Self> {
        Sticky::new(config, pool, servers.iter().copied()).map(Self)
    }

    /// The place of the server that a request's `Cookie` field names, and whether it was marked with the key that marks now.
    pub fn server(&self, field: &[u8]) -> Option<(usize, bool)> {
        let marked = self.0.server(field)?;
        Some((marked.server, marked.is_current))
    }

    /// The `Set-Cookie` field that brings a client back to a server, with its line's end.
    pub fn line(&self, server: usize) -> &str {
        self.0.line(server)
    }
}
