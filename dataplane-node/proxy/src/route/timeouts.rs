use std::time::Duration;

use super::InvalidRoute;
use crate::config::Timeouts;

/// The longest time that a rule may give.
const LONGEST: Duration = Duration::from_hours(24);

/// How long the parts of a request may take, where a route says it; elsewhere the service does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteTimeouts {
    /// A connection to a server.
    pub connect: Option<TimeLimit>,
    /// From the head on until the answer is sent whole, all attempts together. None: without end.
    pub total: Option<TimeLimit>,
    /// Between two parts of a body, and until a server's head has come.
    pub silence: Option<TimeLimit>,
    /// Without a byte in either direction, of a connection that has become another protocol's.
    pub tunnel: Option<TimeLimit>,
}

/// A time between a millisecond and a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeLimit(Duration);

impl TimeLimit {
    /// Of a field, which the error names.
    pub fn new(field: &str, time: Duration) -> Result<Self, InvalidRoute> {
        if (Duration::from_millis(1)..=LONGEST).contains(&time) {
            return Ok(Self(time));
        }
        let reason = format!("is between 1 ms and 24 h, or left out, not {time:?}");
        Err(InvalidRoute::new(field, reason))
    }

    /// As it was given.
    pub const fn time(self) -> Duration {
        self.0
    }
}

impl RouteTimeouts {
    /// The service's, with the route's in their place.
    pub fn over(self, service: Timeouts) -> Timeouts {
        let or = |own: Option<TimeLimit>, other| own.map_or(other, TimeLimit::time);
        Timeouts {
            connect: or(self.connect, service.connect),
            silence: or(self.silence, service.silence),
            tunnel: or(self.tunnel, service.tunnel),
            ..service
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_says_its_own() {
        let limit = |millis| TimeLimit::new("timeouts.connect", Duration::from_millis(millis));
        let own = RouteTimeouts {
            connect: Some(limit(20).unwrap()),
            tunnel: Some(limit(30).unwrap()),
            ..RouteTimeouts::default()
        };
        let service = Timeouts::default();
        let expected = Timeouts {
            connect: Duration::from_millis(20),
            tunnel: Duration::from_millis(30),
            ..service
        };
        assert_eq!(own.over(service), expected);
        assert!(limit(0).is_err() && limit(86_400_001).is_err() && limit(86_400_000).is_ok());
    }
}
