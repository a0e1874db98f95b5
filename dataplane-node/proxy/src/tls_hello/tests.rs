use super::{
    HELLO_BYTES, HelloRefusal,
    proptests::{extension, handshake, in_records, long, server_name},
    read,
};

/// One with these extensions and nothing else of note.
fn with(extensions: &[u8]) -> Vec<u8> {
    let body = [
        &[3, 3][..],
        &[7; 32],
        &[0, 0, 2, 0x13, 1, 1, 0],
        &long(extensions),
    ];
    in_records(&handshake(&body.concat()), &[16_000])
}

fn refusal(bytes: &[u8]) -> HelloRefusal {
    read(bytes).expect_err("it is refused")
}

#[test]
fn names_are_names_of_hosts() {
    let name = |text: &[u8]| read(&with(&extension(0, &server_name(text)))).map(|it| it.is_some());
    let long_label = [b'a'; 63];
    let long_host = [&[b'a'; 63][..]; 4].join(&b'.');
    for text in [
        &b"a"[..],
        b"EXAMPLE.com",
        b"xn--bcher-kva.example",
        b"_dmarc.a-b.c",
        b"127.0.0.1",
        &long_label,
        &long_host[..253],
    ] {
        assert_eq!(name(text), Ok(true), "{}", text.escape_ascii());
    }
    for text in [
        &b""[..],
        b".",
        b"a.",
        b".a",
        b"a..b",
        b"a b",
        b"a\0.example",
        b"*.example",
        b"[::1]",
        b"::1",
        b"a:443",
        b"b\xc3\xbccher",
        &[b'a'; 64],
        &long_host[..254],
        &[b'a'; 256],
        &[b'a'; 1_000],
    ] {
        let refused = Err(HelloRefusal::ServerName);
        assert_eq!(name(text), refused, "{}", text.escape_ascii());
    }
}

#[test]
fn what_is_no_hello_is_refused_at_once() {
    for (bytes, enough, expected) in [
        (&b"GET / HTTP/1.1\r\n"[..], 1, HelloRefusal::NoHandshake),
        (b"PROXY", 1, HelloRefusal::NoHandshake),
        (b"\x80\x2e\x01\x03\x01", 1, HelloRefusal::NoHandshake),
        (b"\x15\x03\x01", 1, HelloRefusal::NoHandshake),
        (b"\x16\x02\x00", 2, HelloRefusal::NoHandshake),
        (b"\x16\x03\x01\x00\x00\x01", 5, HelloRefusal::Record),
        (b"\x16\x03\x01\x40\x01\x01", 5, HelloRefusal::Record),
        (b"\x16\x03\x01\x00\x04\x02", 6, HelloRefusal::NoHello),
        (
            b"\x16\x03\x01\x00\x04\x01\x00\x3f\xf8",
            9,
            HelloRefusal::TooLong,
        ),
        (
            b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",
            9,
            HelloRefusal::TooLong,
        ),
        // More in its record than the message has.
        (
            b"\x16\x03\x01\x00\x30\x01\x00\x00\x2b",
            9,
            HelloRefusal::Length,
        ),
        // A second record of another type.
        (
            b"\x16\x03\x01\x00\x01\x01\x17",
            7,
            HelloRefusal::NoHandshake,
        ),
    ] {
        assert_eq!(refusal(bytes), expected, "{}", bytes.escape_ascii());
        let (before, now) = (&bytes[..enough - 1], &bytes[..enough]);
        assert_eq!(read(before), Ok(None), "{}", bytes.escape_ascii());
        assert_eq!(refusal(now), expected, "{}", bytes.escape_ascii());
    }
    // In records of one byte it is longer than it may be.
    let message = handshake(&[0; 3_000]);
    let bytes = in_records(&message, &[1]);
    assert_eq!(read(&bytes[..HELLO_BYTES - 1]), Ok(None));
    assert_eq!(refusal(&bytes[..HELLO_BYTES]), HelloRefusal::TooLong);
}

#[test]
fn lengths_come_out_even() {
    let name = server_name(b"a");
    let sound = extension(0, &name);
    assert!(read(&with(&sound)).is_ok());
    let cut = |bytes: &[u8]| bytes[..bytes.len() - 1].to_vec();
    let behind = |bytes: &[u8]| [bytes, &[0]].concat();
    for extensions in [
        cut(&sound),
        behind(&sound),
        extension(0, &cut(&name)),
        extension(0, &behind(&name)),
        extension(0, b""),
        extension(0, b"\0\0"),
        extension(16, b""),
        extension(16, b"\0\0"),
        extension(16, b"\0\x01\0"),
        extension(16, b"\0\x03\x01a\0"),
        extension(16, b"\0\x03\x03ab"),
        extension(16, b"\0\x02\x01ab"),
    ] {
        let refused = refusal(&with(&extensions));
        assert_eq!(refused, HelloRefusal::Length, "{extensions:?}");
    }
    // Two names, and one of a type that there is not.
    let two = long(&[&[0, 0, 1, b'a'][..], &[0, 0, 1, b'b']].concat());
    for content in [two, long(&[1, 0, 1, b'a'])] {
        let refused = refusal(&with(&extension(0, &content)));
        assert_eq!(refused, HelloRefusal::ServerName);
    }
    for kind in [0, 16, 43] {
        let once = match kind {
            16 => extension(kind, b"\0\x03\x02h2"),
            _ => extension(kind, &name),
        };
        let refused = refusal(&with(&[&once[..], &once].concat()));
        assert_eq!(refused, HelloRefusal::Repeated);
    }
    let bodies = [
        // A session's identifier that is too long, ciphers that are half a one or none, and no compression.
        [&[33][..], &[0; 33], &[0, 2, 0x13, 1, 1, 0]].concat(),
        vec![0, 0, 3, 0x13, 1, 0, 1, 0],
        vec![0, 0, 0, 1, 0],
        vec![0, 0, 2, 0x13, 1, 0],
        // It ends within each of them.
        vec![],
        vec![4, 0],
        vec![0, 0, 2, 0x13],
        vec![0, 0, 2, 0x13, 1, 2, 0],
        vec![0, 0, 2, 0x13, 1, 1, 0, 0],
    ];
    for body in bodies {
        let whole = [&[3, 3][..], &[7; 32], &body].concat();
        let refused = refusal(&in_records(&handshake(&whole), &[16_000]));
        assert_eq!(refused, HelloRefusal::Length, "{body:?}");
    }
}
