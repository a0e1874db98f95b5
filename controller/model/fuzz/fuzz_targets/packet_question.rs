//! A question of `lbfabric explain`: what is understood is of one family, and is understood again as it is written.
#![no_main]

use lbfabric_model::PacketQuestion;
use lbfabric_proto::v1;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, text)) = bytes.split_first() else {
        return;
    };
    let text = String::from_utf8_lossy(text);
    let mut lines = text.split('\n');
    let mut line = || lines.next().unwrap_or_default().to_owned();
    let spec = v1::PacketQuestion {
        source: line(),
        destination: line(),
        protocol: i32::from(kind % 5),
        established: kind & 128 != 0,
        request: (kind & 64 != 0).then(|| v1::RequestQuestion {
            host: line(),
            path: line(),
            method: line(),
            ..v1::RequestQuestion::default()
        }),
    };
    match PacketQuestion::parse(&spec, "question") {
        Ok(question) => {
            assert_eq!(question.source.is_ipv4(), question.destination.is_ipv4());
            let again = PacketQuestion::parse(&question.to_spec(), "question");
            assert_eq!(again, Ok(question));
        }
        Err(violations) => assert!(!violations.is_empty()),
    }
});
