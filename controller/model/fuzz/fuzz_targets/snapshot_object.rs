//! An object that a controller sends to a node.
#![no_main]

use lbfabric_model::snapshot::SnapshotObject;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Err(error) = SnapshotObject::decode(bytes) {
        assert!(!error.to_string().is_empty());
    }
});
