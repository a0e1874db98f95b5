//! A server that says what requests of HTTP/1.1 it has seen, by the strict rules of the engine's own reader.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    thread,
    time::Duration,
};

use lbfabric_proxy::http1::{
    Body, ChunkReader, Chunked, FieldRoom, HeadLimits, Request, RequestHead, head_end,
};

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    seen: mpsc::Receiver<String>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, seen) = mpsc::channel();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let sender = sender.clone();
                thread::spawn(move || serve(client, &sender));
            }
        });
        Self { address, seen }
    }

    /// The next request that was answered.
    pub(crate) fn request(&self) -> String {
        let request = self.seen.recv_timeout(Duration::from_secs(20));
        request.expect("a request has come")
    }

    /// That no request has come but those that were asked for.
    pub(crate) fn none_more(&self) -> Result<(), String> {
        self.seen.try_recv().map_or(Ok(()), Err)
    }
}

/// Answers one request, and sees whether anything comes behind it.
fn serve(mut client: TcpStream, sender: &mpsc::Sender<String>) {
    let mut bytes = Vec::new();
    let request = loop {
        if let Some(request) = whole(&bytes) {
            break request;
        }
        let mut part = [0; 4096];
        match client.read(&mut part) {
            // What is not whole is none.
            Ok(0) | Err(_) => return,
            Ok(count) => bytes.extend_from_slice(&part[..count]),
        }
    };
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    client.write_all(answer).unwrap();
    let mut more = Vec::new();
    // A reset ends it as well.
    let _ended = client.read_to_end(&mut more);
    let request = if more.is_empty() {
        request
    } else {
        format!("{request}, and {}", more.escape_ascii())
    };
    // Nobody asks any more at the end of a test.
    let _told = sender.send(request);
}

/// What a request is, if all of it has come.
fn whole(bytes: &[u8]) -> Option<String> {
    // A hundredth field more than a client may send is the engine's.
    let limits = HeadLimits {
        fields: 128,
        head_bytes: 64 << 10,
        ..HeadLimits::default()
    };
    let end = head_end(bytes, 0, &limits).expect("the engine writes sound heads")?;
    let (head, body) = bytes.split_at(end);
    let mut room = FieldRoom::new();
    let head = RequestHead::parse(head, &mut room, &limits).expect("sound heads");
    let request = Request::of(&head).expect("one meaning");
    let count = |name: &str| head.fields().filter(|field| field.is(name)).count();
    assert_eq!(count("host"), 1);
    assert!(count("cookie") <= 1);
    assert_eq!(count("te") + count("trailer") + count("connection"), 0);
    let framing = match request.body {
        Body::Length(0) if count("content-length") == 0 && body.is_empty() => "none".to_owned(),
        Body::Length(length) if body.len() as u64 >= length => {
            assert_eq!(body.len() as u64, length, "{}", bytes.escape_ascii());
            format!("length={length}")
        }
        Body::Chunked => format!("chunked={}", chunks(body)?),
        Body::Length(_) | Body::UntilClose => return None,
    };
    let host = request.host.unwrap();
    Some(format!("{} {} {host} {framing}", head.method, request.path))
}

/// Bytes of data in a whole body in chunks.
fn chunks(mut body: &[u8]) -> Option<usize> {
    let (mut reader, mut data) = (ChunkReader::new(), 0);
    while !reader.is_done() {
        if body.is_empty() {
            return None;
        }
        let taken = match reader.next(body).expect("sound chunks") {
            Chunked::Data(taken) => {
                data += taken;
                taken
            }
            Chunked::Frame(taken) | Chunked::End(taken) => {
                for name in ["host:", "content-length:"] {
                    let frame = body[..taken].to_ascii_lowercase();
                    let is_there = frame.windows(name.len()).any(|it| it == name.as_bytes());
                    assert!(!is_there, "{}", body.escape_ascii());
                }
                taken
            }
        };
        body = &body[taken..];
    }
    assert!(body.is_empty(), "{}", body.escape_ascii());
    Some(data)
}
