use std::{io::Write as _, net::IpAddr, time::Duration};

use super::{
    Packets, Record, Tls,
    civil::Civil,
    escape::{json, number},
};

/// Appends a record as a line of JSON. Texts that the request does not have are left out; timers are milliseconds, -1 where a request did
/// not get so far, as in HAProxy's log.
pub fn write_json(out: &mut Vec<u8>, record: &Record<'_>) {
    out.extend_from_slice(b"{\"time\":\"");
    time(out, Civil::of(record.began));
    out.extend_from_slice(b"\",\"client\":\"");
    address(out, record.client);
    out.push(b'"');
    let mut line = Line(out);
    line.text("service", record.service.as_bytes());
    line.option("route", record.route);
    line.option("server", record.server);
    line.text("protocol", record.protocol.name().as_bytes());
    if let Some(Tls { version, sni }) = record.tls {
        line.text("tls_version", version.as_bytes());
        line.option("sni", sni);
    }
    line.unless_empty("method", record.method);
    line.unless_empty("path", record.path);
    line.unless_empty("host", record.host);
    line.unless_empty("user_agent", record.user_agent);
    line.unless_empty("referer", record.referer);
    line.number("status", record.status.into());
    line.number("received_bytes", record.received);
    line.number("sent_bytes", record.sent);
    if let Some(Packets { received, sent }) = record.packets {
        line.number("received_packets", received);
        line.number("sent_packets", sent);
    }
    let timers = record.timers;
    line.millis("request_ms", timers.request);
    line.millis("queue_ms", timers.queue);
    line.millis("connect_ms", timers.connect);
    line.millis("response_ms", timers.response);
    line.millis("total_ms", Some(timers.total));
    line.number("retries", record.retries.into());
    line.text("termination", &record.termination.letters());
    line.option("refusal", record.refusal);
    if let Some(trace) = record.trace {
        line.text("trace_id", &trace.trace_id_text());
        line.text("span_id", &trace.span_id_text());
    }
    out.extend_from_slice(b"}\n");
}

/// RFC 3339, to the microsecond.
fn time(out: &mut Vec<u8>, civil: Civil) {
    let parts = [
        (civil.year, 4, b'-'),
        (civil.month, 2, b'-'),
        (civil.day, 2, b'T'),
        (civil.hour, 2, b':'),
        (civil.minute, 2, b':'),
        (civil.second, 2, b'.'),
        (civil.micros, 6, b'Z'),
    ];
    for (value, digits, then) in parts {
        number(out, value, digits);
        out.push(then);
    }
}

/// What no quotes and no escapes are needed for.
pub(super) fn address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            for (at, byte) in v4.octets().into_iter().enumerate() {
                if at > 0 {
                    out.push(b'.');
                }
                number(out, byte.into(), 1);
            }
        }
        IpAddr::V6(v6) => write!(out, "{v6}").expect("a vector takes everything"),
    }
}

/// Where an object's members are written, behind its first one.
struct Line<'o>(&'o mut Vec<u8>);

impl Line<'_> {
    fn name(&mut self, name: &str) {
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    fn text(&mut self, name: &str, text: &[u8]) {
        self.name(name);
        self.0.push(b'"');
        json(self.0, text);
        self.0.push(b'"');
    }

    fn option(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text.as_bytes());
        }
    }

    fn unless_empty(&mut self, name: &str, text: &[u8]) {
        if !text.is_empty() {
            self.text(name, text);
        }
    }

    fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        number(self.0, value, 1);
    }

    fn millis(&mut self, name: &str, time: Option<Duration>) {
        self.name(name);
        let Some(time) = time else {
            self.0.extend_from_slice(b"-1");
            return;
        };
        number(
            self.0,
            time.as_secs() * 1000 + u64::from(time.subsec_millis()),
            1,
        );
        self.0.push(b'.');
        number(self.0, u64::from(time.subsec_micros() % 1000), 3);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::{Cause, Phase, Termination, Timers, TraceParent, record::tests::record};

    fn line(record: &Record<'_>) -> String {
        let mut out = Vec::new();
        write_json(&mut out, record);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_record_is_a_line_of_json() {
        assert_eq!(
            line(&record()),
            concat!(
                r#"{"time":"2026-11-27T07:21:53.000007Z","client":"192.0.2.7","service":"shop","route":"cart","#,
                r#""server":"10.0.0.1:80","protocol":"HTTP/1.1","method":"GET","path":"/a?b=c","host":"example.org","#,
                r#""user_agent":"curl/8","status":200,"received_bytes":80,"sent_bytes":1234,"request_ms":0.000,"#,
                r#""queue_ms":0.000,"connect_ms":0.001,"response_ms":12.345,"total_ms":2000.000,"retries":0,"#,
                r#""termination":"--"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn a_session_says_how_many_datagrams_it_was() {
        let packets = Some(Packets {
            received: 3,
            sent: 2,
        });
        let said = line(&Record {
            packets,
            ..record()
        });
        let packets = r#""sent_bytes":1234,"received_packets":3,"sent_packets":2,"request_ms":"#;
        assert!(said.contains(packets), "{said}");
    }

    #[test]
    fn what_a_request_does_not_have_is_left_out() {
        let trace = TraceParent::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let refused = Record {
            client: "2001:db8::7".parse().unwrap(),
            route: None,
            server: None,
            tls: Some(Tls {
                version: "TLSv1.3",
                sni: Some("a.example"),
            }),
            method: b"",
            path: b"",
            host: b"",
            user_agent: b"",
            status: 400,
            timers: Timers {
                total: Duration::from_micros(1_002),
                ..Timers::default()
            },
            termination: Termination::new(Cause::Proxy, Phase::Request),
            refusal: Some("bare-lf"),
            trace,
            ..record()
        };
        assert_eq!(
            line(&refused),
            concat!(
                r#"{"time":"2026-11-27T07:21:53.000007Z","client":"2001:db8::7","service":"shop","protocol":"HTTP/1.1","#,
                r#""tls_version":"TLSv1.3","sni":"a.example","status":400,"received_bytes":80,"sent_bytes":1234,"#,
                r#""request_ms":-1,"queue_ms":-1,"connect_ms":-1,"response_ms":-1,"total_ms":1.002,"retries":0,"#,
                r#""termination":"PR","refusal":"bare-lf","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","#,
                r#""span_id":"00f067aa0ba902b7"}"#,
                "\n"
            )
        );
    }
}
