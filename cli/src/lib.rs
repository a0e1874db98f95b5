//! The operator's command line. The binary `lbfabric` only parses its arguments and calls [`cli`].

pub mod cli;
pub mod lab;
