use super::{
    conditions::{Conditions, Paths},
    hash::Map,
};

/// A route's place in the order that they were given in.
pub(super) type RouteAt = u32;

/// The routes of one host pattern, by their paths: a tree of segments. A path is walked once, from the root on; then the routes of its whole, those
/// with regular expressions, and those of its prefixes, from the longest on, are looked at.
#[derive(Debug)]
pub(super) struct PathIndex {
    nodes: Vec<Node>,
    regexes: Vec<RouteAt>,
}

#[derive(Debug, Default)]
struct Node {
    children: Map<usize>,
    /// Of the path that ends here.
    exact: Vec<RouteAt>,
    /// Of the paths that go through here or end here.
    below: Vec<RouteAt>,
    /// The next node towards the root that has any of the latter.
    above: Option<usize>,
}

const ROOT: usize = 0;

impl PathIndex {
    /// Of routes in their order.
    pub(super) fn new<'r>(routes: impl Iterator<Item = (RouteAt, &'r Conditions)>) -> Self {
        let mut index = Self {
            nodes: vec![Node::default()],
            regexes: Vec::new(),
        };
        for (at, conditions) in routes {
            match &conditions.path.0 {
                Paths::Exact(path) => {
                    let node = index.node(path);
                    index.nodes[node].exact.push(at);
                }
                Paths::Below(path) => {
                    let node = if path.is_empty() {
                        ROOT
                    } else {
                        index.node(path)
                    };
                    index.nodes[node].below.push(at);
                }
                Paths::Matching(_) => index.regexes.push(at),
            }
        }
        index.link();
        index
    }

    /// The node of a path, which is made if there is none.
    fn node(&mut self, path: &str) -> usize {
        segments(path).fold(ROOT, |parent, segment| {
            if let Some(child) = self.nodes[parent].children.get(segment) {
                return *child;
            }
            let child = self.nodes.len();
            self.nodes.push(Node::default());
            self.nodes[parent].children.insert(segment.into(), child);
            child
        })
    }

    /// Fills in the ways to the root. A child is always behind its parent.
    fn link(&mut self) {
        for parent in 0..self.nodes.len() {
            let node = &self.nodes[parent];
            let above = if node.below.is_empty() {
                node.above
            } else {
                Some(parent)
            };
            let children: Vec<usize> = node.children.values().copied().collect();
            for child in children {
                self.nodes[child].above = above;
            }
        }
    }

    pub(super) fn regexes(&self) -> usize {
        self.regexes.len()
    }

    /// The first route for a path that `fits`, which is asked by the order of precedence.
    pub(super) fn find(
        &self,
        path: &str,
        steps: &mut u32,
        mut fits: impl FnMut(RouteAt) -> bool,
    ) -> Option<RouteAt> {
        let (mut deepest, mut is_whole) = (ROOT, true);
        for segment in segments(path) {
            *steps += 1;
            let Some(child) = self.nodes[deepest].children.get(segment) else {
                is_whole = false;
                break;
            };
            deepest = *child;
        }
        let mut first = |routes: &[RouteAt], steps: &mut u32| {
            routes.iter().copied().find(|at| {
                *steps += 1;
                fits(*at)
            })
        };
        let node = &self.nodes[deepest];
        let exact = if is_whole { &node.exact[..] } else { &[] };
        let found = first(exact, steps).or_else(|| first(&self.regexes, steps));
        if found.is_some() {
            return found;
        }
        let mut next = if node.below.is_empty() {
            node.above
        } else {
            Some(deepest)
        };
        while let Some(at) = next {
            *steps += 1;
            let node = &self.nodes[at];
            if let Some(found) = first(&node.below, steps) {
                return Some(found);
            }
            next = node.above;
        }
        None
    }
}

/// The parts between slashes: an empty one behind a last slash, and none of `*`.
fn segments(path: &str) -> impl Iterator<Item = &[u8]> {
    let inner = path.strip_prefix('/');
    inner
        .into_iter()
        .flat_map(|inner| inner.as_bytes().split(|byte| *byte == b'/'))
}
