//! An entry of the replicated log and the state's snapshot, as they are read from disk or from another controller.
#![no_main]

use lbfabric_model::{Command, FabricState, Generation};
use lbfabric_proto::internal::v1::{Command as ProtoCommand, StateSnapshot};
use libfuzzer_sys::fuzz_target;
use prost::Message as _;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Ok(command)) = ProtoCommand::decode(bytes).map(Command::try_from) {
        FabricState::default().apply(Generation(1), &command);
    }
    if let Ok(Ok(state)) = StateSnapshot::decode(bytes).map(FabricState::from_snapshot) {
        let snapshot = state.to_snapshot();
        let again = FabricState::from_snapshot(snapshot.clone()).map(|state| state.to_snapshot());
        assert_eq!(again, Ok(snapshot));
    }
});
