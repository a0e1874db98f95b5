//! What is told of requests elsewhere: samples of them, and traces.

use std::{io::Write as _, sync::mpsc};

use lbfabric_proxy::observe::{Sampling, TraceConfig};

use crate::{
    GET, PATIENCE, head,
    nginx::Nginx,
    say,
    seen::{Seen, text},
    server,
};

#[test]
fn one_in_so_many_is_logged_and_all_are_counted() {
    let nginx = Nginx::start();
    let tenth = Sampling {
        one_in: 10,
        errors: false,
    };
    let seen = Seen::start(&[nginx.address], tenth, |_| {});
    for _ in 0..40 {
        assert!(say(seen.engine, GET).starts_with("HTTP/1.1 404 "));
    }
    seen.lines(4);
    assert_eq!(seen.reading().all_routes().answers.classes[4], 40);
}

#[test]
fn a_trace_goes_on_through_the_engine() {
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let (heads, seen_by_server) = mpsc::channel();
    let server = server(move |mut it| {
        heads.send(head(&mut it).unwrap()).unwrap();
        it.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
            .unwrap();
    });
    let seen = Seen::start(&[server], Sampling::ALL, |it| {
        it.observe.traces = Some(TraceConfig { sample_one_in: 1 });
    });
    let field = |head: &str, name: &str| {
        let fields: Vec<_> = head
            .lines()
            .filter_map(|it| it.strip_prefix(name))
            .map(str::to_owned)
            .collect();
        assert!(fields.len() < 2, "{head}");
        fields.into_iter().next()
    };
    let ask = |fields: &str| {
        let request = GET.replace("Host: a\r\n", &format!("Host: a\r\n{fields}"));
        assert!(say(seen.engine, &request).starts_with("HTTP/1.1 204 "));
        let head = seen_by_server.recv_timeout(PATIENCE).unwrap();
        (
            field(&head, "traceparent: ").unwrap(),
            field(&head, "tracestate: "),
        )
    };
    let (continued, state) = ask(&format!("TraceParent: {TRACE}\r\ntracestate: a=b\r\n"));
    assert_eq!(
        (&continued[..36], &continued[52..], state.as_deref()),
        (&TRACE[..36], "-01", Some("a=b"))
    );
    assert_ne!(continued[36..52], TRACE[36..52]);
    let (started, state) = ask("");
    assert!(started.starts_with("00-") && started.ends_with("-01") && state.is_none());
    let (replaced, state) = ask(&format!(
        "traceparent: {}\r\ntracestate: a=b\r\n",
        TRACE.to_uppercase()
    ));
    assert_eq!((replaced.len(), state), (TRACE.len(), None));
    assert_ne!(replaced[3..35], started[3..35]);
    let lines = seen.lines(3);
    for (line, parent) in lines.iter().zip([continued, started, replaced]) {
        assert_eq!(
            (text(line, "trace_id"), text(line, "span_id")),
            (Some(&parent[3..35]), Some(&parent[36..52]))
        );
    }
}
