//! Calls to the API of a fabric with several controllers: any one that answers will do.

mod address;
mod call;
mod error;

pub use address::Address;
pub use call::Client;
pub use error::CallError;

use std::time::Duration;

/// Which controllers to ask, and for how long.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Controllers")]
pub struct ClientArgs {
    /// Controllers to try in turn; several with commas, or the option again.
    #[arg(
        long = "controller",
        global = true,
        value_name = "HOST:PORT",
        env = "LBFABRIC_CONTROLLER",
        value_delimiter = ',',
        default_value = "127.0.0.1:7400"
    )]
    pub controllers: Vec<Address>,
    /// How long to go on trying, such as `10s` or `500ms`.
    #[arg(long, global = true, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub timeout: Duration,
}

/// A time such as `10s`, `500ms`, `2m`, or seconds without a unit.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let millis = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        _ => return Err("write a number with `ms`, `s` or `m`, such as `10s`".to_owned()),
    };
    let number: u64 = number
        .parse()
        .map_err(|error| format!("`{number}` is not a number: {error}"))?;
    match number.checked_mul(millis) {
        Some(0) => Err("use more than nothing, such as `10s`".to_owned()),
        Some(millis) if millis <= 86_400_000 => Ok(Duration::from_millis(millis)),
        Some(_) | None => Err("use a day or less".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("2"), Ok(Duration::from_secs(2)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        for wrong in [
            "",
            "s",
            "1h",
            "-1s",
            "0",
            "1.5s",
            "99999999999999999999s",
            "18446744073709551615s",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
