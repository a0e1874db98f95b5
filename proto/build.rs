//! Compiles the `.proto` files with `protox`, so that no `protoc` is needed.

use std::{env, error::Error, fs, path::PathBuf};

const PUBLIC: &[&str] = &[
    "lbfabric/v1/fabric.proto",
    "lbfabric/v1/fabric_service.proto",
    "lbfabric/v1/lease_service.proto",
    "lbfabric/v1/node_service.proto",
    "lbfabric/v1/observe.proto",
    "lbfabric/v1/speaker_service.proto",
    "lbfabric/v1/vip_service.proto",
];
/// As OpenTelemetry publishes them: opentelemetry-proto 1.10.0.
const OTLP: &[&str] = &["opentelemetry/proto/collector/trace/v1/trace_service.proto"];
const INTERNAL: &[&str] = &["lbfabric/internal/v1/controller.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=lbfabric");
    println!("cargo::rerun-if-changed=opentelemetry");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // Reflection serves the public files only.
    let public = protox::compile(PUBLIC, ["."])?;
    fs::write(
        out.join("lbfabric.v1.binpb"),
        prost::Message::encode_to_vec(&public),
    )?;
    let all = protox::compile(PUBLIC.iter().chain(INTERNAL), ["."])?;
    tonic_prost_build::configure()
        .build_client(env::var_os("CARGO_FEATURE_CLIENT").is_some())
        .build_server(env::var_os("CARGO_FEATURE_SERVER").is_some())
        .build_transport(env::var_os("CARGO_FEATURE_CLIENT").is_some())
        .btree_map(".")
        // Ten times the size of the other outcome.
        .boxed(".lbfabric.v1.ExplainReply.outcome.explanation")
        // Several times the size of the other objects.
        .boxed(".lbfabric.v1.Object.spec.service")
        .boxed(".lbfabric.v1.NodeObject.object.service")
        // By hand, without what is secret.
        .skip_debug([
            "lbfabric.v1.BgpNeighborSpec",
            "lbfabric.v1.CertificateSpec",
            "lbfabric.v1.NodeCertificate",
            "lbfabric.v1.SecretKey",
        ])
        .compile_fds(all)?;
    if env::var_os("CARGO_FEATURE_OTLP").is_some() {
        tonic_prost_build::configure()
            .build_client(env::var_os("CARGO_FEATURE_CLIENT").is_some())
            .build_server(env::var_os("CARGO_FEATURE_SERVER").is_some())
            .build_transport(env::var_os("CARGO_FEATURE_CLIENT").is_some())
            // Not written for rustdoc.
            .disable_comments(["."])
            .include_file("opentelemetry.rs")
            .compile_fds(protox::compile(OTLP, ["."])?)?;
    }
    Ok(())
}
