use lbfabric_model::PacketQuestion;
use lbfabric_proto::v1;

use crate::{maps::LbMaps, plan::Desired};

/// What the program would do with a packet, told from the maps that it reads; names come from what is desired.
pub(crate) fn explain<M: LbMaps>(
    _packet: &PacketQuestion,
    _desired: &Desired,
    _maps: &M,
) -> Result<v1::Explanation, String> {
    Err("this node cannot explain packets yet".to_owned())
}
