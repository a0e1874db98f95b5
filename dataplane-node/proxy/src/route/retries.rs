use std::cell::Cell;

use super::InvalidRoute;

/// Attempts beside the first one.
const ATTEMPTS_MAX: u8 = 10;
/// Retries that a service may make at once after a quiet time.
const SAVED_MAX: u32 = 10;
/// What one retry takes of a budget: a request gives as many as the percentage says.
const RETRY: u32 = 100;

/// Which requests are sent again. The default: none, but for those whose waiting connection the server had closed.
///
/// A connection that could not be made has carried nothing, so any request may be sent over another one. Once a request was sent, the
/// server may have acted on it: only those that do the same when sent twice (RFC 9110 section 9.2.2) are sent again, and
/// others only if the route declares that they may be. What was sent of a body is gone, so a request with a body is never sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    attempts: u8,
    budget_percent: u8,
    /// A bit for each failure.
    on: u8,
    any_method: bool,
}

/// What has happened to an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// No connection could be made in time.
    Connect,
    /// The connection has ended before anything of an answer came.
    Reset,
    /// The answer is a 502.
    BadGateway,
    /// The answer is a 503.
    Unavailable,
    /// The answer is a 504.
    GatewayTimeout,
}

/// What a retry depends on, of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempted {
    /// So many retries were made already.
    pub retries: u8,
    /// RFC 9110 section 9.2.2.
    pub is_idempotent: bool,
    /// It has a body.
    pub has_body: bool,
}

/// What a worker has left for retries of a service: a share of the requests that came.
#[derive(Debug)]
pub struct RetryBudget(Cell<u32>);

// === impl Failure ===

impl Failure {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Connect,
        Self::Reset,
        Self::BadGateway,
        Self::Unavailable,
        Self::GatewayTimeout,
    ];

    /// Of an answer; none if it is none.
    pub const fn of_status(status: u16) -> Option<Self> {
        match status {
            502 => Some(Self::BadGateway),
            503 => Some(Self::Unavailable),
            504 => Some(Self::GatewayTimeout),
            _ => None,
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

// === impl Retries ===

impl Retries {
    /// None.
    pub const NONE: Self = Self {
        attempts: 0,
        budget_percent: 0,
        on: 0,
        any_method: false,
    };

    /// So many attempts beside the first, after these failures, as long as retries are at most this share of all requests. `any_method` declares
    /// that requests of the route do no harm when they come twice.
    pub fn new(
        attempts: u8,
        on: &[Failure],
        budget_percent: u8,
        any_method: bool,
    ) -> Result<Self, InvalidRoute> {
        if !(1..=ATTEMPTS_MAX).contains(&attempts) {
            let reason = format!(
                "are 1 to {ATTEMPTS_MAX} beside the first, or leave retries out, not {attempts}"
            );
            return Err(InvalidRoute::new("retries.attempts", reason));
        }
        if !(1..=100).contains(&budget_percent) {
            let reason = format!("is a share of the requests, 1 to 100, not {budget_percent}");
            return Err(InvalidRoute::new("retries.budget_percent", reason));
        }
        if on.is_empty() {
            let reason = "names at least one of connect, reset, 502, 503 and 504";
            return Err(InvalidRoute::new("retries.on", reason));
        }
        Ok(Self {
            attempts,
            budget_percent,
            on: on.iter().fold(0, |bits, failure| bits | failure.bit()),
            any_method,
        })
    }

    /// Notes a request that may be sent again.
    pub fn note(&self, budget: &RetryBudget) {
        let saved = budget.0.get() + u32::from(self.budget_percent);
        budget.0.set(saved.min(SAVED_MAX * RETRY));
    }

    /// Whether it might be sent again, were there budget.
    pub fn may(&self, failure: Failure, attempted: Attempted) -> bool {
        if attempted.retries >= self.attempts {
            return false;
        }
        let is_safe = !attempted.has_body && (attempted.is_idempotent || self.any_method);
        self.on & failure.bit() != 0 && (failure == Failure::Connect || is_safe)
    }

    /// Whether it is sent again, which takes of the budget.
    pub fn take(&self, failure: Failure, attempted: Attempted, budget: &RetryBudget) -> bool {
        if !self.may(failure, attempted) {
            return false;
        }
        let left = budget.0.get().checked_sub(RETRY);
        if let Some(left) = left {
            budget.0.set(left);
        }
        left.is_some()
    }
}

impl Default for Retries {
    fn default() -> Self {
        Self::NONE
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self(Cell::new(SAVED_MAX * RETRY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &[Failure] = &Failure::ALL;
    const SAFE: Attempted = Attempted {
        retries: 0,
        is_idempotent: true,
        has_body: false,
    };

    #[test]
    fn only_what_is_safe_is_sent_again() {
        let retries = Retries::new(2, ALL, 20, false).unwrap();
        let declared = Retries::new(2, ALL, 20, true).unwrap();
        let post = Attempted {
            is_idempotent: false,
            ..SAFE
        };
        let put = Attempted {
            has_body: true,
            ..SAFE
        };
        for failure in Failure::ALL
            .into_iter()
            .filter(|it| *it != Failure::Connect)
        {
            assert!(retries.may(failure, SAFE), "{failure:?}");
            assert!(!retries.may(failure, post), "{failure:?}");
            assert!(declared.may(failure, post), "{failure:?}");
            assert!(!declared.may(failure, put), "{failure:?}");
        }
        for attempted in [SAFE, post, put] {
            assert!(retries.may(Failure::Connect, attempted), "{attempted:?}");
        }
        assert_eq!(Failure::of_status(500), None);
        assert!(!retries.may(Failure::Connect, Attempted { retries: 2, ..SAFE }));
        assert!(!Retries::NONE.may(Failure::Connect, SAFE));
    }

    #[test]
    fn each_failure_is_asked_for_by_itself() {
        for asked in Failure::ALL {
            let retries = Retries::new(1, &[asked], 10, false).unwrap();
            for failure in Failure::ALL {
                assert_eq!(
                    retries.may(failure, SAFE),
                    failure == asked,
                    "{failure:?} of {asked:?}"
                );
            }
        }
        let statuses = [502, 503, 504].map(|status| Failure::of_status(status).unwrap());
        assert_eq!(statuses, Failure::ALL[2..]);
    }

    #[test]
    fn retries_are_a_share_of_the_requests() {
        let retries = Retries::new(1, ALL, 20, false).unwrap();
        let budget = RetryBudget::default();
        let taken = (0..1_000).filter(|_| {
            retries.note(&budget);
            retries.take(Failure::Connect, SAFE, &budget)
        });
        let taken = taken.count();
        assert!((200..=211).contains(&taken), "{taken} of 1000");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let field = |result: Result<Retries, InvalidRoute>| result.unwrap_err().field;
        assert_eq!(field(Retries::new(0, ALL, 20, false)), "retries.attempts");
        assert_eq!(field(Retries::new(11, ALL, 20, false)), "retries.attempts");
        assert_eq!(
            field(Retries::new(1, ALL, 0, false)),
            "retries.budget_percent"
        );
        assert_eq!(
            field(Retries::new(1, ALL, 101, false)),
            "retries.budget_percent"
        );
        assert_eq!(field(Retries::new(1, &[], 20, false)), "retries.on");
    }
}
