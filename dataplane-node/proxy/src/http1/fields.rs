use std::ops::Range;

use super::Refusal;

/// Fields that a head may have.
pub const FIELDS_MAX: usize = 128;

/// A field of a head: its name as it came, and its value without the spaces around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'b> {
    /// A token, RFC 9110 section 5.6.2.
    pub name: &'b str,
    /// Without control characters but for tabs.
    pub value: &'b [u8],
}

impl<'b> Field<'b> {
    pub(super) fn of(header: &httparse::Header<'b>) -> Self {
        Self {
            name: header.name,
            value: trimmed(header.value),
        }
    }

    /// Whether its name is this one, which is in lower case.
    pub fn is(&self, name: &str) -> bool {
        self.name.len() == name.len() && self.name.eq_ignore_ascii_case(name)
    }

    /// Where its line is in the head that it was read from, if that line is as it would be written: `name: value`, and its end.
    pub(super) fn line_in(&self, head: &[u8]) -> Option<Range<usize>> {
        // Where both are follows from where their bytes are.
        let offset = |part: *const u8| part.addr().wrapping_sub(head.as_ptr().addr());
        let (start, value) = (offset(self.name.as_ptr()), offset(self.value.as_ptr()));
        let line = start..value.checked_add(self.value.len())?.checked_add(2)?;
        let colon = start.checked_add(self.name.len())?;
        let is_plain =
            head.get(colon..value)? == b": " && head.get(line.clone())?.ends_with(b"\r\n");
        is_plain.then_some(line)
    }

    /// The members of a list, RFC 9110 section 5.6.1, empty ones left out. What is in quotes is not told apart: no list that framing
    /// goes by has them.
    pub fn members(&self) -> impl Iterator<Item = &'b [u8]> + Clone + use<'b> {
        let members = self.value.split(|byte| *byte == b',');
        members.map(trimmed).filter(|member| !member.is_empty())
    }
}

/// Without the spaces and tabs around it.
pub(super) fn trimmed(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// What fields say of the framing, of both kinds of message.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Framing {
    pub(super) length: Option<u64>,
    pub(super) is_chunked: bool,
}

impl Framing {
    /// Takes a field's part, if it has one.
    pub(super) fn note(&mut self, field: &Field<'_>) -> Result<(), Refusal> {
        if field.is("content-length") {
            let length = number(field.value).ok_or(Refusal::Length)?;
            // The same twice is allowed to be taken as one; that something before us repeats it is reason enough not to.
            if self.length.replace(length).is_some() {
                return Err(Refusal::SeveralLengths);
            }
        } else if field.is("transfer-encoding") {
            let is_chunked = field.value.eq_ignore_ascii_case(b"chunked");
            if self.is_chunked || !is_chunked {
                return Err(Refusal::Coding);
            }
            self.is_chunked = true;
        }
        Ok(())
    }

    /// Checks the whole; `minor` is that of the message's version.
    pub(super) fn check(&self, minor: u8) -> Result<(), Refusal> {
        if self.is_chunked && self.length.is_some() {
            return Err(Refusal::LengthAndCoding);
        }
        if self.is_chunked && minor == 0 {
            return Err(Refusal::CodingInHttp10);
        }
        Ok(())
    }
}

/// Digits alone, below 2^63.
fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 19 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = text.iter().map(|digit| u64::from(digit - b'0'));
    let number = digits.fold(0u64, |number, digit| number * 10 + digit);
    (number < 1 << 63).then_some(number)
}

/// What a `Connection` field says, RFC 9110 section 7.6.1.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Connection {
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
}

impl Connection {
    pub(super) fn note(&mut self, field: &Field<'_>) {
        for member in field.members() {
            self.close |= member.eq_ignore_ascii_case(b"close");
            self.keep_alive |= member.eq_ignore_ascii_case(b"keep-alive");
            self.upgrade |= member.eq_ignore_ascii_case(b"upgrade");
        }
    }

    /// Whether the connection goes on behind the message, RFC 9112 section 9.3.
    pub(super) const fn persists(self, minor: u8) -> bool {
        !self.close && (minor == 1 || self.keep_alive)
    }
}
