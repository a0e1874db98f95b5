//! Walks a document along the descriptors of the API, and notes every mistake on the way.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::{
    DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, Value,
};

use super::{
    Mistake, Place,
    schema::{enum_choices, kind_words},
    spelling::nearest,
    yaml::{Content, Node},
};

/// The longest piece of a file that is repeated in a path.
const KEY_SHOWN_MAX: usize = 40;

/// The state of the walk through one file.
#[derive(Debug, Default)]
pub(super) struct Walk {
    pub(super) mistakes: Vec<Mistake>,
    /// Paths whose value could not be used: whatever is said about them or about what is below them follows from that.
    pub(super) unusable: BTreeSet<String>,
    /// Keys that were taken for another field, by their place.
    pub(super) respelled: BTreeMap<Place, String>,
    /// The elements of the top-level lists, in the order in which they came.
    pub(super) elements: BTreeMap<String, Vec<Element>>,
    /// Depth within values that are read for their mistakes only.
    discarding: usize,
}

/// Where an element of a top-level list stands in its document.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element {
    pub(super) document: usize,
    pub(super) entry: usize,
    pub(super) item: usize,
}

/// Where the walk is.
#[derive(Clone, Copy)]
struct At<'a> {
    path: &'a str,
    document: usize,
    /// The entry of the document that is being read, if this is its top level.
    entry: Option<usize>,
}

impl Walk {
    /// Reads the root of a document.
    pub(super) fn root(
        &mut self,
        of: &MessageDescriptor,
        document: usize,
        node: &Node,
    ) -> DynamicMessage {
        let at = At {
            path: "",
            document,
            entry: None,
        };
        let Content::Map(entries) = &node.content else {
            let fields = field_names(of);
            self.unusable
                .extend(of.fields().map(|field| field.name().to_owned()));
            self.mistake(
                node.place,
                "",
                format!(
                    "expected a mapping with {fields}, found {}",
                    node.describe()
                ),
            );
            return DynamicMessage::new(of.clone());
        };
        self.entries(of, entries, at)
    }

    fn message(
        &mut self,
        of: &MessageDescriptor,
        node: &Node,
        at: At<'_>,
    ) -> Option<DynamicMessage> {
        match &node.content {
            Content::Map(entries) => Some(self.entries(of, entries, at)),
            Content::Scalar { .. } | Content::List(_) => {
                let fields = field_names(of);
                self.refuse(
                    node,
                    at,
                    &format!(
                        "expected a mapping with {fields}, found {}",
                        node.describe()
                    ),
                );
                None
            }
        }
    }

    fn entries(
        &mut self,
        of: &MessageDescriptor,
        entries: &[(Node, Node)],
        at: At<'_>,
    ) -> DynamicMessage {
        let mut message = DynamicMessage::new(of.clone());
        let mut seen: BTreeMap<String, Place> = BTreeMap::new();
        for (index, (key, value)) in entries.iter().enumerate() {
            let Some(word) = key.text() else {
                self.mistake(
                    key.place,
                    at.path,
                    format!("a key has to be text, not {}", key.describe()),
                );
                continue;
            };
            let path = join(at.path, &shown(word));
            let at = At {
                path: &path,
                document: at.document,
                entry: at.path.is_empty().then_some(index),
            };
            let field = match of.get_field_by_name(word) {
                Some(field) => field,
                None => match self.unknown(of, entries, key, word, &path) {
                    Some(field) => field,
                    None => continue,
                },
            };
            if let Some(first) = seen.get(field.name()) {
                let reason = format!(
                    "`{}` is there already, in line {}; remove one of them",
                    shown(word),
                    first.line
                );
                self.mistake(key.place, &path, reason);
                self.discarding += 1;
                self.field(&field, value, at);
                self.discarding -= 1;
                continue;
            }
            seen.insert(field.name().to_owned(), key.place);
            self.check_oneof(&field, &message, key, &path);
            if let Some(value) = self.field(&field, value, at) {
                message.set_field(&field, value);
            }
        }
        message
    }

