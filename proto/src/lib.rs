//! The `.proto` files of `proto/lbfabric/` and the code generated from them, but for what keeps secrets out of messages.
//!
//! Without features only the messages are here; `client` and `server` add the tonic stubs, and `otlp` those of `proto/opentelemetry/`.

/// The public API, package `lbfabric.v1`.
#[allow(
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    clippy::large_enum_variant,
    reason = "generated code; which lints it meets depends on the features"
)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/lbfabric.v1.rs"));

    /// The encoded `FileDescriptorSet` of this package, for reflection and for readers of YAML and JSON.
    pub const FILE_DESCRIPTOR_SET: &[u8] =
        include_bytes!(concat!(env!("OUT_DIR"), "/lbfabric.v1.binpb"));
}

impl std::fmt::Debug for v1::BgpNeighborSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            name,
            address,
            interface,
            asn,
            port,
            passive,
            local_address,
            md5_password,
            hold_time_secs,
            hops,
            ttl_security,
            families,
            next_hops,
            extended_next_hop,
            graceful_restart_secs,
            bfd,
            import_default,
        } = self;
        f.debug_struct("BgpNeighborSpec")
            .field("name", name)
            .field("address", address)
            .field("interface", interface)
            .field("asn", asn)
            .field("port", port)
            .field("passive", passive)
            .field("local_address", local_address)
            .field("has_md5_password", &md5_password.is_some())
            .field("hold_time_secs", hold_time_secs)
            .field("hops", hops)
            .field("ttl_security", ttl_security)
            .field("families", families)
            .field("next_hops", next_hops)
            .field("extended_next_hop", extended_next_hop)
            .field("graceful_restart_secs", graceful_restart_secs)
            .field("bfd", bfd)
            .field("import_default", import_default)
            .finish()
    }
}

impl std::fmt::Debug for v1::CertificateSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            name,
            chain,
            key: _,
        } = self;
        f.debug_struct("CertificateSpec")
            .field("name", name)
            .field("chain", chain)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for v1::NodeCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { chain, key: _ } = self;
        f.debug_struct("NodeCertificate")
            .field("chain", chain)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for v1::SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { secret: _ } = self;
        f.debug_struct("SecretKey").finish_non_exhaustive()
    }
}

/// What collectors of traces take: OpenTelemetry's own messages, package `opentelemetry.proto`.
#[cfg(feature = "otlp")]
#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    missing_docs,
    rustdoc::invalid_html_tags,
    reason = "generated code; which lints it meets depends on the features"
)]
pub mod otlp {
    include!(concat!(env!("OUT_DIR"), "/opentelemetry.rs"));

    pub use opentelemetry::proto::{collector, common, resource, trace};
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
