//! The program arrays of the programs that interfaces carry.
//!
//! Each load of the programs has an array of its own, which is filled before any packet can see it and never changed after:
//! programs of one load go on with programs of that load, also while a link is given the next one. The kernel empties an array
//! that neither a file descriptor nor a pin holds, so it is pinned, as `programs-N`, for as long as an interface carries its
//! programs.

use std::collections::BTreeSet;
use std::fs;

use aya::{
    Ebpf,
    maps::{Map, MapData},
    programs::loaded_programs,
};
use tracing::debug;

use super::{Fault, Pins, attach::open_link};
use crate::object::PROGRAMS;

/// The array of the programs that were just loaded.
#[derive(Debug)]
pub(super) struct Generation {
    map: u32,
}

/// Program arrays without a pin, held open: a packet may still be on its way through their programs.
#[derive(Debug, Default)]
pub(crate) struct Outgoing(Vec<MapData>);

impl Generation {
    /// Pins the array of freshly loaded programs.
    pub(super) fn pin(ebpf: &Ebpf, pins: &Pins) -> Result<Self, Fault> {
        let failed =
            |error: &(dyn std::error::Error + 'static)| Fault::of("pin the program array", error);
        let Some(Map::ProgramArray(array)) = ebpf.map(PROGRAMS) else {
            return Err(Fault::Other {
                doing: "pin the program array",
                detail: format!("the eBPF object has no program array {PROGRAMS}"),
            });
        };
        let numbers = pins.generations().map_err(|error| failed(&error))?;
        let number = numbers.last().map_or(1, |last| last + 1);
        array
            .pin(pins.generation(number))
            .map_err(|error| failed(&error))?;
        let info = array.info().map_err(|error| failed(&error))?;
        Ok(Self { map: info.id() })
    }
}

/// Removes the pins of all arrays but `current` and those of programs in a pinned link. The caller keeps them open for a moment.
pub(super) fn remove_unused(pins: &Pins, current: Option<&Generation>) -> Result<Outgoing, Fault> {
    let failed =
        |error: &(dyn std::error::Error + 'static)| Fault::of("remove a program array", error);
    let numbers = pins.generations().map_err(|error| failed(&error))?;
    let Some(mut used) = maps_in_use(pins)? else {
        return Ok(Outgoing::default());
    };
    used.extend(current.map(|generation| generation.map));
    let mut outgoing = Vec::new();
    for number in numbers {
        let pin = pins.generation(number);
        let array = MapData::from_pin(&pin).map_err(|error| failed(&error))?;
        let id = array.info().map_err(|error| failed(&error))?.id();
        if !used.contains(&id) {
            fs::remove_file(&pin).map_err(|error| failed(&error))?;
            debug!(number, "program array of a former program removed");
            outgoing.push(array);
        }
    }
    Ok(Outgoing(outgoing))
}

/// The maps of all programs in pinned links; `None` if not all of these can be looked at.
fn maps_in_use(pins: &Pins) -> Result<Option<BTreeSet<u32>>, Fault> {
    let failed =
        |error: &(dyn std::error::Error + 'static)| Fault::of("look at the pinned links", error);
    let mut programs = BTreeSet::new();
    for interface in pins.links().map_err(|error| failed(&error))? {
        programs.extend(open_link(&pins.link(&interface))?.map(|(_, program)| program));
    }
    let mut maps = BTreeSet::new();
    let loaded = loaded_programs().filter_map(Result::ok);
    for program in loaded {
        if !programs.remove(&program.id()) {
            continue;
        }
        let ids = program.map_ids().map_err(|error| failed(&error))?;
        maps.extend(ids.unwrap_or_default());
    }
    Ok(programs.is_empty().then_some(maps))
}

impl Outgoing {
    /// All that are pinned in a folder.
    pub(super) fn of_all(pins: &Pins) -> Result<Self, Fault> {
        let failed =
            |error: &(dyn std::error::Error + 'static)| Fault::of("open a program array", error);
        let numbers = pins.generations().map_err(|error| failed(&error))?;
        let arrays = numbers.into_iter().map(|number| {
            MapData::from_pin(pins.generation(number)).map_err(|error| failed(&error))
        });
        arrays.collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }
}
