//! YAML text to a tree of nodes that know where they stand.
//!
//! The tree is built from the parser's events rather than with a loader, because every duplicate key is to be
//! reported, not the first one only, and because a string field wants the scalar as it was written.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use super::Place;

/// Nesting below which nothing of a fabric lies.
const DEPTH_MAX: usize = 32;
/// Nodes and bytes that aliases may add to a file.
const ALIAS_COST_MAX: usize = 1 << 24;

/// A node of a file.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Where it begins.
    pub(super) place: Place,
    /// Whether its end was seen: not if the file's syntax breaks off within it.
    pub(super) complete: bool,
    pub(super) content: Content,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    /// Keys in the order of the file, duplicates included.
    Map(Vec<(Node, Node)>),
}

/// What a file's text gave.
#[derive(Debug, Default)]
pub(super) struct Documents {
    /// The documents that hold something.
    pub(super) roots: Vec<Node>,
    /// What is wrong with the syntax, and where. What came before it is in `roots`.
    pub(super) faults: Vec<(Place, String)>,
}

/// Reads every document of `text`, which belongs to file number `file`.
pub(super) fn parse(file: usize, text: &str) -> Documents {
    let mut builder = Builder::new(file);
    let mut parser = Parser::new_from_str(text);
    loop {
        match parser.next_event() {
            None | Some(Ok((Event::StreamEnd, _))) => break,
            Some(Ok((event, span))) => {
                if let Err(reason) = builder.event(event, span) {
                    let place = builder.place(span);
                    builder.documents.faults.push((place, reason));
                    break;
                }
            }
            Some(Err(error)) => {
                let place = builder.place(Span::empty(*error.marker()));
                builder.documents.faults.push((place, syntax(&error)));
                break;
            }
        }
    }
    builder.finish()
}

fn syntax(error: &ScanError) -> String {
    format!("not valid YAML: {}", error.info())
}

/// A collection whose end has not come yet.
struct Open {
    node: Node,
    anchor: usize,
    /// In a mapping, the key whose value comes next.
    key: Option<Node>,
}

struct Builder {
    file: usize,
    stack: Vec<Open>,
    anchors: BTreeMap<usize, Node>,
    alias_cost: usize,
    documents: Documents,
}

// === impl Node ===

impl Node {
    /// Whether this is YAML's null: nothing, `~` or `null`, without quotes.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.content, Content::Scalar { text, plain: true }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// The text of a scalar.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar { text, plain: _ } => Some(text),
            Content::List(_) | Content::Map(_) => None,
        }
    }

    /// The node in a user's words.
    pub(super) fn describe(&self) -> String {
        match &self.content {
            _ if self.is_null() => "nothing".to_owned(),
            Content::Scalar { text, .. } if text.chars().count() <= 40 => {
                format!("`{}`", text.escape_debug())
            }
            Content::Scalar { .. } => "a long text".to_owned(),
            Content::List(_) => "a list".to_owned(),
            Content::Map(_) => "a mapping".to_owned(),
        }
    }

    /// How much a copy of it adds.
    fn cost(&self) -> usize {
        1 + match &self.content {
            Content::Scalar { text, .. } => text.len(),
            Content::List(items) => items.iter().map(Self::cost).sum(),
            Content::Map(entries) => entries.iter().map(|(k, v)| k.cost() + v.cost()).sum(),
        }
    }
}

// === impl Builder ===

impl Builder {
    fn new(file: usize) -> Self {
        Self {
            file,
            stack: Vec::new(),
            anchors: BTreeMap::new(),
            alias_cost: 0,
            documents: Documents::default(),
        }
    }

    fn place(&self, span: Span) -> Place {
        Place {
            file: self.file,
            line: span.start.line().max(1),
            column: span.start.col() + 1,
        }
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), String> {
        let place = self.place(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let quoted =
                    style != ScalarStyle::Plain || tag.is_some_and(|tag| tag.suffix == "str");
                let content = Content::Scalar {
                    text: text.into_owned(),
                    plain: !quoted,
                };
                self.attach(
                    Node {
                        place,
                        complete: true,
                        content,
                    },
                    anchor,
                );
            }
            Event::Alias(id) => {
                let mut node = self
                    .anchors
                    .get(&id)
                    .cloned()
                    .ok_or("this alias stands within what it names; write the value out")?;
                self.alias_cost = self.alias_cost.saturating_add(node.cost());
                if self.alias_cost > ALIAS_COST_MAX {
                    return Err(
                        "the aliases of this file add too much; write the values out".to_owned(),
                    );
                }
                node.place = place;
                self.attach(node, 0);
            }
            Event::SequenceStart(anchor, _) => {
                self.open(place, anchor, Content::List(Vec::new()))?;
            }
            Event::MappingStart(anchor, _) => {
                self.open(place, anchor, Content::Map(Vec::new()))?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(true),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn open(&mut self, place: Place, anchor: usize, content: Content) -> Result<(), String> {
        if self.stack.len() >= DEPTH_MAX {
            return Err("nested too deeply; a fabric needs six levels".to_owned());
        }
        let node = Node {
            place,
            complete: false,
            content,
        };
        self.stack.push(Open {
            node,
            anchor,
            key: None,
        });
        Ok(())
    }

    fn close(&mut self, complete: bool) {
        if let Some(Open {
            mut node,
            anchor,
            key: _,
        }) = self.stack.pop()
        {
            node.complete = complete;
            self.attach(node, anchor);
        }
    }

    /// Puts a finished node where it belongs.
    fn attach(&mut self, node: Node, anchor: usize) {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(parent) = self.stack.last_mut() else {
            if !node.is_null() {
                self.documents.roots.push(node);
            }
            return;
        };
        match &mut parent.node.content {
            Content::List(items) => items.push(node),
            Content::Map(entries) => match parent.key.take() {
                None => parent.key = Some(node),
                Some(key) => entries.push((key, node)),
            },
            Content::Scalar { .. } => unreachable!("only collections are opened"),
        }
    }

    /// Closes what a broken syntax left open, so that what came before it is checked too.
    fn finish(mut self) -> Documents {
        while !self.stack.is_empty() {
            self.close(false);
        }
        self.documents
    }
}
