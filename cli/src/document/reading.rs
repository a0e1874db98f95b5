use std::collections::BTreeSet;

use lbfabric_proto::v1;
use prost_reflect::MessageDescriptor;

use super::{
    Mistake, Place, Source,
    schema::descriptor,
    walk::{Element, Walk},
    yaml::{self, Content, Node},
};

/// Fields that name an object of a list, with the list and the field in it.
const REFERENCES: &[(&str, &str)] = &[("pool", "pools")];

/// What a set of files says: the objects of all of them together, and what is wrong with them.
#[derive(Debug, Default)]
pub struct Reading {
    /// Everything that could be read, with placeholders for what could not.
    pub spec: v1::FabricSpec,
    mistakes: Vec<Mistake>,
    files: Vec<File>,
    /// The elements of `spec`'s lists, by list: the file and the index within it.
    origins: Vec<(String, Vec<(usize, usize)>)>,
}

/// One file, kept to find positions in.
#[derive(Debug)]
struct File {
    roots: Vec<Node>,
    walk: Walk,
    broken: bool,
}

/// Where a violation belongs.
struct Found {
    place: Place,
    path: String,
}

/// Reads files. Never fails: whatever is wrong is among the mistakes.
pub fn read(sources: &[Source]) -> Reading {
    let of = descriptor("FabricSpec");
    let mut reading = Reading {
        origins: of
            .fields()
            .map(|field| (field.name().to_owned(), Vec::new()))
            .collect(),
        ..Reading::default()
    };
    for (index, source) in sources.iter().enumerate() {
        reading.add(&of, index, source);
    }
    reading
}

impl Reading {
    fn add(&mut self, of: &MessageDescriptor, index: usize, source: &Source) {
        let documents = match std::str::from_utf8(&source.bytes) {
            Ok(text) => yaml::parse(index, text.strip_prefix('\u{feff}').unwrap_or(text)),
            Err(error) => yaml::Documents {
                roots: Vec::new(),
                faults: vec![not_utf8(index, &source.bytes[..error.valid_up_to()])],
            },
        };
        let mut walk = Walk::default();
        for (document, root) in documents.roots.iter().enumerate() {
            let message = walk.root(of, document, root);
            let spec: v1::FabricSpec = message
                .transcode_to()
                .expect("the message has the type of the descriptor");
            let v1::FabricSpec {
                pools,
                services,
                nodes,
                certificates,
            } = spec;
            self.spec.pools.extend(pools);
            self.spec.services.extend(services);
            self.spec.nodes.extend(nodes);
            self.spec.certificates.extend(certificates);
        }
        let broken = !documents.faults.is_empty();
        if documents.roots.is_empty() && !broken {
            let place = Place {
                file: index,
                line: 1,
                column: 1,
            };
            let reason =
                "no objects here; write `pools:`, `services:`, `nodes:` or `certificates:`, or `{}` for none"
                    .to_owned();
            self.mistakes.push(Mistake {
                place,
                path: String::new(),
                reason,
            });
        }
        for (place, reason) in documents.faults {
            self.mistakes.push(Mistake {
                place,
                path: String::new(),
                reason,
            });
        }
        self.mistakes.append(&mut walk.mistakes);
        for (list, origins) in &mut self.origins {
            let count = walk.elements.get(list).map_or(0, Vec::len);
            origins.extend((0..count).map(|local| (index, local)));
        }
        self.files.push(File {
            roots: documents.roots,
            walk,
            broken,
        });
    }

    /// Adds what the controller or the model finds wrong with `spec`, by path. Left out are the consequences of mistakes that
    /// are known already.
    pub fn merge(&mut self, violations: impl IntoIterator<Item = (String, String)>) {
        for (path, reason) in violations {
            if self.dangling(&path) {
                continue;
            }
            let Some(Found { place, path }) = self.locate(&path) else {
                continue;
            };
            let mistake = Mistake {
                place,
                path,
                reason,
            };
            if !self.mistakes.contains(&mistake) {
                self.mistakes.push(mistake);
            }
        }
    }

