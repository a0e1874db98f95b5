//! `Cookie` fields, which bring a client back to its server: read by the engine and by a slow reference.
#![no_main]

use std::sync::LazyLock;

use lbfabric_proxy::{StickyConfig, StickyKey, readings::StickyCookies};
use libfuzzer_sys::fuzz_target;

const OLD: StickyKey = StickyKey::new([7; 32]);
const NEW: StickyKey = StickyKey::new([8; 32]);
const SERVERS: [&str; 2] = ["one", "two"];

/// A field's text, and whom it stands for.
type Mark = (Vec<u8>, (usize, bool));

static MARKS: LazyLock<(StickyCookies, Vec<Mark>)> = LazyLock::new(|| {
    let cookies = |keys: &[StickyKey]| {
        let config = StickyConfig {
            keys: keys.to_vec(),
            ..StickyConfig::new("lb", NEW)
        };
        StickyCookies::new(&config, "pool", &SERVERS).expect("it has keys")
    };
    let marks = [(NEW, true), (OLD, false)]
        .into_iter()
        .flat_map(|(key, is_current)| {
            let cookies = cookies(&[key]);
            let mark = |server| {
                let line = cookies.line(server).to_owned();
                let pair = line.split(['=', ';']).nth(1).expect("a value");
                (pair.as_bytes().to_vec(), (server, is_current))
            };
            (0..SERVERS.len()).map(mark).collect::<Vec<_>>()
        });
    (cookies(&[NEW, OLD]), marks.collect())
});

/// RFC 6265 section 4.2.1: the first pair with the cookie's name and a mark that is known.
fn reference(field: &[u8], marks: &[Mark]) -> Option<(usize, bool)> {
    let mut pairs = field.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    pairs.find_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (&pair[..at], &pair[at + 1..]);
        let of_value = marks.iter().find(|(mark, _)| mark == value);
        of_value.filter(|_| name == b"lb").map(|(_, whom)| *whom)
    })
}

fuzz_target!(|bytes: &[u8]| {
    let (cookies, marks) = &*MARKS;
    // Nobody guesses a mark: some bytes stand for whole ones.
    let parts = bytes.iter().flat_map(|byte| match byte {
        0xf0..=0xf3 => marks[usize::from(byte & 3)].0.clone(),
        byte => vec![*byte],
    });
    let field: Vec<u8> = parts.collect();
    assert_eq!(cookies.server(&field), reference(&field, marks));
});
