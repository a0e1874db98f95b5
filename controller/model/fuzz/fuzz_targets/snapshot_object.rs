//! An object that a controller sends to a node.
#![no_main]

use lbfabric_model::{
    Mode,
    snapshot::{SnapshotBody, SnapshotObject},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match SnapshotObject::decode(bytes) {
        Ok(object) => {
            if let SnapshotBody::Service(service) = object.body {
                assert!(!service.ports.ranges().is_empty());
                assert_eq!(service.tunnel.is_some(), service.mode == Mode::Tunnel);
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
