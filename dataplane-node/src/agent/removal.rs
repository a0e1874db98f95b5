use std::io;
use std::path::PathBuf;

use crate::xdp::{self, Fault, Pins};

/// The program could not be taken away.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DetachProgramError {
    #[error(transparent)]
    Link(#[from] Fault),
    #[error("remove {folder}")]
    Pins {
        folder: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Takes the programs of every layout off these interfaces, or off all where none is named, and the maps away that no link
/// needs any more.
pub(crate) fn remove(pins: &Pins, interfaces: &[String]) -> Result<(), DetachProgramError> {
    let others = pins
        .of_other_layouts()
        .map_err(|source| failed(pins, source))?;
    for pins in std::iter::once(pins).chain(&others) {
        for interface in pins.links().map_err(|source| failed(pins, source))? {
            if interfaces.is_empty() || interfaces.contains(&interface) {
                xdp::detach(pins, &interface)?;
            }
        }
        let left = pins.links().map_err(|source| failed(pins, source))?;
        if left.is_empty() {
            pins.remove().map_err(|source| failed(pins, source))?;
        }
    }
    Ok(())
}

fn failed(pins: &Pins, source: io::Error) -> DetachProgramError {
    DetachProgramError::Pins {
        folder: pins.folder().to_owned(),
        source,
    }
}
