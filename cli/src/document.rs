//! Files of objects: YAML (and so JSON) in the shape of `lbfabric.v1.FabricSpec`.
//!
//! ```text
//! Source ─ yaml::parse ─► Node tree ─ walk along the descriptors ─► FabricSpec
//!   text                  line:column          │                    + Mistakes of the reader
//!                                              ▼                          │
//!            controller or model: Violations by path ─ Reading::merge ─► Mistakes, by position
//! ```

mod mistake;
mod reading;
mod schema;
mod source;
mod spelling;
mod walk;
mod write;
mod yaml;

pub use mistake::{Mistake, Place};
pub use reading::{Reading, read};
pub use schema::{enum_name, message};
pub use source::{FileArg, Source};
pub use write::{Defaults, Plain, json, plain, yaml};

#[cfg(test)]
mod proptests;
#[cfg(test)]
mod tests;
