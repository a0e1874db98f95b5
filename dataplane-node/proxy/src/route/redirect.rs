use super::{
    Answer, Authority, Fields, InvalidRoute, PathPolicy, PathRewrite, RouteRequest,
    answer::REDIRECT, conditions::PathPattern, rewrite::NoTarget,
};

/// An answer that sends the client elsewhere. What it does not name stays as it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    status: RedirectStatus,
    scheme: Option<Scheme>,
    host: Option<Authority>,
    path: PathRewrite,
    keeps_query: bool,
}

/// RFC 9110 section 15.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedirectStatus {
    /// 301: for good; clients may ask with GET then.
    MovedPermanently,
    /// 302: for now; clients may ask with GET then.
    Found,
    /// 303: for now, with GET.
    SeeOther,
    /// 307: for now, with the same method.
    Temporary,
    /// 308: for good, with the same method.
    Permanent,
}

/// How a client is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// In clear text.
    Http,
    /// With TLS.
    Https,
}

impl RedirectStatus {
    /// One of 301, 302, 303, 307 and 308.
    pub fn parse(status: u16) -> Result<Self, InvalidRoute> {
        match status {
            301 => Ok(Self::MovedPermanently),
            302 => Ok(Self::Found),
            303 => Ok(Self::SeeOther),
            307 => Ok(Self::Temporary),
            308 => Ok(Self::Permanent),
            _ => {
                let reason = format!("is 301, 302, 303, 307 or 308, not {status}");
                Err(InvalidRoute::new("redirect.status", reason))
            }
        }
    }

    const fn number(self) -> u16 {
        match self {
            Self::MovedPermanently => 301,
            Self::Found => 302,
            Self::SeeOther => 303,
            Self::Temporary => 307,
            Self::Permanent => 308,
        }
    }
}

impl Scheme {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

impl Redirect {
    /// Somewhere else in at least one way. With another scheme, the port is that scheme's own unless `host` has one.
    pub fn new(
        status: RedirectStatus,
        scheme: Option<Scheme>,
        host: Option<Authority>,
        path: PathRewrite,
        keeps_query: bool,
    ) -> Result<Self, InvalidRoute> {
        if scheme.is_none() && host.is_none() && path == PathRewrite::Keep {
            let reason = "leads to where it came from: name a scheme, a host or a path";
            return Err(InvalidRoute::new("redirect", reason));
        }
        Ok(Self {
            status,
            scheme,
            host,
            path,
            keeps_query,
        })
    }

    pub(super) fn check(&self, paths: &PathPattern) -> Result<(), InvalidRoute> {
        self.path.check(paths)
    }

    /// The answer to a request, whose path has this normal form. The location is always absolute, so that no path can be taken for a host.
    pub(super) fn answer<'t, F: Fields>(
        &self,
        request: &RouteRequest<'_, F>,
        (normal, query): (&str, Option<&str>),
        paths: &PathPattern,
        policy: PathPolicy,
    ) -> Result<Answer<'t>, NoTarget> {
        let query = query.filter(|_| self.keeps_query);
        let target = self.path.target(normal, query, paths, policy)?;
        let target = target.unwrap_or_else(|| match query {
            Some(query) => format!("{normal}?{query}"),
            None if normal == "*" => "/".to_owned(),
            None => normal.to_owned(),
        });
        let scheme = match self.scheme {
            Some(scheme) => scheme.name(),
            None => request.scheme,
        };
        let host = match (&self.host, request.host) {
            (Some(host), _) => host.as_str(),
            (None, Some(host)) if scheme == request.scheme => host,
            (None, Some(host)) => without_port(host),
            // Only HTTP/1.0 comes without one.
            (None, None) => return Ok(Answer::told(400, "redirect-without-host")),
        };
        let status = self.status.number();
        let location = format!("{scheme}://{host}{target}");
        Ok(Answer::told(status, REDIRECT).with("Location", &location))
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        Some(_) | None => host,
    }
}
