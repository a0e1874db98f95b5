use aya::maps::MapInfo;
use aya_obj::{Object, maps::PinningType};

use super::{Fault, Pins};
use crate::object;

/// What must be the same for two programs to mean the same map. The number of entries is the operator's choice.
#[derive(Debug, PartialEq, Eq)]
struct Shape {
    kind: u32,
    key_size: u32,
    value_size: u32,
    flags: u32,
}

/// A pinned map that is not what the object defines under its name: the folder is of another layout than its name says. An agent
/// that was built while the layout changed leaves such folders.
pub(super) fn misshapen(pins: &Pins) -> Result<Option<String>, Fault> {
    const DOING: &str = "compare the pinned maps with the object";
    let object = Object::parse(object::object()).map_err(|error| Fault::of(DOING, &error))?;
    for (name, map) in &object.maps {
        let pin = pins.folder().join(name);
        if map.pinning() != PinningType::ByName || !pin.exists() {
            continue;
        }
        let defined = Shape {
            kind: map.map_type(),
            key_size: map.key_size(),
            value_size: map.value_size(),
            flags: map.map_flags(),
        };
        let found = MapInfo::from_pin(&pin).map_err(|error| Fault::of(DOING, &error))?;
        let kind = found.map_type().map_err(|error| Fault::of(DOING, &error))?;
        let pinned = Shape {
            kind: kind as u32,
            key_size: found.key_size(),
            value_size: found.value_size(),
            flags: found.map_flags(),
        };
        if pinned != defined {
            return Ok(Some(name.clone()));
        }
    }
    Ok(None)
}
