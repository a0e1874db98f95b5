use super::{Answer, ContentTypes, Fields, InvalidRoute, Methods, Prefixes, RouteRequest};
use crate::http1::{Body, FIELDS_MAX};

/// What a request must be, so that a route does anything with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// Clients that get a 403.
    pub deny: Prefixes,
    /// Others get a 405 with these.
    pub methods: Option<Methods>,
    /// Requests with bodies of others, or without a type, get a 415.
    pub content_types: Option<ContentTypes>,
    /// How large it may be.
    pub limits: RouteLimits,
    /// Names of rate limits that count it.
    pub rate_limits: Vec<Box<str>>,
}

/// How large a request may be, beside what the service allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteLimits {
    body_bytes: Option<u64>,
    head_bytes: Option<usize>,
    fields: Option<usize>,
}

impl RouteLimits {
    /// Larger bodies get a 413; longer heads, and heads with more fields, a 431.
    pub fn new(
        body_bytes: Option<u64>,
        head_bytes: Option<usize>,
        fields: Option<usize>,
    ) -> Result<Self, InvalidRoute> {
        if head_bytes.is_some_and(|bytes| !(128..=crate::BUFFER_BYTES).contains(&bytes)) {
            let reason = format!("are 128 to {}, or left out", crate::BUFFER_BYTES);
            return Err(InvalidRoute::new("limits.head_bytes", reason));
        }
        if fields.is_some_and(|fields| !(1..=FIELDS_MAX).contains(&fields)) {
            let reason = format!("are 1 to {FIELDS_MAX}, or left out");
            return Err(InvalidRoute::new("limits.fields", reason));
        }
        Ok(Self {
            body_bytes,
            head_bytes,
            fields,
        })
    }

    /// Of a body's data.
    pub const fn body_bytes(&self) -> Option<u64> {
        self.body_bytes
    }
}

impl Guard {
    /// The answer to a request that is not what it must be; its rate is looked at by the table.
    pub(super) fn refuse<F: Fields>(
        &self,
        request: &RouteRequest<'_, F>,
    ) -> Option<Answer<'static>> {
        let Self {
            deny,
            methods,
            content_types,
            limits,
            rate_limits: _,
        } = self;
        if deny.contains(request.client) {
            return Some(Answer::told(403, "denied"));
        }
        if let Some(methods) = methods.as_ref().filter(|it| !it.contains(request.method)) {
            return Some(Answer::told(405, "method").with("Allow", methods.list()));
        }
        if limits
            .head_bytes
            .is_some_and(|most| request.head_bytes > most)
        {
            return Some(Answer::told(431, "route-head-too-long"));
        }
        if limits
            .fields
            .is_some_and(|most| request.fields.fields().count() > most)
        {
            return Some(Answer::told(431, "route-too-many-fields"));
        }
        let has_body = request.body != Body::Length(0);
        if has_body
            && content_types
                .as_ref()
                .is_some_and(|it| !it.allow(request.fields))
        {
            return Some(Answer::told(415, "content-type"));
        }
        match (request.body, limits.body_bytes) {
            (Body::Length(length), Some(most)) if length > most => {
                Some(Answer::told(413, "body-too-long"))
            }
            // What comes in chunks is counted while it comes.
            (Body::Length(_) | Body::Chunked | Body::UntilClose, _) => None,
        }
    }
}
