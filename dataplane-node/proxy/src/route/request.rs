use std::net::IpAddr;

use lbfabric_model::route_text;

use super::{InvalidRoute, hash::keyed};
use crate::http1::{Body, Field, RequestHead};

/// What a route is chosen by, of a request of any version of HTTP.
#[derive(Debug)]
pub struct RouteRequest<'a, F> {
    /// As it came.
    pub method: &'a str,
    /// Its host, with a port if it says one.
    pub host: Option<&'a str>,
    /// Path and query, or `*`.
    pub target: &'a str,
    /// `http` or `https`: how the client has come.
    pub scheme: &'a str,
    /// Who asks.
    pub client: IpAddr,
    /// What follows the head.
    pub body: Body,
    /// Of the whole head.
    pub head_bytes: usize,
    /// Its fields.
    pub fields: &'a F,
}

/// Fields of a message, in their order.
pub trait Fields {
    /// All of them.
    fn fields(&self) -> impl Iterator<Item = Field<'_>>;

    /// The values of those with a name, which is in lower case.
    fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.fields()
            .filter(move |field| field.is(name))
            .map(|field| field.value)
    }
}

impl Fields for RequestHead<'_, '_> {
    fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        RequestHead::fields(self)
    }
}

/// A field's name in a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldName(Box<str>);

impl FieldName {
    /// A token, RFC 9110 section 5.6.2, in any case.
    pub fn parse(text: &str) -> Result<Self, InvalidRoute> {
        route_text::field_name(text).map_err(|reason| InvalidRoute::new("name", reason))?;
        Ok(Self(text.to_ascii_lowercase().into()))
    }

    /// In lower case.
    pub const fn as_str(&self) -> &str {
        &self.0
    }
}

/// A cookie's name in a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CookieName(Box<str>);

impl CookieName {
    /// A token, RFC 6265 section 4.1.1; case matters.
    pub fn parse(text: &str) -> Result<Self, InvalidRoute> {
        route_text::cookie_name(text).map_err(|reason| InvalidRoute::new("cookie", reason))?;
        Ok(Self(text.into()))
    }
}

/// What tells requests apart where they are counted, or where a share of them goes another way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RequestKey {
    /// The client's address; of IPv6 its first 64 bits, as whoever has one has all behind them.
    #[default]
    Source,
    /// A field's first value. A request without one counts as one of its source.
    Field(FieldName),
    /// A cookie's value. A request without one counts as one of its source.
    Cookie(CookieName),
}

impl RequestKey {
    /// A number that stands for the request's value.
    pub(super) fn number<F: Fields>(&self, client: IpAddr, fields: &F, seed: u64) -> u64 {
        let value = match self {
            Self::Source => None,
            Self::Field(name) => fields.values(name.as_str()).next(),
            Self::Cookie(name) => cookie(fields, name),
        };
        value.map_or_else(
            || source_number(client, seed),
            |value| keyed(value, seed ^ 1),
        )
    }
}

/// A number that stands for a client.
pub(super) fn source_number(client: IpAddr, seed: u64) -> u64 {
    match client.to_canonical() {
        IpAddr::V4(v4) => keyed(&v4.octets(), seed),
        IpAddr::V6(v6) => keyed(&v6.octets()[..8], seed),
    }
}

/// The value of the first cookie with a name, RFC 6265 section 4.2.
fn cookie<'f, F: Fields>(fields: &'f F, name: &CookieName) -> Option<&'f [u8]> {
    let pairs = fields
        .values("cookie")
        .flat_map(|value| value.split(|byte| *byte == b';'));
    let mut values = pairs.filter_map(|pair| {
        let pair = pair.trim_ascii();
        let rest = pair.strip_prefix(name.0.as_bytes())?;
        rest.strip_prefix(b"=")
    });
    values.next()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Fields of a test.
    #[derive(Debug)]
    pub(in crate::route) struct Said<'a>(pub(in crate::route) &'a [(&'a str, &'a str)]);

    impl Fields for Said<'_> {
        fn fields(&self) -> impl Iterator<Item = Field<'_>> {
            self.0.iter().map(|(name, value)| Field {
                name,
                value: value.as_bytes(),
            })
        }
    }

    #[test]
    fn keys_tell_sources_fields_and_cookies_apart() {
        let number = |key: &RequestKey, client: &str, fields: &[(&str, &str)]| {
            key.number(client.parse().unwrap(), &Said(fields), 7)
        };
        let source = RequestKey::Source;
        assert_ne!(
            number(&source, "192.0.2.1", &[]),
            number(&source, "192.0.2.2", &[])
        );
        assert_eq!(
            number(&source, "2001:db8::1", &[]),
            number(&source, "2001:db8::2", &[])
        );
        assert_ne!(
            number(&source, "2001:db8::1", &[]),
            number(&source, "2001:db8:0:1::1", &[])
        );
        assert_eq!(
            number(&source, "::ffff:192.0.2.1", &[]),
            number(&source, "192.0.2.1", &[])
        );

        let field = RequestKey::Field(FieldName::parse("X-Tenant").unwrap());
        let of = |value| number(&field, "192.0.2.1", &[("x-tenant", value)]);
        assert_eq!(
            of("a"),
            number(&field, "192.0.2.9", &[("X-TENANT", "a"), ("X-Tenant", "b")])
        );
        assert_ne!(of("a"), of("b"));
        assert_eq!(
            number(&field, "192.0.2.1", &[]),
            number(&source, "192.0.2.1", &[])
        );

        let cookie = RequestKey::Cookie(CookieName::parse("id").unwrap());
        let of = |value| number(&cookie, "192.0.2.1", &[("Cookie", value)]);
        assert_eq!(of("a=b; id=7"), of("id=7;a=c"));
        assert_ne!(of("id=7"), of("id=8"));
        assert_eq!(of("xid=7; ID=8; idx=9"), number(&source, "192.0.2.1", &[]));
    }
}
