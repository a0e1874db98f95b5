use lbfabric_proto::v1;

use crate::fields::Fields;

/// How HTTP/2 is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2 {
    /// Whether clients may speak it.
    pub clients: bool,
    /// Whether servers speak it instead of HTTP/1.1.
    pub servers: bool,
}

impl Http2 {
    pub(super) fn parse(v1::Http2Spec { clients, servers }: v1::Http2Spec) -> Self {
        Self {
            clients: clients.unwrap_or(true),
            servers,
        }
    }

    pub(super) fn to_spec(self) -> v1::Http2Spec {
        v1::Http2Spec {
            clients: Some(self.clients),
            servers: self.servers,
        }
    }

    pub(super) fn fields(self, fields: &mut Fields) {
        fields.put("proxy.http2.clients", self.clients);
        fields.put("proxy.http2.servers", self.servers);
    }
}

impl Default for Http2 {
    fn default() -> Self {
        Self {
            clients: true,
            servers: false,
        }
    }
}
