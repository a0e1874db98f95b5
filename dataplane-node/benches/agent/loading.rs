//! 10,000 services with as many pools, beside the large one.

use std::time::Duration;

use crate::{
    events::{self, LARGE_SLOTS, World},
    fabric::Fabric,
    kernel::{self, MapMemory},
    report::Row,
};

const SERVICES: u16 = 10_000;
/// Slots of a pool of the default size.
const SLOTS: u32 = 4099;
const LIMIT: Duration = Duration::from_secs(10);

/// Loads several times, and then changes the large pool. Returns also what the maps take.
pub(crate) fn measure(loads: u32, rounds: u32) -> (Vec<Row>, Vec<MapMemory>) {
    let slots = u32::from(SERVICES) * SLOTS + LARGE_SLOTS;
    let row = |what: &str| Row::new(what.to_owned(), Some(LIMIT));
    let mut loaded = row("10,000 services are loaded into empty maps");
    let mut taken_over = row("10,000 services are taken over by a new agent");
    let mut changes = Vec::new();
    let mut memory = Vec::new();
    for load in 1..=loads {
        eprint!("\r\x1b[Kload {load} of {loads}");
        let pins = kernel::Pins::new();
        let (mut world, took) = World::load(pins.load(slots), Fabric::new(SERVICES.into()));
        loaded.times.push(took);
        if load == loads {
            world.probe_all();
            changes = events::changes(&mut world, rounds, ", beside 10,000 services");
            memory = pins.memory();
        }
        taken_over.times.push(world.take_over(pins.load(slots)));
    }
    eprintln!();
    let mut rows = vec![loaded, taken_over];
    rows.append(&mut changes);
    (rows, memory)
}
