//! A specification of a user: any bytes that are a protobuf message at all.
#![no_main]

use lbfabric_model::{Document, FabricState};
use lbfabric_proto::v1::FabricSpec;
use libfuzzer_sys::fuzz_target;
use prost::Message as _;

fuzz_target!(|bytes: &[u8]| {
    let Ok(spec) = FabricSpec::decode(bytes) else {
        return;
    };
    let violations = FabricState::default().violations(&spec, false);
    match Document::parse(&spec) {
        Ok(document) => assert_eq!(
            Document::parse(&document.to_spec()).map_err(|invalid| invalid.violations),
            Ok(document)
        ),
        Err(_) => assert!(!violations.is_empty()),
    }
});
