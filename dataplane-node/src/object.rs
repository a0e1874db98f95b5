//! The XDP programs as they are loaded.

use aya::{
    Ebpf,
    maps::{MapError, ProgramArray},
    programs::{ProgramError, Xdp},
};
use lbfabric_abi::NextProgram;

/// A signal that arrives while the kernel checks a program ends the check with `EAGAIN`. That many times it is asked again.
const LOAD_ATTEMPTS: usize = 5;

/// The ELF object with the programs `lbfabric_lb` (and those of [`NextProgram`] behind it), `lbfabric_server` and `lbfabric_pass`, and the maps of [`lbfabric_abi`],
/// aligned as aya's loader needs it.
pub fn object() -> &'static [u8] {
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lbfabric.bpf.o"))
}

/// The programs could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum LoadProgramsError {
    /// The object is not that of this agent.
    #[error("the eBPF object has no {0}")]
    Missing(&'static str),
    /// The kernel refuses one.
    #[error("load {program}")]
    Load {
        /// Its name.
        program: &'static str,
        /// Why.
        #[source]
        source: ProgramError,
    },
    /// One cannot be called by others.
    #[error("make {program} callable")]
    Link {
        /// Its name.
        program: &'static str,
        /// Why.
        #[source]
        source: MapError,
    },
}

/// Loads the load balancer's programs and joins them by `PROGRAMS`, which has to be held or pinned for as long as they run:
/// the kernel empties it when its last user goes.
pub fn load_balancer(ebpf: &mut Ebpf) -> Result<(), LoadProgramsError> {
    use LoadProgramsError::{Link, Load, Missing};
    const PROGRAMS: &str = "PROGRAMS";

    let mut fds = Vec::new();
    let entry = "lbfabric_lb";
    let behind = NextProgram::ALL.iter().map(|next| next.program());
    for program in std::iter::once(entry).chain(behind) {
        let xdp = ebpf.program_mut(program).ok_or(Missing(program))?;
        let xdp: &mut Xdp = xdp.try_into().map_err(|source| Load { program, source })?;
        load(xdp).map_err(|source| Load { program, source })?;
        let fd = xdp.fd().map_err(|source| Load { program, source })?;
        let fd = fd.try_clone().map_err(|error| Load {
            program,
            source: error.into(),
        })?;
        fds.push((program, fd));
    }
    let map = ebpf.map_mut(PROGRAMS).ok_or(Missing(PROGRAMS))?;
    let link = |program| move |source| Link { program, source };
    let mut programs = ProgramArray::try_from(map).map_err(link(entry))?;
    for next in NextProgram::ALL {
        let program = next.program();
        let fd = fds.iter().find(|(name, _)| *name == program);
        let (_, fd) = fd.ok_or(Missing(program))?;
        programs.set(next.index(), fd, 0).map_err(link(program))?;
    }
    Ok(())
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
