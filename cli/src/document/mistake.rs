use std::fmt;

use super::Source;

/// A position in one of the files that were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The file's index in the order of the command line.
    pub file: usize,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

/// Something in a file that has to be put right before it can be applied.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// Where.
    pub place: Place,
    /// The field's path within its file, such as `services[1].vips[0]`; empty for a mistake of syntax.
    pub path: String,
    /// What is wrong; what would be right.
    pub reason: String,
}

/// A mistake with its file's name: `FILE:LINE:COL: path: what is wrong; what would be right`.
struct Located<'a> {
    mistake: &'a Mistake,
    file: &'a str,
}

// === impl Mistake ===

impl Mistake {
    /// The mistake as a line for people and for editors that jump to positions.
    pub fn locate<'a>(&'a self, sources: &'a [Source]) -> impl fmt::Display + 'a {
        let file = sources
            .get(self.place.file)
            .map_or("-", |source| source.name.as_str());
        Located {
            mistake: self,
            file,
        }
    }
}

// === impl Located ===

impl fmt::Display for Located<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mistake {
            place,
            path,
            reason,
        } = self.mistake;
        write!(f, "{}:{}:{}: ", self.file, place.line, place.column)?;
        if !path.is_empty() {
            write!(f, "{path}: ")?;
        }
        f.write_str(reason)
    }
}
