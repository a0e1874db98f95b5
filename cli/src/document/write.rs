//! Messages of the API as JSON and YAML, in the shape that files have.

use std::fmt::Write as _;

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage as _, Value};
use serde::{Serialize, Serializer, ser::SerializeMap as _};

use super::schema::enum_name;

/// A value in the order in which it is to be written.
#[derive(Clone, Debug, PartialEq)]
pub enum Plain {
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(serde_json::Number),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Plain>),
    /// A mapping, in order.
    Map(Vec<(String, Plain)>),
}

/// Whether fields that hold their type's default are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defaults {
    /// Left out: the form of files.
    LeftOut,
    /// Written, so that scripts find every field.
    Written,
}

/// A message as a plain value: field names as in the API, enum values as in files.
pub fn plain(message: &DynamicMessage, defaults: Defaults) -> Plain {
    let fields = message.descriptor();
    let entries = fields.fields().filter_map(|field| {
        let absent = !message.has_field(&field);
        if absent && (defaults == Defaults::LeftOut || field.supports_presence()) {
            return None;
        }
        let value = field_value(&field, &message.get_field(&field), defaults);
        Some((field.name().to_owned(), value))
    });
    Plain::Map(entries.collect())
}

/// JSON, indented, with a newline at its end.
pub fn json(value: &Plain) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("a plain value has text keys only");
    text.push('\n');
    text
}

/// YAML: mappings in block style, lists of scalars on one line.
pub fn yaml(value: &Plain) -> String {
    let mut out = String::new();
    match value {
        Plain::Map(entries) if !entries.is_empty() => map(&mut out, entries, 0),
        Plain::List(items) if !items.is_empty() => list(&mut out, items, 0),
        other => {
            inline(&mut out, other);
            out.push('\n');
        }
    }
    out
}

fn field_value(field: &FieldDescriptor, value: &Value, defaults: Defaults) -> Plain {
    match value {
        Value::List(items) => Plain::List(
            items
                .iter()
                .map(|item| field_value(field, item, defaults))
                .collect(),
        ),
        Value::Map(entries) => {
            let mut entries: Vec<(String, Plain)> = entries
                .iter()
                .map(|(key, value)| (key_text(key), scalar(value, defaults)))
                .collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Plain::Map(entries)
        }
        Value::EnumNumber(number) => match field.kind() {
            Kind::Enum(of) => Plain::Text(enum_name(&of, *number)),
            _ => Plain::Number((*number).into()),
        },
        // A single port is written as people write it, as a number.
        Value::String(text) if field.full_name() == "lbfabric.v1.ServiceSpec.ports" => port(text),
        other => scalar(other, defaults),
    }
}

fn port(text: &str) -> Plain {
    match text.parse::<u16>() {
        Ok(port) if port.to_string() == text => Plain::Number(port.into()),
        Ok(_) | Err(_) => Plain::Text(text.to_owned()),
    }
}

fn scalar(value: &Value, defaults: Defaults) -> Plain {
    match value {
        Value::Bool(value) => Plain::Bool(*value),
        Value::I32(value) => Plain::Number((*value).into()),
        Value::I64(value) => Plain::Number((*value).into()),
        Value::U32(value) => Plain::Number((*value).into()),
        Value::U64(value) => Plain::Number((*value).into()),
        Value::F32(value) => float(f64::from(*value)),
        Value::F64(value) => float(*value),
        Value::String(text) => Plain::Text(text.clone()),
        Value::Bytes(bytes) => Plain::List(
            bytes
                .iter()
                .map(|byte| Plain::Number((*byte).into()))
                .collect(),
        ),
        Value::Message(message) => plain(message, defaults),
        Value::EnumNumber(number) => Plain::Number((*number).into()),
        Value::List(_) | Value::Map(_) => unreachable!("protobuf has no lists or maps of these"),
    }
}

fn float(value: f64) -> Plain {
    serde_json::Number::from_f64(value)
        .map_or_else(|| Plain::Text(value.to_string()), Plain::Number)
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

fn map(out: &mut String, entries: &[(String, Plain)], indent: usize) {
    for (index, (key, value)) in entries.iter().enumerate() {
        if index > 0 {
            pad(out, indent);
        }
        text(out, key);
        out.push(':');
        nested(out, value, indent + 2, true);
    }
}

fn list(out: &mut String, items: &[Plain], indent: usize) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            pad(out, indent);
        }
        out.push('-');
        nested(out, item, indent + 2, false);
    }
}

/// Writes what follows a key or a hyphen, to the end of the line.
fn nested(out: &mut String, value: &Plain, indent: usize, own_line: bool) {
    let block = match value {
        Plain::Map(entries) => !entries.is_empty(),
        Plain::List(items) => !items.iter().all(is_scalar),
        Plain::Bool(_) | Plain::Number(_) | Plain::Text(_) => false,
    };
    if block && own_line {
        out.push('\n');
        pad(out, indent);
    } else {
        out.push(' ');
    }
    match value {
        Plain::Map(entries) if block => map(out, entries, indent),
        Plain::List(items) if block => list(out, items, indent),
        other => {
            inline(out, other);
            out.push('\n');
        }
    }
}

fn is_scalar(value: &Plain) -> bool {
    matches!(value, Plain::Bool(_) | Plain::Number(_) | Plain::Text(_))
}

fn inline(out: &mut String, value: &Plain) {
    match value {
        Plain::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Plain::Number(number) => out.push_str(&number.to_string()),
        Plain::Text(value) => text(out, value),
        Plain::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                inline(out, item);
            }
            out.push(']');
        }
        Plain::Map(_) => out.push_str("{}"),
    }
}

/// Bare where no reader of YAML could take it for anything but a text, in double quotes otherwise.
fn text(out: &mut String, value: &str) {
    if is_bare(value) {
        out.push_str(value);
        return;
    }
    out.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}'
                if !matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}') =>
            {
                out.push(c);
            }
            ' '..='~' => out.push(c),
            other => escape(out, other),
        }
    }
    out.push('"');
}

fn escape(out: &mut String, c: char) {
    write!(out, "\\U{:08x}", u32::from(c)).expect("a string takes everything");
}

fn is_bare(value: &str) -> bool {
    let starts_well = value.starts_with(|c: char| c.is_ascii_alphanumeric());
    let ends_well = value.ends_with(|c: char| c.is_ascii_alphanumeric());
    let simple = value
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/'));
    starts_well && ends_well && simple && !is_other_type(value)
}

/// Whether YAML, of any version, has a boolean, a null, a number or a date that is written like this.
fn is_other_type(value: &str) -> bool {
    let word = value.to_lowercase();
    let reserved = matches!(
        word.as_str(),
        "y" | "n"
            | "yes"
            | "no"
            | "on"
            | "off"
            | "true"
            | "false"
            | "null"
            | "nan"
            | "inf"
            | "infinity"
    );
    let number = word.parse::<f64>().is_ok()
        || ["0x", "0o", "0b"]
            .iter()
            .any(|prefix| word.starts_with(prefix))
        || word
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'_' | b'.'));
    let dated = word.len() >= 8
        && word.as_bytes()[4] == b'-'
        && word.bytes().filter(|b| *b == b'-').count() == 2;
    reserved || (number && word.bytes().filter(|b| *b == b'.').count() < 3) || dated
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

// === impl Plain ===

impl Serialize for Plain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(value) => value.serialize(serializer),
            Self::Number(number) => number.serialize(serializer),
            Self::Text(text) => text.serialize(serializer),
            Self::List(items) => items.serialize(serializer),
            Self::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}
