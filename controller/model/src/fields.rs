use std::{collections::BTreeMap, fmt::Display, sync::LazyLock};

use lbfabric_proto::v1::{FILE_DESCRIPTOR_SET, FieldChange};
use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, ReflectMessage as _,
    Value, prost::Message,
};

static API: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the descriptors were written by the build")
});

/// An object as a flat list of paths and values, to say what differs between two.
#[derive(Default)]
pub(crate) struct Fields(BTreeMap<String, String>);

impl Fields {
    pub(crate) fn put(&mut self, path: impl Into<String>, value: impl Display) {
        self.0.insert(path.into(), value.to_string());
    }

    pub(crate) fn put_list<T: Display>(&mut self, path: &str, values: impl IntoIterator<Item = T>) {
        let values: Vec<_> = values.into_iter().map(|v| v.to_string()).collect();
        if !values.is_empty() {
            self.put(path, values.join(", "));
        }
    }

    /// All that a message of the API with this name says. Elements of a list that have a name go by it, and their order is a field of its own.
    pub(crate) fn put_message(&mut self, path: &str, name: &str, message: &impl Message) {
        let of = API
            .get_message_by_name(&format!("lbfabric.v1.{name}"))
            .expect("the caller names a message of the API");
        let message = DynamicMessage::decode(of, message.encode_to_vec().as_slice())
            .expect("a message decodes as what it was encoded from");
        self.put_fields(path, &message);
    }

    fn put_fields(&mut self, path: &str, message: &DynamicMessage) {
        let of = message.descriptor();
        for field in of.fields().filter(|field| message.has_field(field)) {
            let path = format!("{path}.{}", field.name());
            match &*message.get_field(&field) {
                Value::List(items) => self.put_items(&path, &field, items),
                value => self.put_value(path, &field, value),
            }
        }
    }

    fn put_items(&mut self, path: &str, field: &FieldDescriptor, items: &[Value]) {
        let Kind::Message(_) = field.kind() else {
            self.put_list(path, items.iter().map(|item| text(field, item)));
            return;
        };
        let mut names = Vec::new();
        for (at, item) in items.iter().enumerate() {
            let own = item
                .as_message()
                .and_then(|it| it.get_field_by_name("name"));
            let name = own.as_deref().and_then(Value::as_str);
            let place = name.map_or_else(|| format!("{path}[{at}]"), |it| format!("{path}.{it}"));
            names.extend(name.map(str::to_owned));
            self.put_value(place, field, item);
        }
        self.put_list(path, names);
    }

    fn put_value(&mut self, path: String, field: &FieldDescriptor, value: &Value) {
        match value {
            Value::Message(message) => self.put_fields(&path, message),
            value => self.put(path, text(field, value)),
        }
    }

    /// The paths whose values differ, in order.
    pub(crate) fn changes(&self, after: &Self) -> Vec<FieldChange> {
        let paths: std::collections::BTreeSet<_> = self.0.keys().chain(after.0.keys()).collect();
        paths
            .into_iter()
            .filter_map(|path| {
                let (before, after) = (self.0.get(path), after.0.get(path));
                (before != after).then(|| FieldChange {
                    path: path.clone(),
                    before: before.cloned().unwrap_or_default(),
                    after: after.cloned().unwrap_or_default(),
                })
            })
            .collect()
    }
}

/// A value as it stands in a file.
fn text(field: &FieldDescriptor, value: &Value) -> String {
    match (field.kind(), value) {
        (Kind::Enum(of), Value::EnumNumber(number)) => enum_name(&of, *number),
        (_, Value::String(text)) => text.clone(),
        (_, Value::Bool(it)) => it.to_string(),
        (_, Value::U32(number)) => number.to_string(),
        (_, Value::U64(number)) => number.to_string(),
        (_, value) => value.to_string(),
    }
}

/// `SAME_SITE_LAX` is `lax`.
fn enum_name(of: &EnumDescriptor, number: i32) -> String {
    let unspecified = of.default_value();
    let prefix = unspecified.name().strip_suffix("UNSPECIFIED");
    let value = of.get_value(number).unwrap_or(unspecified.clone());
    let name = value.name().strip_prefix(prefix.unwrap_or_default());
    let name = name.unwrap_or_default();
    name.to_ascii_lowercase().replace('_', "-")
}

#[cfg(test)]
mod tests {
    use lbfabric_proto::v1;

    use super::*;

    #[test]
    fn a_message_is_what_it_says_by_path() {
        let mut fields = Fields::default();
        let spec = v1::BalancingSpec {
            algorithm: v1::BalancingAlgorithm::LeastConnections.into(),
            sticky_cookie: Some(v1::StickyCookieSpec {
                name: "server".to_owned(),
                http_only: Some(false),
                ..v1::StickyCookieSpec::default()
            }),
            ..v1::BalancingSpec::default()
        };
        fields.put_message("b", "BalancingSpec", &spec);
        let pool = v1::PoolSpec {
            backends: ["x", "y"]
                .map(|name| v1::BackendSpec {
                    name: name.to_owned(),
                    addresses: vec!["::1".to_owned(), "::2".to_owned()],
                    ..v1::BackendSpec::default()
                })
                .into(),
            ..v1::PoolSpec::default()
        };
        fields.put_message("p", "PoolSpec", &pool);
        let expected = [
            ("b.algorithm", "least-connections"),
            ("b.sticky_cookie.http_only", "false"),
            ("b.sticky_cookie.name", "server"),
            ("p.backends", "x, y"),
            ("p.backends.x.addresses", "::1, ::2"),
            ("p.backends.x.name", "x"),
            ("p.backends.y.addresses", "::1, ::2"),
            ("p.backends.y.name", "y"),
        ];
        let expected = expected.map(|(path, value)| (path.to_owned(), value.to_owned()));
        assert_eq!(fields.0.into_iter().collect::<Vec<_>>(), expected);
    }
}
