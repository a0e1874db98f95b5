//! Paths as they are matched.
//!
//! A path is looked at in one form: what need not be escaped is not, escapes are in upper case, and `.` and `..` are resolved, RFC 3986 section
//! 6.2.2. It goes on as it came, unless a route rewrites it. So a server must read it as we did, and what servers are known to read in
//! different ways is refused: `..` that leads out of the root, or that follows an empty segment (which some merge) or an escaped
//! slash (which some unescape first), segments like `..;x` (whose parameters some cut off), and `%00`.

use std::borrow::Cow;

use lbfabric_model::route_text;

use super::InvalidRoute;

/// What becomes of paths that could be written in another way. The default takes what is sound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathPolicy {
    /// `.` and `..`.
    pub dot_segments: DotSegments,
    /// `//`.
    pub empty_segments: EmptySegments,
    /// `%2F`, `%5C` and `\`.
    pub escaped_slashes: EscapedSlashes,
}

/// `.` and `..`, also escaped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DotSegments {
    /// They are followed, and must not lead out of the root.
    #[default]
    Resolve,
    /// 400.
    Refuse,
}

/// Segments without a byte, but for the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EmptySegments {
    /// `//` is matched as `/`, so that no rule is passed by with another slash.
    #[default]
    Merge,
    /// They are segments like others.
    Keep,
    /// 400.
    Refuse,
}

/// Slashes that do not separate segments for us, and do for some servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EscapedSlashes {
    /// They are bytes like others, if no `.` or `..` is beside one.
    #[default]
    Keep,
    /// 400.
    Refuse,
}

/// Why a path is not taken; the client is told 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathRefusal {
    /// `%` without two hexadecimal digits behind it.
    Escape,
    /// `%00`.
    Nul,
    /// `..` out of the root.
    LeavesRoot,
    /// Servers read it in different ways.
    Ambiguous,
    /// `.` or `..`, where none are wanted.
    DotSegment,
    /// `//`, where none are wanted.
    EmptySegment,
    /// `%2F`, `%5C` or `\`, where none are wanted.
    EscapedSlash,
}

impl PathRefusal {
    /// The name of its counter.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Escape => "path-escape",
            Self::Nul => "path-nul",
            Self::LeavesRoot => "path-leaves-root",
            Self::Ambiguous => "path-ambiguous",
            Self::DotSegment => "path-dot-segment",
            Self::EmptySegment => "path-empty-segment",
            Self::EscapedSlash => "path-escaped-slash",
        }
    }
}

/// A target's path and its query, without the `?`.
pub(super) fn split_query(target: &str) -> (&str, Option<&str>) {
    match memchr::memchr(b'?', target.as_bytes()) {
        Some(at) => (&target[..at], Some(&target[at + 1..])),
        None => (target, None),
    }
}

/// A path, which is visible ASCII and begins with a slash, in the form that it is matched in. `*` is one too.
pub fn normal(path: &str, policy: PathPolicy) -> Result<Cow<'_, str>, PathRefusal> {
    if is_normal(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    let mut normaliser = Normaliser {
        policy,
        out: String::with_capacity(path.len()),
        has_odd: false,
    };
    let inner = path.strip_prefix('/').unwrap_or(path);
    let (interior, last) = match inner.rsplit_once('/') {
        Some((interior, last)) => (Some(interior), last),
        None => (None, inner),
    };
    for segment in interior.into_iter().flat_map(|it| it.split('/')) {
        normaliser.segment(segment, false)?;
    }
    normaliser.segment(last, true)?;
    Ok(Cow::Owned(normaliser.out))
}

/// Whether there is nothing in it that could be written in another way.
fn is_normal(path: &[u8]) -> bool {
    let mut before = b' ';
    path.iter().all(|byte| {
        let is_plain = match byte {
            b'%' | b'\\' => false,
            b'/' | b'.' => before != b'/',
            _ => true,
        };
        before = *byte;
        is_plain
    })
}

