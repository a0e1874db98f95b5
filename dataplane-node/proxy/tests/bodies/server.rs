//! A server that gives bodies back, in the way that the path says.

use std::{
    collections::HashMap,
    io::{BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use super::way::{Way, read_body, read_head, send};

/// What has come of the bodies of some requests: whether it was all, and the bytes.
static SEEN: Mutex<Option<HashMap<u64, Seen>>> = Mutex::new(None);

#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) data: Vec<u8>,
    pub(crate) is_whole: bool,
    pub(crate) is_over: bool,
}

fn note(id: u64, seen: Seen) {
    let mut all = SEEN.lock().unwrap();
    all.get_or_insert_default().insert(id, seen);
}

/// Waits for what is wanted of a request.
pub(crate) fn seen(id: u64, is_wanted: impl Fn(&Seen) -> bool) -> Seen {
    let begun = Instant::now();
    loop {
        let seen = SEEN
            .lock()
            .unwrap()
            .as_ref()
            .and_then(|it| it.get(&id).cloned());
        if let Some(seen) = seen.filter(&is_wanted) {
            return seen;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "request {id} has not come"
        );
        thread::sleep(Duration::from_millis(1));
    }
}

pub(crate) fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || serve(client));
        }
    });
    address
}

fn serve(mut client: TcpStream) {
    let mut from = BufReader::new(client.try_clone().unwrap());
    while let Some(head) = read_head(&mut from) {
        let path = head[0].split(' ').nth(1).unwrap();
        let (id, way) = Way::of_path(path);
        note(id, Seen::default());
        let (data, is_whole) = read_body(&head, &mut from);
        let seen = Seen {
            data: data.clone(),
            is_whole,
            is_over: true,
        };
        note(id, seen);
        // A connection that breaks is the engine's to tell of.
        let is_sent = is_whole && send(&mut client, "HTTP/1.1 200 OK\r\n", &data, &way).is_ok();
        if !is_sent || way.ends_connection() {
            let _gone = client.flush();
            return;
        }
    }
}
