//! The commands, one file each.

pub mod apply;
pub mod bgp;
pub mod cert;
pub mod completions;
pub mod delete;
pub mod dev;
pub mod diff;
pub mod explain;
mod file;
pub mod get;
pub mod logs;
pub mod man;
pub mod node;
pub mod nodes;
pub mod top;
pub mod validate;
pub mod vip;
pub mod watch;
