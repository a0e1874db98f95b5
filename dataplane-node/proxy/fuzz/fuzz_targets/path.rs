//! A path's normal form is its own, begins with a slash, and has no dots that lead anywhere.
#![no_main]

use lbfabric_proxy::route::{PathPolicy, normal};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // What a head's reading lets through.
    let is_of_path = |byte: &u8| byte.is_ascii_graphic() && !b"?#".contains(byte);
    if !bytes.starts_with(b"/") || !bytes.iter().all(is_of_path) {
        return;
    }
    let Ok(path) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(form) = normal(path, PathPolicy::default()) else {
        return;
    };
    let again = normal(&form, PathPolicy::default());
    assert_eq!(again.as_deref(), Ok(&*form), "{path}");
    assert!(form.starts_with('/') && !form.contains("//"), "{path}");
    assert!(!form.split('/').any(|it| it == "." || it == ".."), "{path}");
});