struct Normaliser {
    policy: PathPolicy,
    /// Whole segments, each behind a slash.
    out: String,
    /// There was a segment that some servers take for none, or for several.
    has_odd: bool,
}

impl Normaliser {
    fn segment(&mut self, raw: &str, is_last: bool) -> Result<(), PathRefusal> {
        let start = self.out.len();
        self.out.push('/');
        let has_slash = unescape(raw, &mut self.out)?;
        let segment = &self.out[start + 1..];
        if has_slash {
            if self.policy.escaped_slashes == EscapedSlashes::Refuse {
                return Err(PathRefusal::EscapedSlash);
            }
            if slash_parts(segment).any(|part| is_dots(without_parameters(part))) {
                return Err(PathRefusal::Ambiguous);
            }
            self.has_odd = true;
            return Ok(());
        }
        if is_dots(segment) {
            let climbs = segment == "..";
            return self.dots(start, climbs, is_last);
        }
        let name = without_parameters(segment);
        if is_dots(name) {
            return Err(PathRefusal::Ambiguous);
        }
        // Without its parameters it may be empty, and then be merged.
        self.has_odd |= name.is_empty() && !is_last;
        if segment.is_empty() && !is_last {
            match self.policy.empty_segments {
                EmptySegments::Merge => self.out.truncate(start),
                EmptySegments::Keep => {}
                EmptySegments::Refuse => return Err(PathRefusal::EmptySegment),
            }
        }
        Ok(())
    }

    /// A segment of one or two dots, which was put at `start`.
    fn dots(&mut self, start: usize, climbs: bool, is_last: bool) -> Result<(), PathRefusal> {
        if self.policy.dot_segments == DotSegments::Refuse {
            return Err(PathRefusal::DotSegment);
        }
        self.out.truncate(start);
        if climbs {
            if self.has_odd {
                return Err(PathRefusal::Ambiguous);
            }
            let parent = self.out.rfind('/').ok_or(PathRefusal::LeavesRoot)?;
            self.out.truncate(parent);
        }
        if is_last {
            self.out.push('/');
        }
        Ok(())
    }
}

/// Writes a segment with its escapes in their normal form; whether it has a slash that is not one.
fn unescape(raw: &str, out: &mut String) -> Result<bool, PathRefusal> {
    let mut has_slash = false;
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            has_slash |= byte == b'\\';
            out.push(char::from(byte));
            continue;
        }
        let digits = [bytes.next(), bytes.next()].map(|digit| hexadecimal(digit?));
        let [Some(high), Some(low)] = digits else {
            return Err(PathRefusal::Escape);
        };
        match high << 4 | low {
            0 => return Err(PathRefusal::Nul),
            byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                out.push(char::from(byte));
            }
            byte => {
                has_slash |= matches!(byte, b'/' | b'\\');
                out.push('%');
                for digit in [high, low] {
                    out.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
                }
            }
        }
    }
    Ok(has_slash)
}

pub(super) const fn hexadecimal(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// The parts between the slashes that are none.
fn slash_parts(segment: &str) -> impl Iterator<Item = &str> {
    let parts = segment.split('\\').flat_map(|part| part.split("%2F"));
    parts.flat_map(|part| part.split("%5C"))
}

fn without_parameters(segment: &str) -> &str {
    let end = [segment.find(';'), segment.find("%3B")];
    let end = end.into_iter().flatten().min();
    &segment[..end.unwrap_or(segment.len())]
}

fn is_dots(segment: &str) -> bool {
    segment == "." || segment == ".."
}

/// Checks a path that a rule names: it must be one that a request's path can be.
pub(super) fn check(field: &str, path: &str) -> Result<(), InvalidRoute> {
    route_text::path(path).map_err(|reason| InvalidRoute::new(field, reason))
}

#[cfg(test)]
mod tests;
