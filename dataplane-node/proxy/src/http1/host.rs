use super::Refusal;

/// Checks the value of a `Host` field or the authority of a target: `uri-host [ ":" port ]`, RFC 9110 section 7.2, not empty.
pub(super) fn check(authority: &[u8]) -> Result<(), Refusal> {
    let (host, port) = match authority {
        [b'[', rest @ ..] => {
            let end = memchr::memchr(b']', rest).ok_or(Refusal::Host)?;
            let text = std::str::from_utf8(&rest[..end]).ok();
            let address = text.and_then(|text| text.parse::<std::net::Ipv6Addr>().ok());
            address.ok_or(Refusal::Host)?;
            (&b"[]"[..], &rest[end + 1..])
        }
        _ => match memchr::memchr(b':', authority) {
            Some(at) => authority.split_at(at),
            None => (authority, &b""[..]),
        },
    };
    let is_host = !host.is_empty() && (host == b"[]" || host.iter().all(|byte| is_of_name(*byte)));
    let is_port = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if is_host && is_port {
        Ok(())
    } else {
        Err(Refusal::Host)
    }
}

/// A byte of `reg-name`, RFC 3986 section 3.2.2.
const fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'%')
        || matches!(
            byte,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports() {
        for sound in [
            "a",
            "a.example",
            "a.example:80",
            "192.0.2.1:8080",
            "[2001:db8::1]",
            "[::1]:443",
            "a:",
            "x_y%41",
        ] {
            assert_eq!(check(sound.as_bytes()), Ok(()), "{sound}");
        }
        for wrong in [
            "",
            ":80",
            "a b",
            "a/b",
            "a@b",
            "a:b",
            "a:80:80",
            "a:123456",
            "[::1",
            "[::1]x",
            "[a]",
            "[]",
            "\u{e9}.example",
            "a?b",
            "a#b",
        ] {
            assert_eq!(check(wrong.as_bytes()), Err(Refusal::Host), "{wrong}");
        }
    }
}