    /// Every mistake, by position.
    pub fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = self.mistakes.clone();
        mistakes.sort();
        mistakes
    }

    /// Whether nothing is wrong so far.
    pub fn is_clean(&self) -> bool {
        self.mistakes.is_empty()
    }

    /// Whether `path` refers to another object while not every such object could be read.
    fn dangling(&self, path: &str) -> bool {
        let field = path.rsplit('.').next().unwrap_or(path);
        REFERENCES
            .iter()
            .filter(|(reference, _)| *reference == field)
            .any(|(_, list)| self.files.iter().any(|file| file.hides_names_of(list)))
    }

    /// Finds the position for a path into `spec`; `None` if what it says follows from a mistake that is known already.
    fn locate(&self, path: &str) -> Option<Found> {
        let (list, rest) = split_list(path);
        let Some((index, rest)) = rest else {
            // Said of a whole list, or of something that no file has.
            return Some(Found {
                place: self.first_place(list),
                path: path.to_owned(),
            });
        };
        let origin = self.origins.iter().find(|(name, _)| name == list);
        let Some((file, local)) = origin.and_then(|(_, origins)| origins.get(index).copied())
        else {
            return Some(Found {
                place: self.first_place(list),
                path: path.to_owned(),
            });
        };
        let local_path = format!("{list}[{local}]{rest}");
        let file = self.files.get(file)?;
        if file.is_known(&local_path) {
            return None;
        }
        let node = file.element(list, local)?;
        if !node.complete {
            return None;
        }
        let place = file.descend(node, rest);
        let respelt = self.mistakes.iter().any(|m| {
            m.path == local_path
                && m.place.file == place.file
                && file.walk.unusable.contains(&m.path)
        });
        (!respelt).then_some(Found {
            place,
            path: local_path,
        })
    }

    /// The place of the first key `list`, or else the beginning.
    fn first_place(&self, list: &str) -> Place {
        let mut keys =
            self.files
                .iter()
                .flat_map(|file| &file.roots)
                .filter_map(|root| match &root.content {
                    Content::Map(entries) => entries
                        .iter()
                        .map(|(key, _)| key)
                        .find(|key| key.text() == Some(list)),
                    Content::Scalar { .. } | Content::List(_) => None,
                });
        keys.next().map_or(
            Place {
                file: 0,
                line: 1,
                column: 1,
            },
            |key| key.place,
        )
    }
}

// === impl File ===

impl File {
    /// Whether objects of `list` may be there whose names could not be read.
    fn hides_names_of(&self, list: &str) -> bool {
        self.broken
            || self
                .walk
                .unusable
                .iter()
                .any(|path| match split_list(path) {
                    (name, None) => name == list,
                    (name, Some((_, rest))) => name == list && matches!(rest, "" | ".name"),
                })
    }

    /// Whether `path`, or something that it is part of, has been found unusable.
    fn is_known(&self, path: &str) -> bool {
        let ends = path
            .char_indices()
            .filter(|(_, c)| matches!(c, '.' | '['))
            .map(|(end, _)| end)
            .chain([path.len()]);
        let unusable: BTreeSet<&str> = ends.map(|end| &path[..end]).collect();
        unusable
            .iter()
            .any(|path| self.walk.unusable.contains(*path))
    }

    fn element(&self, list: &str, local: usize) -> Option<&Node> {
        let Element {
            document,
            entry,
            item,
        } = *self.walk.elements.get(list)?.get(local)?;
        let Content::Map(entries) = &self.roots.get(document)?.content else {
            return None;
        };
        match &entries.get(entry)?.1.content {
            Content::List(items) => items.get(item),
            Content::Scalar { .. } | Content::Map(_) => None,
        }
    }

    /// Follows `path` as far as the file goes, and says where that is.
    fn descend(&self, from: &Node, path: &str) -> Place {
        let mut node = from;
        let mut place = from.place;
        for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
            let next = match &node.content {
                Content::List(items) => step
                    .strip_suffix(']')
                    .and_then(|step| step.parse::<usize>().ok())
                    .and_then(|index| items.get(index)),
                Content::Map(entries) => entries
                    .iter()
                    .find(|(key, _)| self.means(key, step))
                    .map(|(_, value)| value),
                Content::Scalar { .. } => None,
            };
            match next {
                Some(next) => (node, place) = (next, next.place),
                None => break,
            }
        }
        place
    }

    fn means(&self, key: &Node, field: &str) -> bool {
        key.text() == Some(field)
            || self
                .walk
                .respelled
                .get(&key.place)
                .is_some_and(|meant| meant == field)
    }
}

/// Splits `services[1].vips[0]` into `services`, and 1 with `.vips[0]`.
fn split_list(path: &str) -> (&str, Option<(usize, &str)>) {
    let Some((list, rest)) = path.split_once('[') else {
        return (path, None);
    };
    let index = rest
        .split_once(']')
        .and_then(|(index, rest)| Some((index.parse().ok()?, rest)));
    (list, index)
}

fn not_utf8(file: usize, valid: &[u8]) -> (Place, String) {
    let text = String::from_utf8_lossy(valid);
    let line_start = text.rfind('\n').map_or(0, |end| end + 1);
    let place = Place {
        file,
        line: text.matches('\n').count() + 1,
        column: text[line_start..].chars().count() + 1,
    };
    (place, "not valid UTF-8; save the file in UTF-8".to_owned())
}
