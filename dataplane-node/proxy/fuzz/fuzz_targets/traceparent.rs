//! Values of `traceparent`, read by the engine and by a slow reference: the grammar of W3C Trace Context, section 3.2.
#![no_main]

use lbfabric_proxy::observe::{TraceParent, Traced};
use libfuzzer_sys::fuzz_target;

/// What goes on of a value: trace id, span id, whether it is sampled.
fn reference(value: &[u8]) -> Option<(String, String, bool)> {
    // What comes behind the flags of a later version may be anything.
    let value = String::from_utf8_lossy(value);
    let parts: Vec<_> = value.splitn(5, '-').collect();
    let [version, trace, span, flags, rest @ ..] = &parts[..] else {
        return None;
    };
    let is_hexadecimal = |it: &str, length| {
        it.len() == length && it.chars().all(|it| matches!(it, '0'..='9' | 'a'..='f'))
    };
    let is_sound = is_hexadecimal(version, 2)
        && is_hexadecimal(trace, 32)
        && is_hexadecimal(span, 16)
        && is_hexadecimal(flags, 2)
        && *version != "ff"
        && (*version != "00" || rest.is_empty())
        && trace.chars().any(|it| it != '0')
        && span.chars().any(|it| it != '0');
    let is_sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
    is_sound.then(|| ((*trace).to_owned(), (*span).to_owned(), is_sampled))
}

fuzz_target!(|bytes: &[u8]| {
    let parsed = TraceParent::parse(bytes);
    let expected = reference(bytes).map(|(trace, span, is_sampled)| {
        format!("00-{trace}-{span}-0{}", u8::from(is_sampled)).into_bytes()
    });
    assert_eq!(parsed.map(|it| it.text().to_vec()), expected);
    // Whatever comes, what goes on is sound, and of the same trace if that was.
    let traced = Traced::of([bytes].into_iter(), || 7, || false);
    let again = TraceParent::parse(&traced.parent.text()).expect("ours is sound");
    assert_eq!(again, traced.parent);
    assert_eq!(traced.is_continued(), parsed.is_some());
    if let Some(parsed) = parsed {
        assert_eq!(parsed.trace_id_text(), again.trace_id_text());
    }
});
