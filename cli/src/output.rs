//! What is printed: tables for people, JSON and YAML for programs.

mod bgp;
mod certificates;
mod changes;
mod event;
mod explanation;
mod nodes;
mod pools;
mod services;
mod style;
mod table;
mod vips;

pub use bgp::{bgp_neighbors, bgp_routes, vip_announcements};
pub use certificates::certificates;
pub use changes::{changes, is_different};
pub use event::event;
pub use explanation::explanation;
pub use nodes::nodes;
pub use pools::pools;
pub use services::services;
pub use style::Style;
pub use table::Table;
pub use vips::{vip_details, vips};

use std::io::{self, Write as _};

use crate::document::{Plain, json, yaml};

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A table for people.
    #[default]
    Table,
    /// A table with more columns.
    Wide,
    /// JSON: fields named as in the API, enum values as in files.
    Json,
    /// YAML, of the same shape.
    Yaml,
}

/// The option that chooses it.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct FormatArgs {
    /// How to print.
    #[arg(
        short = 'o',
        long = "output",
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    pub format: Format,
}

/// Writes to standard output. Whether there is still a reader is for the caller's caller: a broken pipe is success.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Writes a line to standard error, for people.
pub fn note(text: &str) {
    // Without stderr there is nobody to tell.
    drop(writeln!(io::stderr(), "{text}"));
}

// === impl Format ===

impl Format {
    /// Whether programs read it.
    pub fn is_data(self) -> bool {
        match self {
            Self::Json | Self::Yaml => true,
            Self::Table | Self::Wide => false,
        }
    }

    /// Prints a value in a format for programs.
    pub fn print(self, value: &Plain) -> anyhow::Result<()> {
        match self {
            Self::Yaml => print(&yaml(value)),
            Self::Json | Self::Table | Self::Wide => print(&json(value)),
        }
    }
}
