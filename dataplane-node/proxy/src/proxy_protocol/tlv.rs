//! Values behind the addresses of version 2, section 2.2.7: a kind, a length of two bytes, and so many bytes.

use super::{Extras, HeaderRefusal, Tls, crc32c};

/// Kinds of values.
pub(super) mod kind {
    pub(in super::super) const ALPN: u8 = 0x01;
    pub(in super::super) const AUTHORITY: u8 = 0x02;
    pub(in super::super) const CRC32C: u8 = 0x03;
    pub(in super::super) const UNIQUE_ID: u8 = 0x05;
    pub(in super::super) const TLS: u8 = 0x20;
    /// Within [`TLS`].
    pub(in super::super) const TLS_VERSION: u8 = 0x21;
    pub(in super::super) const TLS_COMMON_NAME: u8 = 0x22;
    pub(in super::super) const TLS_CIPHER: u8 = 0x23;
    pub(in super::super) const TLS_SIGNATURE: u8 = 0x24;
    pub(in super::super) const TLS_KEY: u8 = 0x25;
}

/// Bits of what a client's TLS connection is.
pub(super) mod tls_bit {
    pub(in super::super) const USED: u8 = 1;
    pub(in super::super) const CERTIFICATE: u8 = 2;
    pub(in super::super) const CERTIFICATE_IN_SESSION: u8 = 4;
}

/// Bytes of a unique id, section 2.2.5.
pub(super) const UNIQUE_ID_BYTES: usize = 128;
/// Bytes in [`kind::TLS`] before the values.
const TLS_FIXED_BYTES: usize = 5;

/// Reads the values that begin at `at`, in a whole header.
pub(super) fn extras(header: &[u8], at: usize) -> Result<Extras<'_>, HeaderRefusal> {
    let mut extras = Extras::default();
    let mut checksum = None;
    let mut rest = &header[at..];
    while let Some((kind, value)) = next(&mut rest)? {
        match kind {
            kind::ALPN => once(&mut extras.alpn, value)?,
            kind::AUTHORITY => once(&mut extras.authority, text(value)?)?,
            kind::UNIQUE_ID if value.len() > UNIQUE_ID_BYTES => return Err(HeaderRefusal::Value),
            kind::UNIQUE_ID => once(&mut extras.unique_id, value)?,
            kind::TLS => once(&mut extras.tls, tls(value)?)?,
            kind::CRC32C => {
                let value: [u8; 4] = value.try_into().map_err(|_short| HeaderRefusal::Value)?;
                let at = header.len() - rest.len() - value.len();
                once(&mut checksum, (u32::from_be_bytes(value), at))?;
            }
            // A network namespace, nothing, what is for others, and what does not exist yet.
            _ => {}
        }
    }
    if let Some((said, at)) = checksum {
        let parts = [&header[..at], &[0; 4], &header[at + 4..]];
        if crc32c::of(&parts) != said {
            return Err(HeaderRefusal::Checksum);
        }
    }
    Ok(extras)
}

fn tls(value: &[u8]) -> Result<Tls<'_>, HeaderRefusal> {
    let (fixed, mut rest) = value
        .split_at_checked(TLS_FIXED_BYTES)
        .ok_or(HeaderRefusal::Value)?;
    let is = |bit: u8| fixed[0] & bit != 0;
    let mut tls = Tls {
        is_used: is(tls_bit::USED),
        has_certificate: is(tls_bit::CERTIFICATE),
        has_certificate_in_session: is(tls_bit::CERTIFICATE_IN_SESSION),
        is_verified: fixed[1..] == [0; 4],
        ..Tls::default()
    };
    while let Some((kind, value)) = next(&mut rest)? {
        let text_of_kind = match kind {
            kind::TLS_VERSION => &mut tls.version,
            kind::TLS_COMMON_NAME => &mut tls.common_name,
            kind::TLS_CIPHER => &mut tls.cipher,
            kind::TLS_SIGNATURE => &mut tls.signature,
            kind::TLS_KEY => &mut tls.key,
            // What does not exist yet.
            _ => continue,
        };
        once(text_of_kind, text(value)?)?;
    }
    Ok(tls)
}

/// Takes the next value, of which all must be there.
fn next<'a>(rest: &mut &'a [u8]) -> Result<Option<(u8, &'a [u8])>, HeaderRefusal> {
    let (kind, length, values) = match rest {
        [] => return Ok(None),
        [kind, high, low, values @ ..] => (*kind, u16::from_be_bytes([*high, *low]), values),
        [_, ..] => return Err(HeaderRefusal::Value),
    };
    let parts = values.split_at_checked(length.into());
    let (value, behind) = parts.ok_or(HeaderRefusal::Value)?;
    *rest = behind;
    Ok(Some((kind, value)))
}

fn once<T>(place: &mut Option<T>, value: T) -> Result<(), HeaderRefusal> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(HeaderRefusal::Repeated),
    }
}

fn text(value: &[u8]) -> Result<&str, HeaderRefusal> {
    let text = std::str::from_utf8(value).ok();
    text.filter(|text| !text.chars().any(char::is_control))
        .ok_or(HeaderRefusal::Text)
}
