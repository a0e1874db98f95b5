//! TLS between real curl, `openssl s_client` and nginx.
#![expect(
    clippy::unwrap_used,
    reason = "tests fail loudly wherever they meet what they do not expect"
)]

#[path = "tls/authority.rs"]
mod authority;
#[path = "tls/clients.rs"]
mod clients;
#[path = "tls/lives.rs"]
mod lives;
#[expect(dead_code, reason = "other tests need more of it")]
#[path = "engine/nginx.rs"]
mod nginx;
#[path = "tls/openssl.rs"]
mod openssl;
#[path = "tls/servers.rs"]
mod servers;
#[path = "tls/sessions.rs"]
mod sessions;
#[path = "tls/told.rs"]
mod told;
#[path = "engine/worker.rs"]
mod worker;
