use lbfabric_proto::v1;

use crate::fields::Fields;

/// How HTTP/2 is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2 {
    /// Whether clients may speak it.
    pub clients: bool,
}

impl Http2 {
    pub(super) fn parse(v1::Http2Spec { clients }: v1::Http2Spec) -> Self {
        Self {
            clients: clients.unwrap_or(true),
        }
    }

    pub(super) fn to_spec(self) -> v1::Http2Spec {
        v1::Http2Spec {
            clients: Some(self.clients),
        }
    }

    pub(super) fn fields(self, fields: &mut Fields) {
        fields.put("proxy.http2.clients", self.clients);
    }
}

impl Default for Http2 {
    fn default() -> Self {
        Self { clients: true }
    }
}