    /// Reports an unknown key, and says which field it is taken for, so that its value is looked at as well.
    fn unknown(
        &mut self,
        of: &MessageDescriptor,
        entries: &[(Node, Node)],
        key: &Node,
        word: &str,
        path: &str,
    ) -> Option<FieldDescriptor> {
        let written: BTreeSet<&str> = entries.iter().filter_map(|(key, _)| key.text()).collect();
        let fields: Vec<FieldDescriptor> = of.fields().collect();
        let free = fields
            .iter()
            .map(FieldDescriptor::name)
            .filter(|name| !written.contains(name));
        let Some(meant) = nearest(word, free) else {
            let names = field_names(of);
            self.mistake(
                key.place,
                path,
                format!("unknown field; the fields here are {names}"),
            );
            return None;
        };
        self.mistake(
            key.place,
            path,
            format!("unknown field; did you mean `{meant}`?"),
        );
        self.respelled.insert(key.place, meant.to_owned());
        of.get_field_by_name(meant)
    }

    fn check_oneof(
        &mut self,
        field: &FieldDescriptor,
        message: &DynamicMessage,
        key: &Node,
        path: &str,
    ) {
        let Some(oneof) = field
            .containing_oneof()
            .filter(|oneof| !oneof.is_synthetic())
        else {
            return;
        };
        if let Some(other) = oneof.fields().find(|other| message.has_field(other)) {
            let reason = format!(
                "`{}` is there already, and only one of them may be; remove one",
                other.name()
            );
            self.mistake(key.place, path, reason);
        }
    }

    fn field(&mut self, field: &FieldDescriptor, node: &Node, at: At<'_>) -> Option<Value> {
        if node.is_null() {
            return None;
        }
        if field.is_list() {
            return self.list(field, node, at);
        }
        // A placeholder stands for what cannot be read: a missing value would be complained about a second time.
        let value = self.single(&field.kind(), node, at);
        Some(value.unwrap_or_else(|| Value::default_value(&field.kind())))
    }

    fn list(&mut self, field: &FieldDescriptor, node: &Node, at: At<'_>) -> Option<Value> {
        let Content::List(items) = &node.content else {
            let mut reason = format!("expected a list, found {}", node.describe());
            if let (Some(text), Kind::String) = (node.text(), field.kind()) {
                reason = format!("{reason}; write `[{}]`", shown(text));
            }
            self.refuse(node, at, &reason);
            return None;
        };
        let before = self.elements.get(field.name()).map_or(0, Vec::len);
        let base = if at.entry.is_some() { before } else { 0 };
        let mut values = Vec::with_capacity(items.len());
        for (item, node) in items.iter().enumerate() {
            let path = format!("{}[{}]", at.path, base + item);
            if let (Some(entry), 0) = (at.entry, self.discarding) {
                let element = Element {
                    document: at.document,
                    entry,
                    item,
                };
                self.elements
                    .entry(field.name().to_owned())
                    .or_default()
                    .push(element);
            }
            let at = At {
                path: &path,
                document: at.document,
                entry: None,
            };
            // The placeholder also keeps the indices of what follows.
            let value = self.single(&field.kind(), node, at);
            values.push(value.unwrap_or_else(|| Value::default_value(&field.kind())));
        }
        Some(Value::List(values))
    }

    fn single(&mut self, kind: &Kind, node: &Node, at: At<'_>) -> Option<Value> {
        if let Kind::Message(of) = kind {
            return self.message(of, node, at).map(Value::Message);
        }
        let Content::Scalar { text, plain } = &node.content else {
            self.refuse(
                node,
                at,
                &format!("expected {}, found {}", kind_words(kind), node.describe()),
            );
            return None;
        };
        if node.is_null() {
            self.refuse(
                node,
                at,
                &format!("expected {}, found nothing", kind_words(kind)),
            );
            return None;
        }
        match kind {
            Kind::String => Some(Value::String(text.clone())),
            Kind::Bool => self.boolean(node, text, *plain, at).map(Value::Bool),
            Kind::Uint32 => {
                let number = self.number(node, text, *plain, at, u32::MAX.into())?;
                Some(Value::U32(u32::try_from(number).unwrap_or(u32::MAX)))
            }
            Kind::Uint64 => self
                .number(node, text, *plain, at, u64::MAX)
                .map(Value::U64),
            Kind::Enum(of) => self.choice(of, node, text, at).map(Value::EnumNumber),
            _ => {
                self.refuse(node, at, "this field cannot be written in a file");
                None
            }
        }
    }

