use core::mem::MaybeUninit;

use super::{FIELDS_MAX, Field, Refusal};

/// Room for the fields of a head while it is looked at. Making it costs nothing.
#[derive(Debug)]
pub struct FieldRoom<'b>([MaybeUninit<httparse::Header<'b>>; FIELDS_MAX]);

/// How large a head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// All of it, in bytes.
    pub head_bytes: usize,
    /// A request's target, in bytes.
    pub target_bytes: usize,
    /// Fields, at most [`FIELDS_MAX`].
    pub fields: usize,
}

/// A request's head, as it came.
#[derive(Debug)]
pub struct RequestHead<'b, 'r> {
    /// A token.
    pub method: &'b str,
    /// Visible ASCII without `#`.
    pub target: &'b str,
    /// 0 of HTTP/1.0, 1 of HTTP/1.1.
    pub minor: u8,
    bytes: &'b [u8],
    fields: &'r [httparse::Header<'b>],
}

/// A response's head, as it came.
#[derive(Debug)]
pub struct ResponseHead<'b, 'r> {
    /// 100 to 999.
    pub status: u16,
    /// May be empty.
    pub reason: &'b [u8],
    /// 0 of HTTP/1.0, 1 of HTTP/1.1.
    pub minor: u8,
    bytes: &'b [u8],
    fields: &'r [httparse::Header<'b>],
}

// === impl FieldRoom ===

impl FieldRoom<'_> {
    /// Empty.
    pub const fn new() -> Self {
        Self([const { MaybeUninit::uninit() }; FIELDS_MAX])
    }
}

impl Default for FieldRoom<'_> {
    fn default() -> Self {
        Self::new()
    }
}

// === impl HeadLimits ===

impl Default for HeadLimits {
    fn default() -> Self {
        Self {
            head_bytes: 16 << 10,
            target_bytes: 8 << 10,
            fields: 100,
        }
    }
}

/// Where the head at the beginning of `bytes` ends, behind its empty line; none if more has to come. `seen` bytes were looked at before,
/// without an end.
pub fn head_end(bytes: &[u8], seen: usize, limits: &HeadLimits) -> Result<Option<usize>, Refusal> {
    // The line that was not whole then is looked at again.
    let from = memchr::memrchr(b'\n', &bytes[..seen.min(bytes.len())]).map_or(0, |at| at + 1);
    let mut line = from;
    for lf in memchr::memchr_iter(b'\n', &bytes[from..]).map(|at| from + at) {
        if lf == 0 || bytes[lf - 1] != b'\r' {
            return Err(Refusal::BareLf);
        }
        if lf + 1 > limits.head_bytes {
            return Err(Refusal::HeadTooLong);
        }
        if lf - 1 == line {
            return Ok(Some(lf + 1));
        }
        line = lf + 1;
    }
    // Its end would come behind the last byte that may be of it.
    if bytes.len() >= limits.head_bytes {
        return Err(Refusal::HeadTooLong);
    }
    Ok(None)
}

// === impl RequestHead ===

impl<'b, 'r> RequestHead<'b, 'r> {
    /// Reads a whole head, as [`head_end`] has found it.
    pub fn parse(
        head: &'b [u8],
        room: &'r mut FieldRoom<'b>,
        limits: &HeadLimits,
    ) -> Result<Self, Refusal> {
        let mut request = httparse::Request::new(&mut []);
        match request.parse_with_uninit_headers(head, &mut room.0) {
            Ok(httparse::Status::Complete(length)) if length == head.len() => {}
            // It saw an end before, or none where one is.
            Ok(_) => return Err(Refusal::StartLine),
            Err(error) => return Err(refusal_of(error, head)),
        }
        let (Some(method), Some(target), Some(minor)) =
            (request.method, request.path, request.version)
        else {
            return Err(Refusal::StartLine);
        };
        check_line(head, &[method.len(), target.len()])?;
        let of_fields = Self::of_fields(method, target, request.headers, limits)?;
        Ok(Self {
            minor,
            bytes: head,
            ..of_fields
        })
    }

