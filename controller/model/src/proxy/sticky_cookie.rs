use lbfabric_proto::v1;

use super::number::at_most;
use crate::{Violation, route_text, wire_enum::WireEnum as _};

/// Bytes of a cookie's path.
const PATH_MAX: usize = 256;
/// The longest that clients keep a cookie: 400 days (draft-ietf-httpbis-rfc6265bis section 5.5).
const MAX_AGE_SECS_MAX: u32 = 400 * 86_400;

/// A cookie that brings a client back to its server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StickyCookie {
    /// Its name, a token.
    pub name: String,
    /// The paths that it is for.
    pub path: String,
    /// Kept from scripts.
    pub http_only: bool,
    /// Sent over TLS alone.
    pub secure: bool,
    /// Whether other sites' requests have it.
    pub same_site: SameSite,
    /// How long a client keeps it; 0: until it is closed.
    pub max_age_secs: u32,
}

/// Which requests that other sites cause come with a cookie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SameSite {
    /// None.
    Strict,
    /// Those that follow a link.
    #[default]
    Lax,
    /// All.
    None,
    /// The cookie does not say.
    Omit,
}

impl StickyCookie {
    pub(super) fn parse(
        spec: &v1::StickyCookieSpec,
        has_tls: bool,
        path: &str,
        violations: &mut Vec<Violation>,
    ) -> Self {
        let v1::StickyCookieSpec {
            name,
            path: cookie_path,
            http_only,
            secure,
            same_site,
            max_age_secs,
        } = spec;
        let of = |field: &str| format!("{path}.{field}");
        if let Err(reason) = route_text::cookie_name(name) {
            violations.push(Violation::new(of("name"), reason));
        }
        let cookie_path = match cookie_path.as_str() {
            "" => "/",
            path => path,
        };
        let is_sound = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b';' | b',');
        if !cookie_path.starts_with('/')
            || cookie_path.len() > PATH_MAX
            || !cookie_path.bytes().all(is_sound)
        {
            violations.push(Violation::new(
                of("path"),
                format!(
                    "`{}` is not a cookie's path: begin it with `/`, of visible ASCII without `;` and `,`, {PATH_MAX} bytes at most",
                    crate::name::shortened(cookie_path)
                ),
            ));
        }
        let secure = secure.unwrap_or(has_tls);
        let same_site = SameSite::parse_field(*same_site, &of("same_site"), violations);
        if same_site == Some(SameSite::None) && !secure {
            violations.push(Violation::new(
                of("same_site"),
                "`none` needs `secure`, or browsers drop the cookie: set `secure: true`, or use `lax`",
            ));
        }
        Self {
            name: name.clone(),
            path: cookie_path.to_owned(),
            http_only: http_only.unwrap_or(true),
            secure,
            same_site: same_site.unwrap_or_default(),
            max_age_secs: at_most(
                &of("max_age_secs"),
                Some(*max_age_secs),
                0,
                MAX_AGE_SECS_MAX,
                violations,
            ),
        }
    }

    pub(super) fn to_spec(&self) -> v1::StickyCookieSpec {
        let Self {
            name,
            path,
            http_only,
            secure,
            same_site,
            max_age_secs,
        } = self;
        v1::StickyCookieSpec {
            name: name.clone(),
            path: path.clone(),
            http_only: Some(*http_only),
            secure: Some(*secure),
            same_site: same_site.to_proto().into(),
            max_age_secs: *max_age_secs,
        }
    }
}
