//! A line of text, section 2.1: `PROXY TCP4 192.0.2.1 198.51.100.1 56324 443`.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use super::{Extras, Header, HeaderRefusal, Origin, Version, header::begins};

/// What every line begins with.
pub(super) const BEGIN: &[u8] = b"PROXY ";
/// Bytes of the longest line, with its end.
const LINE_BYTES: usize = 107;

pub(super) fn read(bytes: &[u8]) -> Result<Option<(Header<'_>, usize)>, HeaderRefusal> {
    begins(bytes, BEGIN)?;
    let Some(length) = line(bytes)? else {
        return Ok(None);
    };
    let header = Header {
        version: Version::One,
        origin: origin(&bytes[BEGIN.len()..length - 2])?,
        extras: Extras::default(),
    };
    Ok(Some((header, length)))
}

/// Bytes of the line, with its end.
fn line(bytes: &[u8]) -> Result<Option<usize>, HeaderRefusal> {
    let within = &bytes[..bytes.len().min(LINE_BYTES)];
    match within.iter().position(|it| matches!(it, b'\r' | b'\n')) {
        Some(end) if within[end] == b'\r' => match within.get(end + 1) {
            Some(b'\n') => Ok(Some(end + 2)),
            Some(_) => Err(HeaderRefusal::LineEnd),
            None if within.len() < LINE_BYTES => Ok(None),
            None => Err(HeaderRefusal::TooLong),
        },
        Some(_) => Err(HeaderRefusal::LineEnd),
        None if within.len() < LINE_BYTES => Ok(None),
        None => Err(HeaderRefusal::TooLong),
    }
}

fn origin(line: &[u8]) -> Result<Origin, HeaderRefusal> {
    let mut fields = line.split(|it| *it == b' ');
    match fields.next() {
        // "The receiver must ignore anything presented before the CRLF".
        Some(b"UNKNOWN") => Ok(Origin::Unknown),
        Some(b"TCP4") => client::<Ipv4Addr>(fields),
        Some(b"TCP6") => client::<Ipv6Addr>(fields),
        Some(_) | None => Err(HeaderRefusal::Family),
    }
}

fn client<'a, A: FromStr + Into<IpAddr>>(
    mut fields: impl Iterator<Item = &'a [u8]>,
) -> Result<Origin, HeaderRefusal> {
    let mut field = || fields.next().ok_or(HeaderRefusal::Fields);
    let (from, to) = (address::<A>(field()?)?, address::<A>(field()?)?);
    let (from_port, to_port) = (port(field()?)?, port(field()?)?);
    if fields.next().is_some() {
        return Err(HeaderRefusal::Fields);
    }
    Ok(Origin::Client {
        client: SocketAddr::new(from, from_port),
        service: SocketAddr::new(to, to_port),
        is_datagram: false,
    })
}

fn address<A: FromStr + Into<IpAddr>>(text: &[u8]) -> Result<IpAddr, HeaderRefusal> {
    // The standard library takes no leading zeros in an IPv4 address either.
    let text = std::str::from_utf8(text).ok();
    let address = text.and_then(|text| text.parse::<A>().ok());
    address.map(Into::into).ok_or(HeaderRefusal::Address)
}

fn port(text: &[u8]) -> Result<u16, HeaderRefusal> {
    let digits = text.iter().all(u8::is_ascii_digit) && !text.is_empty();
    let begins_with_zero = text.len() > 1 && text[0] == b'0';
    let text = std::str::from_utf8(text).ok();
    let port = text.filter(|_| digits && !begins_with_zero);
    let port = port.and_then(|text| text.parse().ok());
    port.ok_or(HeaderRefusal::Port)
}