    /// One of HTTP/1.1 that has come in another form: the method is a token, and the fields are what a parser makes of sound ones.
    pub(crate) fn of_fields(
        method: &'b str,
        target: &'b str,
        fields: &'r [httparse::Header<'b>],
        limits: &HeadLimits,
    ) -> Result<Self, Refusal> {
        if target.len() > limits.target_bytes {
            return Err(Refusal::TargetTooLong);
        }
        if !target
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'#')
        {
            return Err(Refusal::Target);
        }
        let fields = checked(fields, limits)?;
        Ok(Self {
            method,
            target,
            minor: 1,
            bytes: b"",
            fields,
        })
    }

    /// All of it; nothing of one that has come in another form.
    pub(super) const fn bytes(&self) -> &'b [u8] {
        self.bytes
    }

    /// Its fields, in their order.
    pub fn fields(&self) -> impl Iterator<Item = Field<'b>> + Clone + use<'b, 'r> {
        self.fields.iter().map(Field::of)
    }
}

// === impl ResponseHead ===

impl<'b, 'r> ResponseHead<'b, 'r> {
    /// Reads a whole head, as [`head_end`] has found it.
    pub fn parse(
        head: &'b [u8],
        room: &'r mut FieldRoom<'b>,
        limits: &HeadLimits,
    ) -> Result<Self, Refusal> {
        let mut response = httparse::Response::new(&mut []);
        let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
            &mut response,
            head,
            &mut room.0,
        );
        match parsed {
            Ok(httparse::Status::Complete(length)) if length == head.len() => {}
            Ok(_) => return Err(Refusal::StartLine),
            Err(error) => return Err(refusal_of(error, head)),
        }
        let (Some(status), Some(minor)) = (response.code, response.version) else {
            return Err(Refusal::StartLine);
        };
        if status < 100 {
            return Err(Refusal::StartLine);
        }
        // As it came: what the parser does not understand of it, it leaves out.
        let line = &head[..memchr::memchr(b'\r', head).unwrap_or(head.len())];
        let reason = line.get("HTTP/1.1 200 ".len()..).unwrap_or_default();
        if reason
            .iter()
            .any(|byte| byte.is_ascii_control() && *byte != b'\t')
        {
            return Err(Refusal::StartLine);
        }
        let fields = checked(response.headers, limits)?;
        Ok(Self {
            status,
            reason,
            minor,
            bytes: head,
            fields,
        })
    }

    /// All of it.
    pub(super) const fn bytes(&self) -> &'b [u8] {
        self.bytes
    }

    /// Its fields, in their order.
    pub fn fields(&self) -> impl Iterator<Item = Field<'b>> + Clone + use<'b, 'r> {
        self.fields.iter().map(Field::of)
    }
}

/// The request line is its parts with one space between them, RFC 9112 section 3: the parser lets more pass.
fn check_line(head: &[u8], [method, target]: &[usize; 2]) -> Result<(), Refusal> {
    let line = &head[..memchr::memchr(b'\r', head).unwrap_or(head.len())];
    let is_exact = line.len() == method + 1 + target + " HTTP/1.1".len()
        && line[*method] == b' '
        && line[method + 1 + target] == b' ';
    if is_exact {
        Ok(())
    } else {
        Err(Refusal::StartLine)
    }
}

fn checked<'b, 'r>(
    fields: &'r [httparse::Header<'b>],
    limits: &HeadLimits,
) -> Result<&'r [httparse::Header<'b>], Refusal> {
    if fields.len() > limits.fields {
        return Err(Refusal::TooManyFields);
    }
    if fields.iter().any(|field| field.name.is_empty()) {
        return Err(Refusal::FieldName);
    }
    Ok(fields)
}

/// What the parser refuses, by our names.
fn refusal_of(error: httparse::Error, head: &[u8]) -> Refusal {
    match error {
        httparse::Error::HeaderName => {
            let is_folded = memchr::memmem::find_iter(head, b"\r\n")
                .any(|at| matches!(head.get(at + 2), Some(b' ' | b'\t')));
            if is_folded {
                Refusal::Folded
            } else {
                Refusal::FieldName
            }
        }
        httparse::Error::HeaderValue => Refusal::FieldValue,
        httparse::Error::NewLine => Refusal::BareCr,
        httparse::Error::Status => Refusal::StartLine,
        httparse::Error::Token => Refusal::Method,
        httparse::Error::TooManyHeaders => Refusal::TooManyFields,
        httparse::Error::Version => Refusal::Version,
    }
}
