//! Heads of both kinds, read by the engine and by the slow reference of its tests.
#![no_main]

#[path = "../../tests/smuggling/engine.rs"]
mod engine;
#[path = "../../tests/smuggling/reference.rs"]
mod reference;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    assert_eq!(engine::request(bytes), reference::request(bytes));
    assert_eq!(engine::response(bytes), reference::response(bytes));
});
