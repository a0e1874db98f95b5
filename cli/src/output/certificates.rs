use std::time::{SystemTime, UNIX_EPOCH};

use lbfabric_proto::v1;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::Table;

/// Days before its end in which a certificate is worth a look.
const SOON_DAYS: i64 = 14;
const DAY: i64 = 86_400;

/// Certificates for people.
pub fn certificates(objects: &[v1::Object], wide: bool) -> Table {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    });
    at(objects, wide, now)
}

fn at(objects: &[v1::Object], wide: bool, now: i64) -> Table {
    let narrow = ["NAME", "NAMES", "KEY", "UNTIL", "LEFT"];
    let more = [
        "NAME", "NAMES", "KEY", "FROM", "UNTIL", "LEFT", "SUBJECT", "ISSUER", "SHA-256",
    ];
    let mut table = Table::new(if wide { &more } else { &narrow });
    for object in objects {
        let (Some(of), Some(v1::object::Status::CertificateStatus(status))) =
            (&object.r#ref, &object.status)
        else {
            continue;
        };
        let (left, is_well) = left(status, now);
        let names = status.names.join(",");
        let until = date(status.not_after);
        let (name, key) = (of.name.clone(), status.key_type.clone());
        table.row(if wide {
            vec![
                name,
                names,
                key,
                date(status.not_before),
                until,
                left,
                status.subject.clone(),
                status.issuer.clone(),
                status.fingerprint.clone(),
            ]
        } else {
            vec![name, names, key, until, left]
        });
        table.mark("LEFT", is_well);
    }
    table
}

/// How much of its time is left, and whether that is nothing to look at.
fn left(status: &v1::CertificateStatus, now: i64) -> (String, bool) {
    let days = status.not_after.saturating_sub(now).div_euclid(DAY);
    if now < status.not_before {
        ("not yet".to_owned(), false)
    } else if now > status.not_after {
        ("expired".to_owned(), false)
    } else {
        (format!("{days}d"), days >= SOON_DAYS)
    }
}

/// As RFC 3339 writes it; as it is, where no calendar goes so far.
fn date(seconds: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp(seconds).ok();
    at.and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_else(|| seconds.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Style;

    #[test]
    fn shows_how_much_time_is_left() {
        let object = |name: &str, not_before, not_after| v1::Object {
            r#ref: Some(v1::ObjectRef {
                kind: v1::Kind::Certificate.into(),
                name: name.to_owned(),
            }),
            status: Some(v1::object::Status::CertificateStatus(
                v1::CertificateStatus {
                    names: vec!["a.example".to_owned(), "b.example".to_owned()],
                    subject: "CN=a".to_owned(),
                    issuer: "CN=b".to_owned(),
                    not_before,
                    not_after,
                    key_type: "Ed25519".to_owned(),
                    fingerprint: "ab".to_owned(),
                },
            )),
            ..v1::Object::default()
        };
        let objects = [
            object("good", 0, 100 * DAY),
            object("soon", 0, 11 * DAY),
            object("past", 0, 10 * DAY - 1),
            object("early", 11 * DAY, i64::MAX),
            v1::Object::default(),
        ];
        assert_eq!(
            at(&objects, false, 10 * DAY).render(Style::plain()),
            "\
NAME   NAMES                KEY      UNTIL                 LEFT
good   a.example,b.example  Ed25519  1970-04-11T00:00:00Z  90d
soon   a.example,b.example  Ed25519  1970-01-12T00:00:00Z  1d
past   a.example,b.example  Ed25519  1970-01-10T23:59:59Z  expired
early  a.example,b.example  Ed25519  9223372036854775807   not yet
"
        );
        let wide = at(&objects[..1], true, 10 * DAY).render(Style::plain());
        assert!(
            wide.contains("1970-01-01T00:00:00Z  1970-04-11T00:00:00Z  90d   CN=a     CN=b    ab"),
            "{wide}"
        );
    }
}
