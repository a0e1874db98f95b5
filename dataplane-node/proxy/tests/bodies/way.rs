//! How a body travels.

use std::{
    io::{self, BufRead, BufReader, Read as _, Write as _},
    net::{Shutdown, TcpStream},
};

use proptest::{prelude::*, sample::select};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length,
    Chunks,
    /// Answers only.
    Close,
}

/// Its framing, the sizes of the parts that it is written in, over and over, and how many bytes of it are, if not all.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) framing: Framing,
    pub(crate) parts: Vec<usize>,
    pub(crate) cut: Option<usize>,
}

pub(crate) fn way(framings: &'static [Framing]) -> impl Strategy<Value = Way> {
    let parts = prop::collection::vec(prop_oneof![1usize..40, 1usize..20_000], 1..6);
    (select(framings), parts).prop_map(|(framing, parts)| Way {
        framing,
        parts,
        cut: None,
    })
}

impl Way {
    /// For [`Way::of_path`], of a request with this number.
    pub(crate) fn path(&self, id: u64) -> String {
        let framing = match self.framing {
            Framing::Length => 'l',
            Framing::Chunks => 'c',
            Framing::Close => 'e',
        };
        let parts: Vec<_> = self.parts.iter().map(usize::to_string).collect();
        let cut = self.cut.map_or(String::new(), |cut| cut.to_string());
        format!("/{id}/{framing}/{cut}/{}", parts.join(","))
    }

    pub(crate) fn of_path(path: &str) -> (u64, Self) {
        let parts: Vec<_> = path.split('/').collect();
        let framing = match parts[2] {
            "l" => Framing::Length,
            "c" => Framing::Chunks,
            _ => Framing::Close,
        };
        let way = Self {
            framing,
            parts: parts[4].split(',').map(|it| it.parse().unwrap()).collect(),
            cut: parts[3].parse().ok(),
        };
        (parts[1].parse().unwrap(), way)
    }

    pub(crate) const fn ends_connection(&self) -> bool {
        self.cut.is_some() || matches!(self.framing, Framing::Close)
    }
}

/// Writes a head with the framing's field, and the body.
pub(crate) fn send(to: &mut TcpStream, head: &str, body: &[u8], way: &Way) -> io::Result<()> {
    let field = match way.framing {
        Framing::Length => format!("Content-Length: {}\r\n", body.len()),
        Framing::Chunks => "Transfer-Encoding: chunked\r\n".to_owned(),
        Framing::Close => String::new(),
    };
    let mut bytes = format!("{head}{field}\r\n").into_bytes();
    let mut parts = way.parts.iter().cycle();
    let mut rest = &body[..way.cut.unwrap_or(body.len())];
    while !rest.is_empty() {
        let (now, later) = rest.split_at(rest.len().min(*parts.next().unwrap()));
        rest = later;
        if way.framing == Framing::Chunks {
            bytes.extend(format!("{:x}\r\n", now.len()).bytes());
            bytes.extend(now);
            bytes.extend(b"\r\n");
        } else {
            bytes.extend(now);
        }
        to.write_all(&bytes)?;
        bytes.clear();
    }
    if way.framing == Framing::Chunks && way.cut.is_none() {
        bytes.extend(b"0\r\n\r\n");
    }
    to.write_all(&bytes)?;
    if way.framing == Framing::Close {
        to.shutdown(Shutdown::Write)?;
    }
    Ok(())
}

/// A head's lines; none where the connection ends.
pub(crate) fn read_head(from: &mut BufReader<TcpStream>) -> Option<Vec<String>> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if from.read_line(&mut line).unwrap_or(0) == 0 {
            assert!(head.is_empty(), "{head:?}");
            return None;
        }
        assert!(line.ends_with("\r\n"), "{line:?}");
        match line.trim_end() {
            "" => return Some(head),
            line => head.push(line.to_owned()),
        }
    }
}

/// The body behind a head, as far as it comes, and whether that is all.
pub(crate) fn read_body(head: &[String], from: &mut BufReader<TcpStream>) -> (Vec<u8>, bool) {
    let value = |name: &str| {
        head.iter().find_map(|line| {
            let (field, value) = line.split_once(": ")?;
            field.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    };
    let mut body = Vec::new();
    let mut read = |length: usize, body: &mut Vec<u8>| {
        let got = from.take(length as u64).read_to_end(body);
        got.is_ok_and(|got| got == length)
    };
    if let Some(length) = value("content-length") {
        let is_whole = read(length.parse().unwrap(), &mut body);
        return (body, is_whole);
    }
    if value("transfer-encoding").is_none() {
        let is_whole = from.read_to_end(&mut body).is_ok();
        return (body, is_whole);
    }
    loop {
        let mut size = String::new();
        let is_line = from.read_line(&mut size).is_ok() && size.ends_with("\r\n");
        let Some(size) = is_line.then(|| usize::from_str_radix(size.trim_end(), 16).unwrap())
        else {
            return (body, false);
        };
        let mut chunk = Vec::new();
        let got = from.take(size as u64 + 2).read_to_end(&mut chunk);
        let is_whole = got.is_ok() && chunk.len() == size + 2;
        if is_whole {
            assert_eq!(chunk.split_off(size), b"\r\n");
        }
        chunk.truncate(size);
        body.extend(chunk);
        if !is_whole || size == 0 {
            return (body, is_whole);
        }
    }
}
