//! The XDP programs as they are loaded.

use aya::programs::{ProgramError, Xdp};

/// A signal that arrives while the kernel checks a program ends the check with `EAGAIN`. That many times it is asked again.
const LOAD_ATTEMPTS: usize = 5;

/// The ELF object with the programs `lbfabric_lb`, `lbfabric_server` and `lbfabric_pass` and the maps of [`lbfabric_abi`],
/// aligned as aya's loader needs it.
pub fn object() -> &'static [u8] {
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lbfabric.bpf.o"))
}

/// Has the kernel check and take a program.
pub fn load(program: &mut Xdp) -> Result<(), ProgramError> {
    let mut attempts = 1;
    loop {
        match program.load() {
            Err(ProgramError::LoadError { io_error, .. })
                if io_error.kind() == std::io::ErrorKind::WouldBlock
                    && attempts < LOAD_ATTEMPTS =>
            {
                attempts += 1;
            }
            result => return result,
        }
    }
}
