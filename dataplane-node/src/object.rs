//! The XDP programs as they are loaded.

/// The ELF object with the programs `lbfabric_lb`, `lbfabric_server` and `lbfabric_pass` and the maps of [`lbfabric_abi`],
/// aligned as aya's loader needs it.
pub fn object() -> &'static [u8] {
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lbfabric.bpf.o"))
}
