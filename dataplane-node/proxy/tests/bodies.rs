//! Bodies through the engine, both ways: the same to the last bit, however they are framed and cut, and what ends too early looks whole
//! to nobody. Through one engine, and through two or three that speak another version, or TLS, with each other.
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

#[path = "tls/authority.rs"]
#[expect(dead_code, reason = "other tests need more of it")]
mod authority;
#[path = "bodies/server.rs"]
mod server;
#[path = "bodies/way.rs"]
mod way;
#[path = "engine/worker.rs"]
mod worker;

use std::{
    io::BufReader,
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use authority::Authority;
use lbfabric_proxy::{
    Http2Config, ProxyConfig, ServerProtocol,
    tls::{
        Believed, Certificates, MinimumVersion, Protocols, ServerTlsConfig, ServerTlsOptions,
        TlsConfig, TlsOptions, UnknownName,
    },
};
use proptest::{prelude::*, sample::select};
use server::{seen, server};
use way::{Framing, Way, read_body, read_head, send, way};
use worker::engine;

/// What engines speak with each other, between a client and a server that speak HTTP/1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Between {
    /// Nothing: there is one.
    One,
    Tls,
    Http2,
    /// Three of them, HTTP/2 over TLS first and without it then.
    Both,
}

const BETWEEN: [Between; 4] = [Between::One, Between::Tls, Between::Http2, Between::Both];

/// The first engine of each.
static ENGINES: LazyLock<[SocketAddr; 4]> = LazyLock::new(|| {
    let authority = Authority::new("authority");
    let issued = authority.issue(&["a.example"]);
    let certificates = Certificates::new(&[issued.certificate()], UnknownName::First);
    let options = TlsOptions {
        protocols: Protocols::Http2,
        ..TlsOptions::new(Arc::new(certificates))
    };
    let tls = Arc::new(TlsConfig::new(&options).unwrap());
    let options = ServerTlsOptions {
        believed: Believed::IssuedBy(authority.authorities()),
        name: Some("a.example".try_into().unwrap()),
        minimum: MinimumVersion::Tls12,
        certificate: None,
    };
    let server_tls = Arc::new(ServerTlsConfig::new(&options).unwrap());
    let to = |server: SocketAddr| ProxyConfig::to(&[server]);
    let http2 = |server| ProxyConfig {
        http2: Http2Config {
            servers: ServerProtocol::Http2,
            ..Http2Config::default()
        },
        ..to(server)
    };
    let one = engine(to(server()));
    let secured = |config| {
        engine(ProxyConfig {
            tls: Some(tls.clone()),
            ..config
        })
    };
    [
        one,
        engine(ProxyConfig {
            server_tls: Some(server_tls.clone()),
            ..to(secured(to(server())))
        }),
        engine(http2(one)),
        engine(ProxyConfig {
            server_tls: Some(server_tls.clone()),
            ..http2(secured(http2(one)))
        }),
    ]
});

fn id() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed)
}

fn connect(between: Between) -> TcpStream {
    let client = TcpStream::connect(ENGINES[between as usize]).unwrap();
    let patience = Some(Duration::from_mins(1));
    client.set_read_timeout(patience).unwrap();
    client.set_write_timeout(patience).unwrap();
    client
}

fn body(length: usize) -> Vec<u8> {
    let mut state = length as u64 | 1;
    let byte = || {
        state = state
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(byte).take(length).collect()
}

fn head(id: u64, back: &Way) -> String {
    format!("POST {} HTTP/1.1\r\nHost: a\r\n", back.path(id))
}

fn check(between: Between, length: usize, there: &Way, back: &Way) {
    let mut client = connect(between);
    let sent = body(length);
    send(&mut client, &head(id(), back), &sent, there).unwrap();
    let mut from = BufReader::new(client);
    let head = read_head(&mut from).expect("an answer");
    let (received, is_whole) = read_body(&head, &mut from);
    assert_eq!(head[0], "HTTP/1.1 200 OK");
    assert!(
        is_whole && received == sent,
        "{length} bytes, {between:?}, {there:?}, {back:?}: {} came back",
        received.len()
    );
}

/// The client closes when so many bytes of the body are gone: the server sees no more than those, and no end.
fn check_cut_there(between: Between, length: usize, there: &Way, back: &Way) {
    let mut client = connect(between);
    let (id, sent) = (id(), body(length));
    send(&mut client, &head(id, back), &sent, there).unwrap();
    // So that there is something to break off.
    seen(id, |_| true);
    drop(client);
    let seen = seen(id, |it| it.is_over);
    assert!(!seen.is_whole, "{between:?}, {there:?}");
    assert!(there.cut.unwrap() >= seen.data.len() && sent.starts_with(&seen.data));
}

/// The same of the server's answer.
fn check_cut_back(between: Between, length: usize, there: &Way, back: &Way) {
    let mut client = connect(between);
    let (id, sent) = (id(), body(length));
    send(&mut client, &head(id, back), &sent, there).unwrap();
    let mut from = BufReader::new(client);
    let head = read_head(&mut from).expect("an answer");
    let (received, is_whole) = read_body(&head, &mut from);
    // Where nothing of it has come to the first engine when it breaks off, that may say so.
    if head[0] == "HTTP/1.1 502 Bad Gateway" && between != Between::One {
        return;
    }
    assert_eq!(head[0], "HTTP/1.1 200 OK");
    assert!(!is_whole, "{between:?}, {back:?}");
    assert!(back.cut.unwrap() >= received.len() && sent.starts_with(&received));
}

const THERE: &[Framing] = &[Framing::Length, Framing::Chunks];
const BACK: &[Framing] = &[Framing::Length, Framing::Chunks, Framing::Close];

fn lengths() -> impl Strategy<Value = usize> {
    prop_oneof![0usize..20, 16_000usize..17_000, 0usize..600_000]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn they_come_back_as_they_were(
        between in select(&BETWEEN[..]),
        length in lengths(),
        there in way(THERE),
        back in way(BACK),
    ) {
        check(between, length, &there, &back);
    }

    #[test]
    fn what_ends_too_early_has_no_end(
        between in select(&BETWEEN[..]),
        length in lengths(),
        cut in any::<prop::sample::Index>(),
        mut there in way(THERE),
        mut back in way(THERE),
        is_there in any::<bool>(),
    ) {
        let length = length + 1;
        let cut = Some(cut.index(length));
        if is_there {
            there.cut = cut;
            check_cut_there(between, length, &there, &back);
        } else {
            back.cut = cut;
            check_cut_back(between, length, &there, &back);
        }
    }
}

#[test]
fn large_ones_come_back_as_they_were() {
    for (between, there, back) in [
        (Between::One, Framing::Length, Framing::Length),
        (Between::One, Framing::Chunks, Framing::Close),
        (Between::Tls, Framing::Chunks, Framing::Length),
        (Between::Both, Framing::Length, Framing::Chunks),
    ] {
        let way = |framing| Way {
            framing,
            parts: vec![100_000],
            cut: None,
        };
        check(between, 64 << 20, &way(there), &way(back));
    }
}
