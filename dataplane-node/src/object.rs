//! The XDP programs as they are loaded.

use std::error::Error;

use aya::{
    Ebpf,
    maps::ProgramArray,
    programs::{ProgramError, Xdp},
};
use lbfabric_abi::NextProgram;

/// The program that a load balancer's interfaces carry. It goes on with those of [`NextProgram`].
pub const LOAD_BALANCER: &str = "lbfabric_lb";

/// The map with the programs that [`LOAD_BALANCER`] goes on with. The kernel empties it when neither a file descriptor nor a pin
/// holds it any more.
pub const PROGRAMS: &str = "PROGRAMS";

/// The program that gives the connections of VIPs that are configured nowhere to the layer-7 engine.
pub const STEERING: &str = "lbfabric_steer";

/// A signal that arrives while the kernel checks a program ends the check with `EAGAIN`. That many times it is asked again.
const LOAD_ATTEMPTS: usize = 50;

/// A load balancer's programs could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The object has no such XDP program.
    #[error("the eBPF object has no XDP program {0}")]
    NoProgram(&'static str),
    /// The kernel does not take the program.
    #[error("load {program}")]
    Refused {
        /// Its name.
        program: &'static str,
        /// Why.
        #[source]
        source: ProgramError,
    },
    /// The kernel does not take the program as one to go on with.
    #[error("make {program} known to {LOAD_BALANCER}")]
    NotJoined {
        /// Its name.
        program: &'static str,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

/// The ELF object with the programs `lbfabric_lb` and those of [`NextProgram`], `lbfabric_server` and `lbfabric_pass`, and the
/// maps of [`lbfabric_abi`], aligned as aya's loader needs it.
pub fn object() -> &'static [u8] {
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lbfabric.bpf.o"))
}

/// The ELF object with the program [`STEERING`] and its maps, aligned as aya's loader needs it.
pub fn steering() -> &'static [u8] {
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/steering.bpf.o"))
}

/// Loads all programs of a load balancer and joins them: [`LOAD_BALANCER`] is ready to run, as long as somebody holds
/// [`PROGRAMS`].
pub fn load_all(ebpf: &mut Ebpf) -> Result<(), LoadError> {
    for next in NextProgram::ALL {
        let program = next.program();
        load_named(ebpf, program)?;
        join(ebpf, *next).map_err(|source| LoadError::NotJoined { program, source })?;
    }
    load_named(ebpf, LOAD_BALANCER)
}

/// Puts a loaded program into its place in [`PROGRAMS`].
fn join(ebpf: &mut Ebpf, next: NextProgram) -> Result<(), Box<dyn Error + Send + Sync>> {
    let program = ebpf.program(next.program());
    let program: &Xdp = program.ok_or("it is missing")?.try_into()?;
    let fd = program.fd()?.try_clone()?;
    let programs = ebpf.map_mut(PROGRAMS).ok_or("there is no program array")?;
    ProgramArray::try_from(programs)?.set(next.index(), &fd, 0)?;
    Ok(())
}

/// Loads one program of an object.
pub fn load_named(ebpf: &mut Ebpf, program: &'static str) -> Result<(), LoadError> {
    let found = ebpf.program_mut(program).map(<&mut Xdp>::try_from);
    let Some(Ok(xdp)) = found else {
        return Err(LoadError::NoProgram(program));
    };
    load(xdp).map_err(|source| LoadError::Refused { program, source })
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
