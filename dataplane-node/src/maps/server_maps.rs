use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU16;

use aya::{
    Ebpf,
    maps::{
        Array, HashMap, MapData, MapError, PerCpuArray,
        lpm_trie::{Key, LpmTrie},
    },
};
use lbfabric_abi::{Address, CLIENT_ADDRESSES_MAX, ClientAddress, Flow, GUE_PORT_WORDS};
use lbfabric_model::{Ports, Prefix};

use super::{
    OpenMapsError, ReadMapError,
    aya_maps::{absent_is_fine, named_counters, open, unreadable},
};
use crate::plan::bits_in_maps;

/// The nodes that tell clients' addresses, and the ports at which they do.
#[derive(PartialEq, Eq)]
struct Told {
    nodes: BTreeSet<Address>,
    ports: BTreeSet<u16>,
}

/// The maps of the server's program.
pub(crate) struct ServerMaps {
    vips: LpmTrie<MapData, Address, u32>,
    gue_ports: Array<MapData, u64>,
    told_by: HashMap<MapData, Address, u32>,
    told_ports: Array<MapData, u64>,
    clients: HashMap<MapData, Flow, ClientAddress>,
    /// Of whom alone there are clients; unknown at first, for an earlier agent may have left others.
    clients_of: Option<Told>,
    counters: PerCpuArray<MapData, u64>,
}

impl ServerMaps {
    /// Takes the maps out of a loaded object.
    pub(crate) fn open(ebpf: &mut Ebpf) -> Result<Self, OpenMapsError> {
        Ok(Self {
            vips: open(ebpf, "SERVER_VIPS")?,
            gue_ports: open(ebpf, "GUE_PORTS")?,
            told_by: open(ebpf, "TOLD_BY")?,
            told_ports: open(ebpf, "TOLD_PORTS")?,
            clients: open(ebpf, "CLIENT_ADDRESSES")?,
            clients_of: None,
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
        let wanted = ports.iter().map(|port| port.get());
        set_ports(&mut self.gue_ports, wanted).map_err(unreadable("GUE_PORTS"))
    }

    /// Makes the program believe exactly these nodes, at these TCP ports, what they tell of clients, and forget what others told.
    pub(crate) fn set_told(
        &mut self,
        nodes: &[IpAddr],
        ports: Option<&Ports>,
    ) -> Result<(), ReadMapError> {
        let failed = unreadable("TOLD_BY");
        let told = Told {
            nodes: nodes.iter().map(|node| Address::from(*node)).collect(),
            ports: match ports {
                None => BTreeSet::new(),
                Some(Ports::Any) => (0..=u16::MAX).collect(),
                Some(Ports::Ranges(ranges)) => {
                    ranges.iter().flat_map(|it| it.first..=it.last).collect()
                }
            },
        };
        let keys = self.told_by.keys();
        let present: BTreeSet<Address> = keys.collect::<Result<_, _>>().map_err(&failed)?;
        for node in told.nodes.difference(&present) {
            self.told_by.insert(node, 1, 0).map_err(&failed)?;
        }
        for node in present.difference(&told.nodes) {
            absent_is_fine(self.told_by.remove(node)).map_err(&failed)?;
        }
        set_ports(&mut self.told_ports, told.ports.iter().copied())
            .map_err(unreadable("TOLD_PORTS"))?;
        if self.clients_of.as_ref() != Some(&told) {
            self.forget_clients_except(&told)
                .map_err(unreadable("CLIENT_ADDRESSES"))?;
            self.clients_of = Some(told);
        }
        Ok(())
    }

    /// No SYN makes the program forget what nobody may tell any more, and the next client to get the node's port would be taken
    /// for the one before.
    fn forget_clients_except(&mut self, told: &Told) -> Result<(), MapError> {
        // Where the program takes an entry away under it, the walk begins again: it is not to go on for ever.
        let steps = 2 * CLIENT_ADDRESSES_MAX as usize;
        let keys = self.clients.keys().take(steps);
        let connections: Vec<Flow> = keys.collect::<Result<_, _>>()?;
        for connection in connections {
            let port = u16::from_be_bytes(connection.destination_port_be);
            if !told.nodes.contains(&connection.source) || !told.ports.contains(&port) {
                absent_is_fine(self.clients.remove(&connection))?;
            }
        }
        Ok(())
    }

    /// As [`LbMaps::counters`](super::LbMaps::counters).
    pub(crate) fn counters(&self) -> Result<BTreeMap<&'static str, u64>, ReadMapError> {
        named_counters(&self.counters)
    }
}

/// Sets the bits of exactly these ports.
fn set_ports(
    map: &mut Array<MapData, u64>,
    ports: impl Iterator<Item = u16>,
) -> Result<(), MapError> {
    let mut wanted = BTreeMap::<u32, u64>::new();
    for port in ports.map(u32::from) {
        *wanted.entry(port / u64::BITS).or_default() |= 1 << (port % u64::BITS);
    }
    for index in 0..GUE_PORT_WORDS {
        let word = wanted.get(&index).copied().unwrap_or_default();
        if map.get(&index, 0)? != word {
            map.set(index, word, 0)?;
        }
    }
    Ok(())
}
