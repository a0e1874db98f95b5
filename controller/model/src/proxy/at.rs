use std::collections::BTreeSet;

use super::number;
use crate::{Violation, source_rules};

/// Where a message stands, and the mistakes that are found.
pub(super) struct At<'v> {
    path: String,
    violations: &'v mut Vec<Violation>,
}

impl<'v> At<'v> {
    pub(super) fn new(path: &str, violations: &'v mut Vec<Violation>) -> Self {
        Self {
            path: path.to_owned(),
            violations,
        }
    }

    /// A field of the message.
    pub(super) fn field(&mut self, field: &str) -> At<'_> {
        At {
            path: self.of(field),
            violations: self.violations,
        }
    }

    /// An element of a field.
    pub(super) fn item(&mut self, field: &str, index: usize) -> At<'_> {
        self.field(&format!("{field}[{index}]"))
    }

    pub(super) fn refuse(&mut self, field: &str, reason: impl Into<String>) {
        self.violations.push(Violation::new(self.of(field), reason));
    }

    /// What was read, or a mistake of a field.
    pub(super) fn check<T>(&mut self, field: &str, read: Result<T, String>) -> Option<T> {
        read.map_err(|reason| self.refuse(field, reason)).ok()
    }

    /// Checks each element of a list, of which there may be so many, each once.
    pub(super) fn check_texts(
        &mut self,
        field: &str,
        texts: &[String],
        max: usize,
        check: impl Fn(&str) -> Result<(), String>,
    ) {
        self.at_most_items(field, texts.len(), max);
        let mut seen = BTreeSet::new();
        for (i, text) in texts.iter().enumerate() {
            let item = format!("{field}[{i}]");
            self.check(&item, check(text));
            if !seen.insert(text) {
                let text = crate::name::shortened(text);
                self.refuse(&item, format!("`{text}` stands here twice: name it once"));
            }
        }
    }

    pub(super) fn at_most_items(&mut self, field: &str, count: usize, max: usize) {
        if count > max {
            self.refuse(field, format!("{count} of them: give at most {max}"));
        }
    }

    /// Addresses and prefixes, as they are written.
    pub(super) fn sources(&mut self, field: &str, texts: &[String]) -> Vec<String> {
        let prefixes = source_rules::parse_list(texts, &self.of(field), self.violations);
        let texts = prefixes.into_iter().map(|(_, prefix)| prefix.to_string());
        texts.collect()
    }

    /// As [`number::or_default`].
    pub(super) fn or_default(
        &mut self,
        field: &str,
        value: u32,
        default: u32,
        range: (u32, u32),
    ) -> u32 {
        number::or_default(&self.of(field), value, default, range, self.violations)
    }

    /// A number of a range, or 0 where it is left out.
    pub(super) fn or_none(&mut self, field: &str, value: u32, (min, max): (u32, u32)) {
        if value != 0 && !(min..=max).contains(&value) {
            self.refuse(
                field,
                format!("{value} is out of range: use {min} to {max}, or leave it out"),
            );
        }
    }

    /// The mistakes, for what finds them by itself.
    pub(super) fn violations(&mut self) -> &mut Vec<Violation> {
        self.violations
    }

    /// The path of a field.
    pub(super) fn of(&self, field: &str) -> String {
        match field {
            "" => self.path.clone(),
            field => format!("{}.{field}", self.path),
        }
    }
}
