use lbfabric_proto::v1;

use crate::{Violation, fields::Fields, wire_enum::WireEnum as _};

const ONE_IN_MAX: u32 = 1_000_000;

/// The access log of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// How lines are written.
    pub format: AccessLogFormat,
    /// One request in so many; none if it is 0.
    pub sample_one_in: u32,
    /// Every one that went wrong, too.
    pub errors: bool,
}

/// How the lines of an access log are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessLogFormat {
    /// As objects.
    #[default]
    Json,
    /// As Apache does.
    Combined,
}

/// What servers are told of traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    /// One in so many new ones is said to be recorded; none if it is 0.
    pub sample_one_in: u32,
}

// === impl AccessLog ===

impl AccessLog {
    pub(super) fn parse(
        spec: v1::AccessLogSpec,
        path: &str,
        violations: &mut Vec<Violation>,
    ) -> Option<Self> {
        let v1::AccessLogSpec {
            format,
            sample_one_in,
            errors,
        } = spec;
        let format = AccessLogFormat::parse_field(format, &format!("{path}.format"), violations);
        let sample_one_in = one_in(sample_one_in, path, violations);
        let errors = errors.unwrap_or(true);
        if sample_one_in == 0 && !errors {
            violations.push(Violation::new(
                path,
                "nothing would be logged: leave it out, or set `sample_one_in` or `errors`",
            ));
        }
        Some(Self {
            format: format?,
            sample_one_in,
            errors,
        })
    }

    pub(super) fn to_spec(self) -> v1::AccessLogSpec {
        let Self {
            format,
            sample_one_in,
            errors,
        } = self;
        v1::AccessLogSpec {
            format: format.to_proto().into(),
            sample_one_in: Some(sample_one_in),
            errors: Some(errors),
        }
    }

    pub(super) fn fields(self, fields: &mut Fields) {
        let Self {
            format,
            sample_one_in,
            errors,
        } = self;
        fields.put("proxy.access_log.format", format.name());
        fields.put("proxy.access_log.sample_one_in", sample_one_in);
        fields.put("proxy.access_log.errors", errors);
    }
}

// === impl Trace ===

impl Trace {
    pub(super) fn parse(spec: v1::TraceSpec, path: &str, violations: &mut Vec<Violation>) -> Self {
        let v1::TraceSpec { sample_one_in } = spec;
        Self {
            sample_one_in: one_in(sample_one_in, path, violations),
        }
    }

    pub(super) fn to_spec(self) -> v1::TraceSpec {
        v1::TraceSpec {
            sample_one_in: Some(self.sample_one_in),
        }
    }

    pub(super) fn fields(self, fields: &mut Fields) {
        fields.put("proxy.trace.sample_one_in", self.sample_one_in);
    }
}

fn one_in(value: Option<u32>, path: &str, violations: &mut Vec<Violation>) -> u32 {
    let one_in = value.unwrap_or(1);
    if one_in > ONE_IN_MAX {
        violations.push(Violation::new(
            format!("{path}.sample_one_in"),
            format!("{one_in} is too large: use 0 to {ONE_IN_MAX}"),
        ));
    }
    one_in
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(spec: v1::AccessLogSpec) -> Result<AccessLog, Vec<String>> {
        let mut violations = Vec::new();
        let parsed = AccessLog::parse(spec, "it", &mut violations);
        if violations.is_empty() {
            Ok(parsed.unwrap())
        } else {
            Err(violations.into_iter().map(|it| it.path).collect())
        }
    }

    #[test]
    fn by_default_every_request_is_logged() {
        let log = parse(v1::AccessLogSpec::default()).unwrap();
        let expected = AccessLog {
            format: AccessLogFormat::Json,
            sample_one_in: 1,
            errors: true,
        };
        assert_eq!(log, expected);
        assert_eq!(parse(log.to_spec()), Ok(log));
    }

    #[test]
    fn a_log_of_nothing_is_a_mistake() {
        let spec = |sample_one_in, errors| v1::AccessLogSpec {
            format: 0,
            sample_one_in: Some(sample_one_in),
            errors: Some(errors),
        };
        assert!(parse(spec(0, true)).is_ok());
        assert!(parse(spec(1_000_000, false)).is_ok());
        assert_eq!(parse(spec(0, false)), Err(vec!["it".to_owned()]));
        assert_eq!(
            parse(spec(1_000_001, true)),
            Err(vec!["it.sample_one_in".to_owned()])
        );
    }
}
