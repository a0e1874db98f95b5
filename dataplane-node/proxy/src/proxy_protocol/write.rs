use std::{
    io::Write as _,
    net::{IpAddr, SocketAddr},
};

use super::{
    Extras, Header, Origin, Tls, Version,
    tlv::{UNIQUE_ID_BYTES, kind, tls_bit},
    version1, version2,
};

/// Bytes of a value that is written: what is longer is left out.
const VALUE_BYTES: usize = 1 << 10;

/// Writes a header. Version 1 has no room for extras.
///
/// Where a client's address and the one that it went to are of different families, both are written as IPv6 addresses.
pub fn write(out: &mut Vec<u8>, header: &Header<'_>) {
    match header.version {
        Version::One => line(out, header.origin),
        Version::Two => binary(out, header),
    }
}

fn line(out: &mut Vec<u8>, origin: Origin) {
    out.extend(version1::BEGIN);
    match origin {
        Origin::Proxy | Origin::Unknown => out.extend(b"UNKNOWN\r\n"),
        Origin::Client {
            client, service, ..
        } => {
            let (from, to) = of_one_family(client, service);
            let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
            let (from_port, to_port) = (client.port(), service.port());
            write!(out, "{family} {from} {to} {from_port} {to_port}\r\n")
                .expect("a vector takes everything");
        }
    }
}

fn binary(out: &mut Vec<u8>, header: &Header<'_>) {
    let begin = out.len();
    out.extend(version2::BEGIN);
    match header.origin {
        Origin::Proxy => out.extend([0x20, 0, 0, 0]),
        Origin::Unknown => out.extend([0x21, 0, 0, 0]),
        Origin::Client {
            client,
            service,
            is_datagram,
        } => {
            let (from, to) = of_one_family(client, service);
            let family = if from.is_ipv4() { 0x10 } else { 0x20 };
            out.extend([0x21, family | if is_datagram { 2 } else { 1 }, 0, 0]);
            for address in [from, to] {
                match address {
                    IpAddr::V4(address) => out.extend(address.octets()),
                    IpAddr::V6(address) => out.extend(address.octets()),
                }
            }
            out.extend(client.port().to_be_bytes());
            out.extend(service.port().to_be_bytes());
            extras(out, &header.extras);
        }
    }
    set_length(out, begin + version2::FIXED_BYTES);
}

fn extras(out: &mut Vec<u8>, extras: &Extras<'_>) {
    let Extras {
        alpn,
        authority,
        unique_id,
        tls: over_tls,
    } = extras;
    value(out, kind::ALPN, *alpn);
    value(out, kind::AUTHORITY, authority.map(str::as_bytes));
    let unique_id = unique_id.filter(|it| it.len() <= UNIQUE_ID_BYTES);
    value(out, kind::UNIQUE_ID, unique_id);
    if let Some(over_tls) = over_tls {
        tls(out, over_tls);
    }
}

fn tls(out: &mut Vec<u8>, tls: &Tls<'_>) {
    let Tls {
        is_used,
        has_certificate,
        has_certificate_in_session,
        is_verified,
        version,
        common_name,
        cipher,
        signature,
        key,
    } = *tls;
    let bits = [
        (is_used, tls_bit::USED),
        (has_certificate, tls_bit::CERTIFICATE),
        (has_certificate_in_session, tls_bit::CERTIFICATE_IN_SESSION),
    ];
    let bits = bits.iter().filter(|(is_so, _)| *is_so);
    out.extend([kind::TLS, 0, 0]);
    let begin = out.len();
    out.push(bits.fold(0, |all, (_, bit)| all | bit));
    out.extend(u32::from(!is_verified).to_be_bytes());
    for (kind, text) in [
        (kind::TLS_VERSION, version),
        (kind::TLS_COMMON_NAME, common_name),
        (kind::TLS_CIPHER, cipher),
        (kind::TLS_SIGNATURE, signature),
        (kind::TLS_KEY, key),
    ] {
        value(out, kind, text.map(str::as_bytes));
    }
    set_length(out, begin);
}

fn value(out: &mut Vec<u8>, kind: u8, bytes: Option<&[u8]>) {
    let Some(bytes) = bytes.filter(|it| it.len() <= VALUE_BYTES) else {
        return;
    };
    out.extend([kind, 0, 0]);
    let begin = out.len();
    out.extend(bytes);
    set_length(out, begin);
}

/// Writes how many bytes there are behind `begin` into the two before it.
fn set_length(out: &mut [u8], begin: usize) {
    let length = u16::try_from(out.len() - begin).expect("a few values of VALUE_BYTES");
    out[begin - 2..begin].copy_from_slice(&length.to_be_bytes());
}

fn of_one_family(client: SocketAddr, service: SocketAddr) -> (IpAddr, IpAddr) {
    match (client.ip(), service.ip()) {
        (IpAddr::V4(from), to @ IpAddr::V6(_)) => (from.to_ipv6_mapped().into(), to),
        (from @ IpAddr::V6(_), IpAddr::V4(to)) => (from, to.to_ipv6_mapped().into()),
        same => same,
    }
}
