use super::{
    Record,
    civil::Civil,
    escape::{number, quoted},
    json::address,
};

/// Appends a record as a line of Apache's combined format, which programs that read logs know: there is no room for timers.
pub fn write_combined(out: &mut Vec<u8>, record: &Record<'_>) {
    address(out, record.client);
    out.extend_from_slice(b" - - [");
    time(out, Civil::of(record.began));
    out.extend_from_slice(b"] \"");
    if record.method.is_empty() {
        out.push(b'-');
    } else {
        quoted(out, record.method);
        out.push(b' ');
        quoted(out, record.path);
        out.push(b' ');
        out.extend_from_slice(record.protocol.name().as_bytes());
    }
    out.extend_from_slice(b"\" ");
    match record.status {
        0 => out.push(b'-'),
        status => number(out, status.into(), 3),
    }
    out.push(b' ');
    number(out, record.sent, 1);
    for text in [record.referer, record.user_agent] {
        out.extend_from_slice(b" \"");
        quoted(out, if text.is_empty() { b"-" } else { text });
        out.push(b'"');
    }
    out.push(b'\n');
}

/// As in `27/Nov/2026:07:21:53 +0000`.
fn time(out: &mut Vec<u8>, civil: Civil) {
    const MONTHS: [&[u8; 3]; 12] = [
        b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov",
        b"Dec",
    ];
    let month = usize::try_from(civil.month).expect("a month is at most 12");
    number(out, civil.day, 2);
    out.push(b'/');
    out.extend_from_slice(MONTHS[month - 1]);
    out.push(b'/');
    number(out, civil.year, 4);
    for part in [civil.hour, civil.minute, civil.second] {
        out.push(b':');
        number(out, part, 2);
    }
    out.extend_from_slice(b" +0000");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::record::tests::record;

    fn line(record: &Record<'_>) -> String {
        let mut out = Vec::new();
        write_combined(&mut out, record);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_record_is_a_line_of_the_combined_format() {
        assert_eq!(
            line(&record()),
            "192.0.2.7 - - [27/Nov/2026:07:21:53 +0000] \"GET /a?b=c HTTP/1.1\" 200 1234 \"-\" \"curl/8\"\n"
        );
        let forged = Record {
            method: b"",
            status: 0,
            referer: b"\"\n192.0.2.8 - -",
            ..record()
        };
        assert_eq!(
            line(&forged),
            "192.0.2.7 - - [27/Nov/2026:07:21:53 +0000] \"-\" - 1234 \"\\x22\\x0A192.0.2.8 - -\" \"curl/8\"\n"
        );
    }
}
