/// Where a service's connections are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Listening {
    /// At each of its addresses and ports.
    #[default]
    Addresses,
    /// At all that is routed to the node for its VIPs, which are configured nowhere.
    Transparent,
}
