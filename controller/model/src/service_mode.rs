use lbfabric_abi::Mode;

/// How packets or connections reach the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceMode {
    /// Packet by packet, in the XDP programs.
    L4(Mode),
    /// By connections of the node's own, in the layer-7 engine.
    L7(ProxyMode),
}

/// Who the servers of a layer-7 service see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyMode {
    /// The node.
    Reverse,
    /// The client, at the TCP layer.
    Transparent,
}

impl ServiceMode {
    /// That of layer 4; `None` for layer 7.
    pub const fn l4(self) -> Option<Mode> {
        match self {
            Self::L4(mode) => Some(mode),
            Self::L7(_) => None,
        }
    }

    /// That of layer 7; `None` for layer 4.
    pub const fn l7(self) -> Option<ProxyMode> {
        match self {
            Self::L4(_) => None,
            Self::L7(mode) => Some(mode),
        }
    }
}

impl PartialEq<Mode> for ServiceMode {
    fn eq(&self, other: &Mode) -> bool {
        self.l4() == Some(*other)
    }
}
