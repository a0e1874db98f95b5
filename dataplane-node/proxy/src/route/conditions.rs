use std::{borrow::Cow, iter};

use super::{
    FieldName, Fields, HostPattern, InvalidRoute, Methods, Pattern, Prefixes, RouteRequest, Scheme,
    path::{self, hexadecimal},
};

/// Which requests a route is for: those that meet all of it. The default is met by every request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Its host.
    pub host: HostPattern,
    /// Its path.
    pub path: PathPattern,
    /// How the client has come; none for both.
    pub scheme: Option<Scheme>,
    /// Its method; none for all.
    pub methods: Option<Methods>,
    /// Of its fields.
    pub fields: Vec<FieldCondition>,
    /// Of its query.
    pub query: Vec<QueryCondition>,
    /// Who asks; none for all.
    pub clients: Option<Prefixes>,
}

/// Which paths a route is for, in their normal form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern(pub(super) Paths);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Paths {
    Exact(Box<str>),
    /// Without a slash at its end: that of all paths is empty.
    Below(Box<str>),
    Matching(Pattern),
}

/// What one of the fields with a name must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldCondition {
    /// Its name.
    pub name: FieldName,
    /// Its whole value.
    pub value: TextPattern,
}

/// What one of the query's values with a name must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryCondition {
    /// Without escapes.
    pub name: Box<str>,
    /// Without escapes.
    pub value: TextPattern,
}

/// What a text must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextPattern {
    /// It is there.
    Present,
    /// This, to the byte.
    Exact(Box<str>),
    /// All of it matches.
    Matching(Pattern),
}

/// A condition of a route that a request does not meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmet<'r> {
    /// Its path does not match the regular expression.
    Path,
    /// The client has come in the other way.
    Scheme,
    /// It has another method.
    Method,
    /// Its client is none of them.
    Client,
    /// It has no field with this name that is as it must be.
    Field(&'r str),
    /// Its query has nothing with this name that is as it must be.
    Query(&'r str),
}

// === impl PathPattern ===

impl PathPattern {
    /// This path alone: one with a slash more at its end is another.
    pub fn exact(path: &str) -> Result<Self, InvalidRoute> {
        path::check("path.exact", path)?;
        Ok(Self(Paths::Exact(path.into())))
    }

    /// This path and all below it: `/a` and `/a/` are for `/a`, `/a/` and `/a/b`, and not for `/ab`. `/` is for all.
    pub fn prefix(path: &str) -> Result<Self, InvalidRoute> {
        path::check("path.prefix", path)?;
        let path = path.strip_suffix('/').unwrap_or(path);
        Ok(Self(Paths::Below(path.into())))
    }

    /// All that a regular expression matches as a whole.
    pub fn regex(text: &str) -> Result<Self, InvalidRoute> {
        let pattern = Pattern::whole(text).map_err(|error| error.within("path"))?;
        Ok(Self(Paths::Matching(pattern)))
    }
}

impl Default for PathPattern {
    fn default() -> Self {
        Self(Paths::Below("".into()))
    }
}

// === impl Conditions ===

impl Conditions {
    /// The first condition that a request does not meet, of those that are not of its host and path.
    pub(super) fn unmet<F: Fields>(
        &self,
        request: &RouteRequest<'_, F>,
        query: Option<&str>,
    ) -> Option<Unmet<'_>> {
        let Self {
            host: _,
            path: _,
            scheme,
            methods,
            fields,
            query: parameters,
            clients,
        } = self;
        let methods = methods.as_ref();
        let clients = clients.as_ref();
        if scheme.is_some_and(|it| it.name() != request.scheme) {
            return Some(Unmet::Scheme);
        }
        if methods.is_some_and(|it| !it.contains(request.method)) {
            return Some(Unmet::Method);
        }
        if clients.is_some_and(|it| !it.contains(request.client)) {
            return Some(Unmet::Client);
        }
        if let Some(field) = fields.iter().find(|it| !it.is_met(request.fields)) {
            return Some(Unmet::Field(field.name.as_str()));
        }
        let query = query.unwrap_or_default();
        let parameter = parameters.iter().find(|it| !it.is_met(query));
        parameter.map(|it| Unmet::Query(&it.name))
    }
}

impl FieldCondition {
    fn is_met<F: Fields>(&self, fields: &F) -> bool {
        fields
            .values(self.name.as_str())
            .any(|value| self.value.is_met(value))
    }
}

impl QueryCondition {
    fn is_met(&self, query: &str) -> bool {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let mut pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.any(|(name, value)| {
            unescaped(name).eq(self.name.bytes()) && self.value.is_met(&without_escapes(value))
        })
    }
}

impl TextPattern {
    /// A regular expression for the whole text.
    pub fn regex(text: &str) -> Result<Self, InvalidRoute> {
        Pattern::whole(text).map(Self::Matching)
    }

    fn is_met(&self, text: &[u8]) -> bool {
        match self {
            Self::Present => true,
            Self::Exact(exact) => exact.as_bytes() == text,
            Self::Matching(pattern) => pattern.is_match(text),
        }
    }
}

/// A part of a query as forms write it; `%` without two digits behind it stands for itself.
fn unescaped(text: &str) -> impl Iterator<Item = u8> {
    let mut rest = text.as_bytes();
    iter::from_fn(move || {
        let (byte, behind) = match rest {
            [b'%', high, low, behind @ ..] => match (hexadecimal(*high), hexadecimal(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, behind),
                (Some(_) | None, Some(_) | None) => (b'%', &rest[1..]),
            },
            [b'+', behind @ ..] => (b' ', behind),
            [byte, behind @ ..] => (*byte, behind),
            [] => return None,
        };
        rest = behind;
        Some(byte)
    })
}

fn without_escapes(text: &str) -> Cow<'_, [u8]> {
    if text.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        unescaped(text).collect::<Vec<u8>>().into()
    } else {
        text.as_bytes().into()
    }
}

#[cfg(test)]
mod tests;
