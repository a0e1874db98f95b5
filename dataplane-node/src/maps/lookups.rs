use std::time::Duration;

use aya::{
    Pod,
    maps::{Array, HashMap, MapData, MapError, lpm_trie::Key, lpm_trie::LpmTrie},
};
use lbfabric_abi::{
    Address, Backend, Endpoint, EndpointPrefix, FlowBucket, Guard, LeasedVip, Reverse, RingSlot,
    Session, SessionLine, SessionRecord, Settings, SourcePrefix, SourceTokens, VipPort6, VipPrefix,
    VipService,
};

use super::{AyaMaps, ReadMapError, aya_maps::unreadable};
use crate::explain::Lookup;

impl Lookup for AyaMaps {
    fn settings(&self) -> Result<Settings, ReadMapError> {
        self.settings.get(&0, 0).map_err(unreadable("SETTINGS"))
    }

    fn filter_word(&self, index: u32) -> Result<u64, ReadMapError> {
        Ok(element(&self.filter, index, "FILTER")?.unwrap_or_default())
    }

    fn vip_port(&self, endpoint: &Endpoint) -> Result<Option<VipService>, ReadMapError> {
        match endpoint.key4() {
            Some(key) => entry(&self.vip_ports4, &key, "VIP_PORTS4"),
            None => Ok(entry(&self.vip_ports6, &endpoint.key6(), "VIP_PORTS6")?
                .filter(|it: &VipPort6| it.endpoint == *endpoint)
                .map(|it| it.service)),
        }
    }

    fn vip_range(&self, endpoint: &EndpointPrefix) -> Result<Option<VipService>, ReadMapError> {
        let key = Key::new(EndpointPrefix::BITS, *endpoint);
        longest(&self.vip_ranges, &key, "VIP_RANGES")
    }

    fn vip_prefix(&self, address: &Address, bits: u32) -> Result<Option<VipPrefix>, ReadMapError> {
        let key = Key::new(bits, *address);
        let network = longest(&self.vip_prefixes, &key, "VIP_PREFIXES")?;
        Ok(network.map(|it| it.prefix))
    }

    fn is_vip_address(&self, address: &Address) -> Result<bool, ReadMapError> {
        Ok(entry(&self.vip_addresses, address, "VIP_ADDRESSES")?.is_some())
    }

    fn reverse_port(&self, endpoint: &Endpoint) -> Result<Option<Reverse>, ReadMapError> {
        match endpoint.key4() {
            Some(key) => entry(&self.reverse_ports4, &key, "REVERSE_PORTS4"),
            None => entry(&self.reverse_ports6, endpoint, "REVERSE_PORTS6"),
        }
    }

    fn reverse_range(&self, endpoint: &EndpointPrefix) -> Result<Option<Reverse>, ReadMapError> {
        let key = Key::new(EndpointPrefix::BITS, *endpoint);
        longest(&self.reverse_ranges, &key, "REVERSE_RANGES")
    }

    fn guard(&self, id: u32) -> Result<Option<Guard>, ReadMapError> {
        entry(&self.guards, &id, "GUARDS")
    }

    fn source_rule(&self, client: &SourcePrefix) -> Result<Option<u32>, ReadMapError> {
        let key = Key::new(SourcePrefix::BITS, *client);
        longest(&self.source_rules, &key, "SOURCE_RULES")
    }

    fn service_tokens(&self, id: u32) -> Result<Option<u64>, ReadMapError> {
        element(&self.service_tokens, id, "SERVICE_TOKENS")
    }

    fn source_tokens(&self, set: u32) -> Result<Option<SourceTokens>, ReadMapError> {
        element(&self.source_tokens, set, "SOURCE_TOKENS")
    }

    fn recent_bucket(&self, index: u32) -> Result<Option<FlowBucket>, ReadMapError> {
        element(&self.recent_flows, index, "RECENT_FLOWS")
    }

    fn ring_slot(&self, index: u32) -> Result<Option<RingSlot>, ReadMapError> {
        let is_there = index < self.rings.capacity();
        Ok(is_there.then(|| self.rings.slot(index)))
    }

    fn backend(&self, id: u32) -> Result<Option<Backend>, ReadMapError> {
        element(&self.backends, id, "BACKENDS")
    }

    fn session(&self, index: u32) -> Result<Option<Session>, ReadMapError> {
        Ok(self.sessions.session(index))
    }

    fn session_record(&self, index: u32) -> Result<Option<SessionRecord>, ReadMapError> {
        Ok(self.sessions.record(index))
    }

    fn session_tags(&self, line: u32) -> Result<Option<SessionLine>, ReadMapError> {
        Ok(self.sessions.tags(line))
    }

    fn leased_vip(&self, vip: &Address) -> Result<Option<(LeasedVip, Duration)>, ReadMapError> {
        let found = self.leased_vips().look_up(vip);
        found.map_err(unreadable("LEASED_VIPS"))
    }

    fn flow_bucket(&self, index: u32) -> Result<Option<FlowBucket>, ReadMapError> {
        Ok(self.flows.bucket(index))
    }
}

/// An array's element; none beyond its end.
fn element<V: Pod>(
    array: &Array<MapData, V>,
    index: u32,
    map: &'static str,
) -> Result<Option<V>, ReadMapError> {
    if index >= array.len() {
        return Ok(None);
    }
    array.get(&index, 0).map(Some).map_err(unreadable(map))
}

fn entry<K: Pod, V: Pod>(
    table: &HashMap<MapData, K, V>,
    key: &K,
    map: &'static str,
) -> Result<Option<V>, ReadMapError> {
    none_is_fine(table.get(key, 0), map)
}

/// The entry of the longest prefix that a key is in.
fn longest<K: Pod, V: Pod>(
    trie: &LpmTrie<MapData, K, V>,
    key: &Key<K>,
    map: &'static str,
) -> Result<Option<V>, ReadMapError> {
    none_is_fine(trie.get(key, 0), map)
}

fn none_is_fine<V>(
    found: Result<V, MapError>,
    map: &'static str,
) -> Result<Option<V>, ReadMapError> {
    match found {
        Ok(value) => Ok(Some(value)),
        Err(MapError::KeyNotFound | MapError::ElementNotFound) => Ok(None),
        Err(error) => Err(unreadable(map)(error)),
    }
}
