use aya::Ebpf;
use lbfabric_abi::FlowKey;

use crate::{
    maps::{AyaMaps, OpenMapsError, ServerMaps},
    random::random_words,
    reconciler::Reconciler,
    xdp::ProgramKind,
};

/// What writes a program's maps.
pub(crate) trait MapWriter: Sized {
    const KIND: ProgramKind;

    fn open(ebpf: &mut Ebpf) -> Result<Self, OpenMapsError>;
}

impl MapWriter for Reconciler<AyaMaps> {
    const KIND: ProgramKind = ProgramKind::LoadBalancer;

    fn open(ebpf: &mut Ebpf) -> Result<Self, OpenMapsError> {
        AyaMaps::open(ebpf).map(|maps| Self::new(maps, FlowKey(random_words())))
    }
}

impl MapWriter for ServerMaps {
    const KIND: ProgramKind = ProgramKind::Server;

    fn open(ebpf: &mut Ebpf) -> Result<Self, OpenMapsError> {
        Self::open(ebpf)
    }
}
