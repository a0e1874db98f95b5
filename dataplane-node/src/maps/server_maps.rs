use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;

use aya::{
    Ebpf,
    maps::{
        Array, MapData, PerCpuArray,
        lpm_trie::{Key, LpmTrie},
    },
};
use lbfabric_abi::{Address, GUE_PORT_WORDS};
use lbfabric_model::Prefix;

use super::{
    OpenMapsError, ReadMapError,
    aya_maps::{absent_is_fine, named_counters, open, unreadable},
};
use crate::plan::bits_in_maps;

/// The maps of the server's program.
pub(crate) struct ServerMaps {
    vips: LpmTrie<MapData, Address, u32>,
    gue_ports: Array<MapData, u64>,
    counters: PerCpuArray<MapData, u64>,
}

impl ServerMaps {
    /// Takes the maps out of a loaded object.
    pub(crate) fn open(ebpf: &mut Ebpf) -> Result<Self, OpenMapsError> {
        Ok(Self {
            vips: open(ebpf, "SERVER_VIPS")?,
            gue_ports: open(ebpf, "GUE_PORTS")?,
            counters: open(ebpf, "COUNTERS")?,
        })
    }

    /// Makes the program unpack tunnels for exactly these VIPs.
    pub(crate) fn set_vips(&mut self, vips: &BTreeSet<Prefix>) -> Result<(), ReadMapError> {
        let failed = unreadable("SERVER_VIPS");
        let wanted = vips.iter().map(|vip| {
            let bits = u32::from(bits_in_maps(*vip));
            (bits, Address::from(vip.address()))
        });
        let wanted: BTreeSet<(u32, Address)> = wanted.collect();
        let keys = self.vips.keys();
        let present: BTreeSet<(u32, Address)> = keys
            .map(|key| key.map(|key| (key.prefix_len(), key.data())))
            .collect::<Result<_, _>>()
            .map_err(&failed)?;
        for (bits, address) in wanted.difference(&present) {
            let key = Key::new(*bits, *address);
            self.vips.insert(&key, 1, 0).map_err(&failed)?;
        }
        for (bits, address) in present.difference(&wanted) {
            let key = Key::new(*bits, *address);
            absent_is_fine(self.vips.remove(&key)).map_err(&failed)?;
        }
        Ok(())
    }

    /// Makes the program unpack GUE at exactly these UDP ports.
    pub(crate) fn set_gue_ports(&mut self, ports: &[NonZeroU16]) -> Result<(), ReadMapError> {
        let failed = unreadable("GUE_PORTS");
        let mut wanted = BTreeMap::<u32, u64>::new();
        for port in ports {
            let port = u32::from(port.get());
            *wanted.entry(port / u64::BITS).or_default() |= 1 << (port % u64::BITS);
        }
        for index in 0..GUE_PORT_WORDS {
            let word = wanted.get(&index).copied().unwrap_or_default();
            if self.gue_ports.get(&index, 0).map_err(&failed)? != word {
                self.gue_ports.set(index, word, 0).map_err(&failed)?;
            }
        }
        Ok(())
    }

    /// As [`LbMaps::counters`](super::LbMaps::counters).
    pub(crate) fn counters(&self) -> Result<BTreeMap<&'static str, u64>, ReadMapError> {
        named_counters(&self.counters)
    }
}