    fn boolean(&mut self, node: &Node, text: &str, plain: bool, at: At<'_>) -> Option<bool> {
        let value = match text {
            "true" | "True" | "TRUE" => Some(true),
            "false" | "False" | "FALSE" => Some(false),
            _ => None,
        };
        let reason = match value {
            Some(value) if plain => return Some(value),
            Some(value) => {
                format!("expected `true` or `false`, found a text; write {value} without quotes")
            }
            None => format!("expected `true` or `false`, found {}", node.describe()),
        };
        self.refuse(node, at, &reason);
        None
    }

    /// A number up to a highest one.
    fn number(
        &mut self,
        node: &Node,
        text: &str,
        plain: bool,
        at: At<'_>,
        max: u64,
    ) -> Option<u64> {
        let reason = match whole_number(text) {
            Some(number) if plain => match u64::try_from(number) {
                Ok(number) if number <= max => return Some(number),
                Ok(_) | Err(_) => format!("{} is out of range; use 0 to {max}", shown(text)),
            },
            Some(_) => format!(
                "expected a whole number, found a text; write {} without quotes",
                shown(text)
            ),
            None => format!("expected a whole number, found {}", node.describe()),
        };
        self.refuse(node, at, &reason);
        None
    }

    fn choice(&mut self, of: &EnumDescriptor, node: &Node, text: &str, at: At<'_>) -> Option<i32> {
        let choices = enum_choices(of);
        let by_name = choices
            .iter()
            .find(|(name, _)| name == text)
            .map(|(_, number)| *number);
        // The names that protobuf's own JSON has are taken as well.
        let spelt_out = of
            .get_value_by_name(text)
            .map(|value| value.number())
            .filter(|number| *number != 0);
        if let Some(number) = by_name.or(spelt_out) {
            return Some(number);
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| name.as_str()).collect();
        let guess = nearest(text, names.iter().copied())
            .map(|name| format!("did you mean `{name}`? "))
            .unwrap_or_default();
        let list = quoted(names.iter().copied());
        let word = words(of.name());
        self.refuse(
            node,
            at,
            &format!("{} is no {word}; {guess}use one of {list}", node.describe()),
        );
        None
    }

    /// Notes that the value at `at` cannot be used.
    fn refuse(&mut self, node: &Node, at: At<'_>, reason: &str) {
        // Of a key that is misspelt that much has been said; what it was taken for may be wrong.
        if self
            .mistakes
            .iter()
            .any(|m| m.path == at.path && m.place.line == node.place.line)
        {
            return;
        }
        self.unusable.insert(at.path.to_owned());
        self.mistake(node.place, at.path, reason.to_owned());
    }

    fn mistake(&mut self, place: Place, path: &str, reason: String) {
        self.mistakes.push(Mistake {
            place,
            path: path.to_owned(),
            reason,
        });
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

fn shown(text: &str) -> String {
    let mut shown: String = text.escape_debug().take(KEY_SHOWN_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// `BalancingAlgorithm` as people write it.
fn words(name: &str) -> String {
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

fn quoted<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

fn field_names(of: &MessageDescriptor) -> String {
    let fields: Vec<FieldDescriptor> = of.fields().collect();
    quoted(fields.iter().map(FieldDescriptor::name))
}

/// A whole number as YAML's core schema writes it.
fn whole_number(text: &str) -> Option<i128> {
    if let Some(digits) = text.strip_prefix("0x") {
        return digits
            .bytes()
            .all(|b| b.is_ascii_hexdigit())
            .then(|| i128::from_str_radix(digits, 16).ok())?;
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return digits
            .bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| i128::from_str_radix(digits, 8).ok())?;
    }
    text.parse().ok()
}
