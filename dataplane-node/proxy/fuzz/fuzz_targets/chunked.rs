//! A body in chunks, whole and byte by byte: both come to the same.
#![no_main]

use lbfabric_proxy::http1::{ChunkReader, Chunked, Refusal};
use libfuzzer_sys::fuzz_target;

fn read(bytes: &[u8], part: usize) -> Result<(Vec<u8>, usize, ChunkReader), Refusal> {
    let (mut reader, mut data, mut rest) = (ChunkReader::new(), Vec::new(), bytes);
    while !rest.is_empty() && !reader.is_done() {
        let now = &rest[..rest.len().min(part)];
        let taken = match reader.next(now)? {
            Chunked::Data(taken) => {
                data.extend_from_slice(&now[..taken]);
                taken
            }
            Chunked::Frame(taken) | Chunked::End(taken) => taken,
        };
        rest = &rest[taken..];
    }
    Ok((data, rest.len(), reader))
}

fuzz_target!(|bytes: &[u8]| {
    assert_eq!(read(bytes, usize::MAX), read(bytes, 1));
});
