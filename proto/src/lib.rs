//! The `.proto` files of `proto/lbfabric/` and nothing but the code generated from them.
//!
//! Without features only the messages are here; `client` and `server` add the tonic stubs.

/// The public API, package `lbfabric.v1`.
#[allow(
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated code; which lints it meets depends on the features"
)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/lbfabric.v1.rs"));

    /// The encoded `FileDescriptorSet` of this package, for reflection and for readers of YAML and JSON.
    pub const FILE_DESCRIPTOR_SET: &[u8] =
        include_bytes!(concat!(env!("OUT_DIR"), "/lbfabric.v1.binpb"));
}

/// What controllers say to each other and write to disk, package `lbfabric.internal.v1`.
pub mod internal {
    /// Version 1.
    #[allow(
        clippy::pedantic,
        clippy::allow_attributes_without_reason,
        reason = "generated code; which lints it meets depends on the features"
    )]
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/lbfabric.internal.v1.rs"));
    }
}
