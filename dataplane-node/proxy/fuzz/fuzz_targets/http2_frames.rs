//! Frames of HTTP/2, of which some may not come too often: however they are cut, the meter says the same as a slow reading of whole frames.
#![no_main]

use std::{iter::repeat, time::Duration};

use lbfabric_proxy::{Allowance, Http2Config, readings::http2_flood};
use libfuzzer_sys::fuzz_target;

const BURST: u32 = 4;
const BLOCK_BYTES: usize = 600;

/// RFC 9113 section 4.1, frame by frame; no time passes.
fn reference(mut bytes: &[u8]) -> Option<String> {
    let (mut resets, mut controls, mut block) = (0, 0, 0);
    while bytes.len() >= 9 {
        let length =
            usize::from(bytes[0]) << 16 | usize::from(bytes[1]) << 8 | usize::from(bytes[2]);
        let (kind, flags) = (bytes[3], bytes[4]);
        let payload = &bytes[9..bytes.len().min(9 + length)];
        let is_control = match kind {
            0 => length == 0 && flags & 1 == 0,
            1 => {
                block = 0;
                false
            }
            3 => {
                resets += 1;
                false
            }
            8 if length >= 4 => match payload.first_chunk::<4>() {
                Some(increment) => u32::from_be_bytes(*increment) < 256,
                // What it says has not come.
                None => return None,
            },
            9 => length == 0,
            _ => true,
        };
        controls += u32::from(is_control);
        if resets > BURST {
            return Some("Resets".to_owned());
        }
        if controls > BURST {
            return Some("Controls".to_owned());
        }
        if kind == 1 || kind == 9 {
            block += length;
            if flags & 4 == 0 && block > BLOCK_BYTES {
                return Some("Headers".to_owned());
            }
        }
        bytes = &bytes[bytes.len().min(9 + length)..];
    }
    None
}

fn check(bytes: &[u8]) {
    let allowance = Allowance {
        burst: BURST,
        per_second: 1,
    };
    let config = Http2Config {
        resets: allowance,
        controls: allowance,
        ..Http2Config::default()
    };
    let expected = reference(bytes);
    for size in [1, 4, 10, usize::MAX] {
        let parts = repeat(Duration::ZERO).zip(bytes.chunks(size));
        let said = http2_flood(&config, BLOCK_BYTES, parts);
        assert_eq!(said, expected, "in parts of {size}");
    }
}

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    // Of every three bytes a frame that is whole.
    let frames = bytes.chunks_exact(3).flat_map(|it| {
        let (kind, flags, length) = (it[0] % 12, it[1], it[2]);
        let head = [0, 0, length, kind, flags, 0, 0, 0, 1];
        head.into_iter().chain(repeat(flags).take(length.into()))
    });
    check(&frames.collect::<Vec<_>>());
});
