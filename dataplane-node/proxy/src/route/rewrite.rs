use std::borrow::Cow;

use lbfabric_model::route_text;

use super::{
    InvalidRoute, PathPolicy, PathRefusal, Pattern,
    conditions::{PathPattern, Paths},
    path,
};

/// How a request's target changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// For whom it is then; none for whom it was.
    pub host: Option<Authority>,
    /// Its path. The query stays.
    pub path: PathRewrite,
}

/// A host that is written, with a port if one is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority(Box<str>);

/// How a path changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PathRewrite {
    /// It goes on as it came.
    #[default]
    Keep,
    /// Another path in its place.
    Whole(WrittenPath),
    /// Another one in place of the route's prefix; what is behind that stays, in its normal form.
    Prefix(WrittenPath),
    /// Every part of its normal form that matches, in order, is replaced.
    Substitute(Substitution),
}

/// A path that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenPath(Box<str>);

/// A regular expression, and what is put in place of what it matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Substitution {
    pattern: Pattern,
    replacement: Box<str>,
}

/// Why a rewritten path goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoTarget {
    /// It leads out of the root, or is ambiguous.
    Refused(PathRefusal),
    /// It is longer than a target may be.
    TooLong,
}

/// Bytes of a rewritten target.
const TARGET_MAX: usize = 8 << 10;

// === impl Authority ===

impl Authority {
    /// A name or an address, with or without a port: `www.example.com`, `[2001:db8::1]:8443`.
    pub fn parse(text: &str) -> Result<Self, InvalidRoute> {
        let authority = route_text::authority(text);
        let authority = authority.map_err(|reason| InvalidRoute::new("host", reason))?;
        Ok(Self(authority.into()))
    }

    /// As it is written.
    pub const fn as_str(&self) -> &str {
        &self.0
    }
}

// === impl PathRewrite ===

impl PathRewrite {
    /// Another path in its place.
    pub fn whole(path: &str) -> Result<Self, InvalidRoute> {
        path::check("rewrite.path", path)?;
        Ok(Self::Whole(WrittenPath(path.into())))
    }

    /// Another path in place of the route's prefix; `/` takes the prefix away.
    pub fn prefix(path: &str) -> Result<Self, InvalidRoute> {
        path::check("rewrite.prefix", path)?;
        let path = path.strip_suffix('/').unwrap_or(path);
        Ok(Self::Prefix(WrittenPath(path.into())))
    }

    /// A regular expression, and a text with `$1` or `${name}` for its groups and `$$` for a dollar sign.
    pub fn substitute(regex: &str, replacement: &str) -> Result<Self, InvalidRoute> {
        let pattern = Pattern::part(regex).map_err(|error| error.within("rewrite"))?;
        route_text::replacement(pattern.regex(), replacement)
            .map_err(|reason| InvalidRoute::new("rewrite.replacement", reason))?;
        Ok(Self::Substitute(Substitution {
            pattern,
            replacement: replacement.into(),
        }))
    }

    /// Checks it against the paths that it is for.
    pub(super) fn check(&self, paths: &PathPattern) -> Result<(), InvalidRoute> {
        match (self, &paths.0) {
            (Self::Prefix(_), Paths::Exact(_) | Paths::Matching(_)) => {
                let reason = "replaces the route's prefix: give the route a path.prefix, or rewrite the whole path";
                Err(InvalidRoute::new("rewrite.prefix", reason))
            }
            (Self::Prefix(_), Paths::Below(_))
            | (
                Self::Keep | Self::Whole(_) | Self::Substitute(_),
                Paths::Exact(_) | Paths::Below(_) | Paths::Matching(_),
            ) => Ok(()),
        }
    }

    /// The target of a request whose path has this normal form; none if it stays.
    pub(super) fn target(
        &self,
        normal: &str,
        query: Option<&str>,
        paths: &PathPattern,
        policy: PathPolicy,
    ) -> Result<Option<String>, NoTarget> {
        let mut target = match self {
            Self::Keep => return Ok(None),
            // The server as a whole is asked, RFC 9112 section 3.2.4.
            _ if normal == "*" => return Ok(None),
            Self::Whole(path) => path.0.to_string(),
            Self::Prefix(path) => {
                let rest = match &paths.0 {
                    Paths::Below(prefix) => normal.strip_prefix(&**prefix).unwrap_or(normal),
                    Paths::Exact(_) | Paths::Matching(_) => normal,
                };
                if path.0.is_empty() {
                    // Two slashes at the beginning would be taken for a host by some.
                    format!("/{}", rest.trim_start_matches('/'))
                } else {
                    format!("{}{rest}", path.0)
                }
            }
            Self::Substitute(substitution) => substitution.apply(normal, policy)?,
        };
        if let Some(query) = query {
            target.push('?');
            target.push_str(query);
        }
        if target.len() > TARGET_MAX {
            return Err(NoTarget::TooLong);
        }
        Ok(Some(target))
    }
}

impl Substitution {
    fn apply(&self, normal: &str, policy: PathPolicy) -> Result<String, NoTarget> {
        let replaced = self.replace(normal).ok_or(NoTarget::TooLong)?;
        // What comes out may lead elsewhere than what went in.
        let sound = replaced.starts_with('/');
        let normal = if sound {
            path::normal(&replaced, policy)
        } else {
            Err(PathRefusal::Ambiguous)
        };
        normal.map(Cow::into_owned).map_err(NoTarget::Refused)
    }

    /// None if it becomes too long: every match may be replaced by more than it was.
    fn replace(&self, normal: &str) -> Option<String> {
        let (mut out, mut at) = (Vec::with_capacity(normal.len() + 64), 0);
        for captures in self.pattern.regex().captures_iter(normal.as_bytes()) {
            let matched = captures.get_match();
            out.extend_from_slice(&normal.as_bytes()[at..matched.start()]);
            captures.expand(self.replacement.as_bytes(), &mut out);
            at = matched.end();
            if out.len() > TARGET_MAX {
                return None;
            }
        }
        out.extend_from_slice(&normal.as_bytes()[at..]);
        String::from_utf8(out).ok()
    }
}

#[cfg(test)]
mod tests;
