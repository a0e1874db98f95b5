//! The wish to stop, which every wait of the lab looks at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// Pause between two looks at what is waited for.
const POLL: Duration = Duration::from_millis(5);

/// Set once, by a signal; shared by all threads of a run.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Asks for the run to end.
    pub fn raise(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether the run was asked to end.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// An error if the run was asked to end.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.is_raised() {
            bail!("interrupted");
        }
        Ok(())
    }

    /// Polls until `probe` gives a value, at most for `limit`; the error then says `what` was waited for and what the last
    /// probe said.
    pub fn poll<T>(
        &self,
        what: &str,
        limit: Duration,
        mut probe: impl FnMut() -> anyhow::Result<Result<T, String>>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + limit;
        loop {
            self.check()?;
            match probe().with_context(|| format!("waiting until {what}"))? {
                Ok(value) => return Ok(value),
                Err(missing) if Instant::now() >= deadline => {
                    bail!(
                        "not within {} s: {what}; last seen: {missing}",
                        limit.as_secs_f32()
                    )
                }
                Err(_) => std::thread::sleep(POLL),
            }
        }
    }
}
