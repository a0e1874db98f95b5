//! What clients say, in lines of both forms of the access log: one line each, which says what was said and nothing else.
#![no_main]

use std::{net::Ipv4Addr, time::Duration};

use lbfabric_proxy::observe::{
    Protocol, Record, Termination, Timers, Tls, write_combined, write_json,
};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    let size = bytes.len().div_ceil(5).max(1);
    let mut parts = bytes.chunks(size);
    let [method, path, host, user_agent, referer] =
        std::array::from_fn(|_| parts.next().unwrap_or_default());
    let sni = String::from_utf8_lossy(path);
    let record = Record {
        began: Duration::from_secs(1_795_764_113),
        client: Ipv4Addr::new(192, 0, 2, 7).into(),
        service: "shop",
        route: None,
        server: None,
        protocol: Protocol::Http2,
        tls: Some(Tls {
            version: "TLSv1.3",
            sni: Some(&sni),
        }),
        method,
        path,
        host,
        user_agent,
        referer,
        status: 200,
        received: 1,
        sent: 2,
        packets: None,
        timers: Timers::default(),
        retries: 0,
        termination: Termination::NORMAL,
        refusal: None,
        trace: None,
    };
    let mut line = Vec::new();
    write_json(&mut line, &record);
    let line = String::from_utf8(line).expect("it is UTF-8");
    let is_end = |it: char| it.is_control() || it == '\u{2028}' || it == '\u{2029}';
    assert_eq!(line.matches(is_end).count(), 1, "{line:?}");
    let said: Value = serde_json::from_str(&line).expect("it is JSON");
    let of_client = [
        ("method", method),
        ("path", path),
        ("host", host),
        ("user_agent", user_agent),
        ("referer", referer),
    ];
    for (name, bytes) in of_client {
        let text = said.get(name).map(|it| it.as_str().expect("a text"));
        let expected = (!bytes.is_empty()).then(|| String::from_utf8_lossy(bytes));
        assert_eq!(text, expected.as_deref(), "{name}");
    }
    assert_eq!(said["sni"].as_str(), Some(&*sni));
    assert_eq!(said["service"].as_str(), Some("shop"));
    assert_eq!(said["status"].as_u64(), Some(200));

    let mut line = Vec::new();
    write_combined(&mut line, &record);
    assert!(line.ends_with(b"\"\n"));
    assert_eq!(
        line.iter().filter(|it| !(0x20..0x7f).contains(*it)).count(),
        1
    );
    // Those around the request, the referer and the user agent.
    assert_eq!(line.iter().filter(|it| **it == b'"').count(), 6);
});
