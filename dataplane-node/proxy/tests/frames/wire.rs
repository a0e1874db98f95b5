//! A client that writes each frame by hand.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const ACK: u8 = 1;

/// What comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The code of `RST_STREAM` and `GOAWAY`, RFC 9113 section 7.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    /// The status of the first answer on a connection.
    pub(crate) fn status(&self) -> u16 {
        match self.payload[..] {
            [0x88, ..] => 200,
            [0x89, ..] => 204,
            [0x8c, ..] => 400,
            [0x8e, ..] => 500,
            // A literal with the name of static entry 8, in Huffman's code: digits have 5 or 6 bits.
            [0x48, length, ref value @ ..] if length & 0x80 != 0 => {
                let value = &value[..usize::from(length & 0x7f)];
                let bits = value
                    .iter()
                    .flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1));
                digits(bits)
            }
            [0x48, 3, ref value @ ..] => std::str::from_utf8(&value[..3]).unwrap().parse().unwrap(),
            ref other => panic!("no status in {other:02x?}"),
        }
    }
}

fn digits(mut bits: impl Iterator<Item = u8>) -> u16 {
    let mut bits_of = |count: usize| {
        bits.by_ref()
            .take(count)
            .fold(0, |all, bit| all << 1 | u16::from(bit))
    };
    let mut status = 0;
    for _ in 0..3 {
        let short = bits_of(5);
        let digit = if short < 3 {
            short
        } else {
            (short << 1 | bits_of(1)) - 0b01_1001 + 3
        };
        status = status * 10 + digit;
    }
    status
}

pub(crate) struct Client(TcpStream);

impl Client {
    /// Connects, and says that it speaks HTTP/2.
    pub(crate) fn connect(engine: SocketAddr) -> Self {
        let stream = TcpStream::connect(engine).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let mut client = Self(stream);
        client.bytes(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        client.send(SETTINGS, 0, 0, b"").unwrap();
        client
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    pub(crate) fn send(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
    ) -> io::Result<()> {
        self.bytes(&frame(kind, flags, stream, payload))
    }

    /// A request in one frame.
    pub(crate) fn request(&mut self, stream: u32, flags: u8, fields: &[(&[u8], &[u8])]) {
        self.send(HEADERS, END_HEADERS | flags, stream, &block(fields))
            .unwrap();
    }

    /// The next frame; none if the connection closes.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.0.read_exact(&mut payload).ok()?;
        Some(Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes(head[5..].try_into().unwrap()),
            payload,
        })
    }

    /// The next frame of these kinds.
    pub(crate) fn next_of(&mut self, kinds: &[u8]) -> Option<Frame> {
        loop {
            match self.next() {
                Some(frame) if !kinds.contains(&frame.kind) => {}
                frame => return frame,
            }
        }
    }

    /// A second handle, to write while this one reads.
    pub(crate) fn writer(&self) -> Self {
        Self(self.0.try_clone().unwrap())
    }
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head[..], payload].concat()
}

/// Fields as they are: literals without an index, RFC 7541 section 6.2.2.
pub(crate) fn block(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            // RFC 7541 section 5.1, with a prefix of 7 bits.
            let mut length = text.len();
            if length < 127 {
                block.push(u8::try_from(length).unwrap());
            } else {
                block.push(127);
                length -= 127;
                while length >= 128 {
                    block.push(u8::try_from(length % 128).unwrap() | 128);
                    length /= 128;
                }
                block.push(u8::try_from(length).unwrap());
            }
            block.extend_from_slice(text);
        }
    }
    block
}
