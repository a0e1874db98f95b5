//! Health checks: a pure state machine for each server's address, and the task that probes it.
//!
//! ```text
//! Prober task ── ProbeResult ──► HealthTable ── HealthView ──► plan
//!  (one for each address)         (one ProbeState for each address)
//! ```

mod probe_state;
mod prober;
mod table;

pub(crate) use prober::{ProbeResult, Probers};
pub(crate) use table::{HealthChange, HealthTable};
