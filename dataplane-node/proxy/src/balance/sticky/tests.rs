use proptest::{collection::vec, prelude::*};

use super::*;

const OLD: StickyKey = StickyKey::new([7; 32]);
const NEW: StickyKey = StickyKey::new([8; 32]);

fn sticky(keys: &[StickyKey], pool: &str) -> Sticky {
    let config = StickyConfig {
        keys: keys.to_vec(),
        ..StickyConfig::new("lb", NEW)
    };
    Sticky::new(&config, pool, ["one", "two"].into_iter()).unwrap()
}

/// What a client sends back.
fn cookie(line: &str) -> &str {
    let pair = line.strip_prefix("Set-Cookie: ").unwrap();
    pair.split_once(';').unwrap().0
}

#[test]
fn a_client_comes_back_to_its_server() {
    let sticky = sticky(&[NEW], "pool");
    for server in 0..2 {
        let line = sticky.line(server);
        assert!(
            line.ends_with("; Path=/; HttpOnly; SameSite=Lax\r\n"),
            "{line}"
        );
        assert!(!line.contains("one") && !line.contains("two"), "{line}");
        let expected = Some(Marked {
            server,
            is_current: true,
        });
        assert_eq!(sticky.server(cookie(line).as_bytes()), expected);
        let among = format!("a=b; lb=nonsense;{}; lb2=c", cookie(line));
        assert_eq!(sticky.server(among.as_bytes()), expected);
    }
    assert_ne!(sticky.line(0), sticky.line(1));
}

#[test]
fn a_mark_is_good_for_its_pool_and_key_alone() {
    let old = sticky(&[OLD], "pool");
    let field = cookie(old.line(1)).as_bytes();
    assert_eq!(sticky(&[NEW], "pool").server(field), None);
    assert_eq!(sticky(&[OLD], "other").server(field), None);
    let both = sticky(&[NEW, OLD], "pool");
    let marked = both.server(field).unwrap();
    assert_eq!((marked.server, marked.is_current), (1, false));
    assert_ne!(both.line(1), old.line(1));
    assert_eq!(format!("{OLD:?}"), "StickyKey(..)");
}

/// By RFC 2104 over the names, computed with Python's `hmac`.
#[test]
fn a_mark_is_an_hmac() {
    let token = OLD.token("pool", "one");
    assert_eq!(
        std::str::from_utf8(&token).unwrap(),
        "12bd7d10286fff4801e0f0dbc5d4901a"
    );
}

#[test]
fn attributes_are_as_configured() {
    let config = StickyConfig {
        path: "/shop".to_owned(),
        http_only: false,
        secure: true,
        same_site: Some(SameSite::None),
        max_age: Some(Duration::from_mins(1)),
        ..StickyConfig::new("lb", NEW)
    };
    let sticky = Sticky::new(&config, "pool", ["one"].into_iter()).unwrap();
    let (_, attributes) = sticky.line(0).split_once("; ").unwrap();
    assert_eq!(
        attributes,
        "Path=/shop; Max-Age=60; Secure; SameSite=None\r\n"
    );
    let config = StickyConfig {
        keys: Vec::new(),
        ..config
    };
    assert!(Sticky::new(&config, "pool", ["one"].into_iter()).is_none());
}

proptest! {
    /// Whatever a client makes up, or changes of what it got, names nobody.
    #[test]
    fn what_is_forged_is_ignored(
        field in vec(any::<u8>(), 0..100),
        at in 0usize..32,
        digit in proptest::sample::select(b"0123456789abcdefABCDEF ".to_vec()),
    ) {
        let sticky = sticky(&[NEW], "pool");
        prop_assert_eq!(sticky.server(&field), None);
        prop_assert_eq!(sticky.server(&[b"lb=", &field[..]].concat()), None);
        let mut changed = cookie(sticky.line(0)).as_bytes().to_vec();
        let was = std::mem::replace(&mut changed[3 + at], digit);
        prop_assert_eq!(sticky.server(&changed).is_some(), was == digit);
    }
}
