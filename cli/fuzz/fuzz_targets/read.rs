//! Any bytes are read without a panic, and what could be read without a mistake reads back from what is written of it.

#![no_main]

use lbfabric::document::{Defaults, Source, message, plain, read, yaml};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let source = Source {
        name: "fuzz".to_owned(),
        bytes: bytes.to_vec(),
    };
    let reading = read(&[source]);
    if !reading.is_clean() {
        assert!(!reading.mistakes().is_empty());
        return;
    }
    let written = yaml(&plain(
        &message("FabricSpec", &reading.spec),
        Defaults::LeftOut,
    ));
    let again = Source {
        name: "written".to_owned(),
        bytes: written.into_bytes(),
    };
    let again = read(&[again]);
    assert!(again.is_clean(), "{:?}", again.mistakes());
    assert_eq!(again.spec, reading.spec);
});
