//! The operator's command line. The binary `lbfabric` only parses its arguments and runs [`cli::Cli`].
//!
//! ```text
//! cli ─► command::* ─► document   files to specifications and back
//!                  ├─► client     calls to one of several controllers
//!                  └─► output     tables and lists of changes
//! ```

pub mod cli;
pub mod client;
pub mod command;
pub mod document;
pub mod exit;
pub mod kind;
pub mod lab;
pub mod output;
