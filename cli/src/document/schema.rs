//! How the API's descriptors look in a file: which names, which values.

use std::sync::LazyLock;

use lbfabric_proto::v1;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, EnumDescriptor, Kind, MessageDescriptor};

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(v1::FILE_DESCRIPTOR_SET)
        .expect("the descriptors were written by the build")
});

/// The descriptor of `lbfabric.v1.{name}`.
pub(super) fn descriptor(name: &str) -> MessageDescriptor {
    POOL.get_message_by_name(&format!("lbfabric.v1.{name}"))
        .expect("the caller names a message of the API")
}

/// A message in its reflected form. `name` is that of its type within `lbfabric.v1`.
pub fn message(name: &str, message: &impl Message) -> DynamicMessage {
    DynamicMessage::decode(descriptor(name), message.encode_to_vec().as_slice())
        .expect("a message decodes as what it was encoded from")
}

/// The values that a user can write for an enum, by their names in a file: `MODE_L4_DNAT` is `l4-dnat`.
pub(super) fn enum_choices(of: &EnumDescriptor) -> Vec<(String, i32)> {
    of.values()
        .filter(|value| value.number() != 0)
        .map(|value| (value_name(of, value.name()), value.number()))
        .collect()
}

/// The name of an enum's value in files and in output; empty for the unspecified one.
pub fn enum_name(of: &EnumDescriptor, number: i32) -> String {
    match of.get_value(number) {
        _ if number == 0 => String::new(),
        Some(value) => value_name(of, value.name()),
        None => number.to_string(),
    }
}

/// Drops the prefix that protobuf wants and writes the rest with hyphens.
fn value_name(of: &EnumDescriptor, value: &str) -> String {
    let mut prefix = String::new();
    for c in of.name().chars() {
        if c.is_uppercase() && !prefix.is_empty() {
            prefix.push('_');
        }
        prefix.extend(c.to_uppercase());
    }
    prefix.push('_');
    let short = value.strip_prefix(&prefix).unwrap_or(value);
    short.to_lowercase().replace('_', "-")
}

/// What a value of this kind is called in a message to a user.
pub(super) fn kind_words(kind: &Kind) -> &'static str {
    match kind {
        Kind::Message(_) => "a mapping",
        Kind::String | Kind::Enum(_) | Kind::Bytes => "text",
        Kind::Bool => "`true` or `false`",
        Kind::Double | Kind::Float => "a number",
        Kind::Int32
        | Kind::Int64
        | Kind::Uint32
        | Kind::Uint64
        | Kind::Sint32
        | Kind::Sint64
        | Kind::Fixed32
        | Kind::Fixed64
        | Kind::Sfixed32
        | Kind::Sfixed64 => "a whole number",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The walk of a file knows texts, whole numbers, truth values, enums, messages and lists of these. A new kind of field in a
    /// specification has to be taught to it.
    #[test]
    fn every_field_of_a_specification_can_be_written_in_a_file() {
        let mut open = vec![descriptor("FabricSpec")];
        let mut seen = BTreeSet::new();
        while let Some(message) = open.pop() {
            if !seen.insert(message.full_name().to_owned()) {
                continue;
            }
            for field in message.fields() {
                assert!(!field.is_map(), "{}", field.full_name());
                match field.kind() {
                    Kind::Message(inner) => open.push(inner),
                    Kind::String | Kind::Uint32 | Kind::Uint64 | Kind::Bool | Kind::Enum(_) => {}
                    other => panic!("{} is {other:?}", field.full_name()),
                }
            }
        }
        assert!(seen.contains("lbfabric.v1.TcpCheckSpec"));
    }

    #[test]
    fn enum_values_lose_their_prefix() {
        let field = descriptor("NodeStatus")
            .get_field_by_name("xdp_mode")
            .expect("a field");
        let Kind::Enum(of) = field.kind() else {
            panic!("an enum")
        };
        assert_eq!(
            enum_choices(&of),
            [("native".to_owned(), 1), ("generic".to_owned(), 2)]
        );
        assert_eq!(enum_name(&of, 0), "");
        assert_eq!(enum_name(&of, 9), "9");
    }
}
