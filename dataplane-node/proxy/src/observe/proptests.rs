//! Whatever clients say, a record is one line, and the line says what the record does.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use proptest::prelude::*;
use serde_json::Value;

use super::{Protocol, Record, Termination, Timers, Tls, write_combined, write_json};

/// Bytes that are hard on escaping, among others.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let nasty = prop::sample::select(vec![
        "\"",
        "\\",
        "\n",
        "\r\n",
        "\u{2028}",
        "\u{85}",
        "\0",
        "\u{7f}",
        "\\u000a",
        "\",\"status\":200,\"",
        "ä",
        "]",
        "\u{feff}",
        "🦀",
    ]);
    let part = prop_oneof![
        nasty.prop_map(|it| it.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..4),
        "[a-z/?=]{0,8}".prop_map(String::into_bytes),
    ];
    prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
}

fn client() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|it| Ipv4Addr::from(it).into()),
        any::<u128>().prop_map(|it| Ipv6Addr::from(it).into()),
    ]
}

fn timer() -> impl Strategy<Value = Option<Duration>> {
    let time = (0_u64..100_000, 0_u32..1_000_000_000);
    prop::option::of(time.prop_map(|(seconds, nanos)| Duration::new(seconds, nanos)))
}

fn millis(said: &Value) -> Option<u64> {
    let text = said.to_string();
    let (whole, micros) = text.split_once('.')?;
    let whole: u64 = whole.parse().ok()?;
    // The parser leaves zeros at the end out.
    Some(whole * 1000 + format!("{micros:0<3}").parse::<u64>().ok()?)
}

/// What a reader of the log sees of bytes that may be no UTF-8.
fn seen(bytes: &[u8]) -> Option<String> {
    (!bytes.is_empty()).then(|| String::from_utf8_lossy(bytes).into_owned())
}

proptest! {
    #[test]
    fn a_line_says_what_the_record_does(
        [method, path, host, user_agent, referer] in [text(), text(), text(), text(), text()],
        [request, queue, connect, response] in [timer(), timer(), timer(), timer()],
        (began, client) in (0_u64..32_503_680_000, client()),
        (service, server, sni) in (".*", prop::option::of(".*"), prop::option::of(".*")),
        (status, received, sent) in (0_u16..1000, any::<u64>(), any::<u64>()),
        ending in 0..Termination::COUNT,
    ) {
        let record = Record {
            began: Duration::from_secs(began),
            client,
            service: &service,
            route: None,
            server: server.as_deref(),
            protocol: Protocol::Http2,
            tls: Some(Tls { version: "TLSv1.3", sni: sni.as_deref() }),
            method: &method,
            path: &path,
            host: &host,
            user_agent: &user_agent,
            referer: &referer,
            status,
            received,
            sent,
            packets: None,
            timers: Timers { request, queue, connect, response, total: Duration::from_micros(7) },
            retries: 3,
            termination: Termination::all().nth(ending).unwrap(),
            refusal: None,
            trace: None,
        };
        let mut line = Vec::new();
        write_json(&mut line, &record);
        let line = String::from_utf8(line).unwrap();
        prop_assert!(line.ends_with('\n'));
        let ends = |it: char| it.is_control() || it == '\u{2028}' || it == '\u{2029}';
        prop_assert_eq!(line.matches(ends).count(), 1, "{:?}", line);
        let said: Value = serde_json::from_str(&line).unwrap();
        // No name can come twice: the parser would keep the last of them.
        let names = said.as_object().unwrap().len();
        prop_assert_eq!(names, 15 + [&method, &path, &host, &user_agent, &referer].iter().filter(|it| !it.is_empty()).count()
            + usize::from(server.is_some()) + usize::from(sni.is_some()));
        let text = |name: &str| said.get(name).map(|it| it.as_str().unwrap().to_owned());
        prop_assert_eq!(text("client").unwrap().parse::<IpAddr>().unwrap(), client);
        prop_assert_eq!(text("service"), Some(service.clone()));
        prop_assert_eq!(text("server"), server.clone());
        prop_assert_eq!(text("sni"), sni.clone());
        for (name, bytes) in [
            ("method", &method), ("path", &path), ("host", &host), ("user_agent", &user_agent), ("referer", &referer),
        ] {
            prop_assert_eq!(text(name), seen(bytes));
        }
        prop_assert_eq!(&said["status"], status);
        prop_assert_eq!(&said["received_bytes"], received);
        prop_assert_eq!(&said["sent_bytes"], sent);
        for (name, time) in [("request_ms", request), ("queue_ms", queue), ("connect_ms", connect), ("response_ms", response)] {
            match time {
                None => prop_assert_eq!(&said[name], -1),
                Some(time) => prop_assert_eq!(millis(&said[name]).map(u128::from), Some(time.as_micros()), "{}", said),
            }
        }
        prop_assert_eq!(text("termination").unwrap().into_bytes(), record.termination.letters());

        let mut line = Vec::new();
        write_combined(&mut line, &record);
        prop_assert_eq!(line.iter().filter(|it| !(0x20..0x7f).contains(*it)).count(), 1);
        prop_assert!(line.ends_with(b"\"\n"));
        // Those around the request, the referer and the user agent.
        prop_assert_eq!(memchr::memchr_iter(b'"', &line).count(), 6);
    }
}
