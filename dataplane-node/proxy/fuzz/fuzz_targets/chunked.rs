//! A body in chunks, whole and byte by byte: both come to the same.
#![no_main]

#[path = "../../tests/smuggling/chunks.rs"]
mod chunks;

use std::iter::repeat;

use chunks::Read;
use lbfabric_proxy::http1::{ChunkReader, Chunked, Refusal};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    assert_eq!(
        Read::all(bytes, repeat(usize::MAX)),
        Read::all(bytes, repeat(1))
    );
});
