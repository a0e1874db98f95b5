use lbfabric_abi::NextHop;

/// How packets get to a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) hop: NextHop,
    /// The largest packet, in bytes from the network header on; zero if it is not known.
    pub(crate) mtu: u16,
    /// How many of the server's last address bits tell the hosts of its subnet apart; zero if the node is not in it.
    pub(crate) host_bits: u8,
}
