use crate::Address;

/// The kind of the TCP option that tells a server its client's address, as LVS' full NAT has it.
pub const CLIENT_ADDRESS_KIND: u8 = 254;

/// The client of a full-NAT connection, as its server has been told.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientAddress {
    /// Its address.
    pub address: Address,
    /// Its port, in network order.
    pub port_be: [u8; 2],
    /// Zero.
    pub zero: [u8; 2],
}

const _: () = assert!(size_of::<ClientAddress>() == 20);
