//! A client that knows nothing but the address: everything else comes from server reflection.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "support/members.rs"]
mod members;

use std::collections::BTreeSet;

use bytes::{Buf, BufMut};
use members::Members;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor};
use tokio_stream::StreamExt;
use tonic::{
    Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Channel,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

/// Encodes and decodes by description.
#[derive(Clone)]
struct DynamicCodec(MessageDescriptor);

impl Codec for DynamicCodec {
    type Encode = DynamicMessage;
    type Decode = DynamicMessage;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        self.clone()
    }

    fn decoder(&mut self) -> Self {
        self.clone()
    }
}

impl Encoder for DynamicCodec {
    type Item = DynamicMessage;
    type Error = Status;

    fn encode(&mut self, item: DynamicMessage, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item.encode_to_vec());
        Ok(())
    }
}

impl Decoder for DynamicCodec {
    type Item = DynamicMessage;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<DynamicMessage>, Status> {
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        DynamicMessage::decode(self.0.clone(), bytes)
            .map(Some)
            .map_err(|e| Status::internal(e.to_string()))
    }
}

async fn ask(
    client: &mut ServerReflectionClient<Channel>,
    request: MessageRequest,
) -> MessageResponse {
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(request),
    };
    let mut answers = client
        .server_reflection_info(tokio_stream::once(request))
        .await
        .unwrap()
        .into_inner();
    answers
        .next()
        .await
        .unwrap()
        .unwrap()
        .message_response
        .unwrap()
}

async fn discover(channel: Channel) -> (BTreeSet<String>, DescriptorPool) {
    let mut client = ServerReflectionClient::new(channel);
    let listed = ask(&mut client, MessageRequest::ListServices(String::new())).await;
    let MessageResponse::ListServicesResponse(listed) = listed else {
        panic!("no list of services: {listed:?}")
    };
    let services: BTreeSet<_> = listed
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();

    let mut files = prost_types::FileDescriptorSet::default();
    let mut wanted = vec![MessageRequest::FileContainingSymbol(
        "lbfabric.v1.FabricService".to_owned(),
    )];
    let mut known = BTreeSet::new();
    while let Some(request) = wanted.pop() {
        let answer = ask(&mut client, request).await;
        let MessageResponse::FileDescriptorResponse(answer) = answer else {
            panic!("no file: {answer:?}")
        };
        for bytes in answer.file_descriptor_proto {
            let file = prost_types::FileDescriptorProto::decode(bytes.as_slice()).unwrap();
            if known.insert(file.name().to_owned()) {
                let imports = file.dependency.iter().cloned();
                wanted.extend(imports.map(MessageRequest::FileByFilename));
                files.file.push(file);
            }
        }
    }
    let pool = DescriptorPool::from_file_descriptor_set(files).unwrap();
    (services, pool)
}

async fn call(channel: Channel, method: &MethodDescriptor, json: &str) -> serde_json::Value {
    let mut reader = serde_json::Deserializer::from_str(json);
    let request = DynamicMessage::deserialize(method.input(), &mut reader).unwrap();
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let mut client = Grpc::new(channel);
    client.ready().await.unwrap();
    let response = client
        .unary(
            tonic::Request::new(request),
            path.parse().unwrap(),
            DynamicCodec(method.output()),
        )
        .await
        .unwrap()
        .into_inner();
    serde_json::to_value(&response).unwrap()
}

#[tokio::test]
async fn generic_client_lists_the_api_and_creates_a_service() {
    let members = Members::start(1);
    members.ready(1).await;
    let (services, pool) = discover(members.channel(1)).await;
    for service in ["lbfabric.v1.FabricService", "lbfabric.v1.NodeService"] {
        assert!(services.contains(service), "{services:?}");
    }
    assert!(
        !services.iter().any(|service| service.contains("internal")),
        "{services:?}"
    );
    let fabric = pool
        .get_service_by_name("lbfabric.v1.FabricService")
        .unwrap();
    let methods: Vec<_> = fabric
        .methods()
        .map(|method| method.name().to_owned())
        .collect();
    assert_eq!(
        methods,
        [
            "Apply", "Diff", "Get", "List", "Delete", "Watch", "Explain", "Logs"
        ]
    );
    let method = |name: &str| {
        fabric
            .methods()
            .find(|method| method.name() == name)
            .unwrap()
    };

    let applied = call(
        members.channel(1),
        &method("Apply"),
        r#"{"fabric": {
            "pools": [{"name": "web", "backends": [{"name": "s1", "addresses": ["10.0.0.1"]}]}],
            "services": [{"name": "www", "vips": ["203.0.113.10"], "ports": ["443"],
                          "mode": "MODE_L4_DNAT", "pool": "web"}]
        }}"#,
    )
    .await;
    assert_eq!(applied["changes"].as_array().unwrap().len(), 2);

    let got = call(
        members.channel(1),
        &method("Get"),
        r#"{"ref": {"kind": "KIND_SERVICE", "name": "www"}}"#,
    )
    .await;
    let service = &got["object"]["service"];
    assert_eq!(service["vips"][0], "203.0.113.10");
    assert_eq!(service["mode"], "MODE_L4_DNAT");
    assert_eq!(
        service["protocol"], "PROTOCOL_TCP",
        "the default is filled in"
    );
}
