//! The built binary against a real controller on a port of the loopback.

#[path = "cli/apply.rs"]
mod apply;
#[path = "cli/cert.rs"]
mod cert;
#[path = "cli/dev.rs"]
mod dev;
#[path = "cli/documents.rs"]
mod documents;
#[path = "cli/fabric.rs"]
mod fabric;
#[path = "cli/failure.rs"]
mod failure;
#[path = "cli/features.rs"]
mod features;
#[path = "cli/get.rs"]
mod get;
#[path = "cli/routes.rs"]
mod routes;
#[path = "cli/watch.rs"]
mod watch;
