//! `lbfabric top`.

mod rates;

use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, IsTerminal as _},
    process::ExitCode,
    time::{Duration, Instant},
};

use lbfabric_proto::v1;
use serde_json::Number;
use tokio::{signal, time::sleep};

use crate::{
    client::{Client, ClientArgs, duration},
    document::Plain,
    exit::Exit,
    output::{FormatArgs, Style, Table, print},
};
use rates::{Rates, Totals};

/// Arguments of `lbfabric top`.
#[derive(Debug, clap::Args)]
pub struct TopArgs {
    /// How often to look.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    interval: Duration,
    /// Look for one interval, of 6 s at least, show that, and end; for scripts.
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    format: FormatArgs,
}

/// The end of its long help.
pub const HELP: &str = "\
Services with the most requests, or bytes, come first. Rates are of about the last 10 s: nodes report at least every 5 s. ERR/S are requests
that were answered with 5xx or whose answer the server broke off. P50 and P99 are times from a request's first byte to the last one of its
answer. The services of layer 4 have packets and bytes of clients alone. With `-o json` each service is an object of `services`, and times
are `p50_ms` and `p99_ms`. End it with Ctrl-C.

Example:
  lbfabric top
  lbfabric top --once -o json | jq '.services[] | select(.errors_per_second > 0) | .name'";

/// Rates are of so much time, as far as it is known.
const WINDOW: Duration = Duration::from_secs(10);
/// In which every node has reported.
const ONCE_MIN: Duration = Duration::from_secs(6);
/// Clears the screen.
const CLEAR: &str = "\x1b[H\x1b[J";

/// All services at a time.
struct Sample {
    at: Instant,
    /// By name, with the mode.
    services: BTreeMap<String, (String, Totals)>,
}

/// Shows services until it is stopped.
pub async fn run(args: TopArgs, client: &ClientArgs) -> anyhow::Result<ExitCode> {
    let TopArgs {
        interval,
        once,
        format: FormatArgs { format },
    } = args;
    let client = Client::new(client);
    let interval = if once {
        interval.max(ONCE_MIN)
    } else {
        interval
    };
    let mut samples = VecDeque::from([look(&client).await?]);
    let is_terminal = io::stdout().is_terminal() && !format.is_data();
    loop {
        tokio::select! {
            () = sleep(interval) => {}
            _ = signal::ctrl_c() => return Ok(Exit::Ok.into()),
        }
        samples.push_back(look(&client).await?);
        while samples.len() > 2 && samples[1].at.elapsed() >= WINDOW {
            samples.pop_front();
        }
        let rates = of_window(&samples);
        if format.is_data() {
            format.print(&data(&rates))?;
        } else {
            let clear = if is_terminal && !once { CLEAR } else { "" };
            print(&format!("{clear}{}", table(&rates).render(Style::stdout())))?;
        }
        if once {
            return Ok(Exit::Ok.into());
        }
    }
}

async fn look(client: &Client) -> anyhow::Result<Sample> {
    let request = v1::ListRequest {
        kind: v1::Kind::Service.into(),
        with_status: true,
    };
    let objects = client.list(request).await?.objects;
    let services = objects.into_iter().filter_map(|object| {
        let Some(v1::object::Spec::Service(spec)) = &object.spec else {
            return None;
        };
        let status = match &object.status {
            Some(v1::object::Status::ServiceStatus(status)) => status.clone(),
            _ => v1::ServiceStatus::default(),
        };
        let mode = mode_of(spec);
        Some((spec.name.clone(), (mode, Totals::of(&status))))
    });
    Ok(Sample {
        at: Instant::now(),
        services: services.collect(),
    })
}

fn mode_of(spec: &v1::ServiceSpec) -> String {
    let known = v1::Mode::try_from(spec.mode).unwrap_or_default();
    let name = known.as_str_name().trim_start_matches("MODE_");
    name.to_ascii_lowercase().replace('_', "-")
}

/// From the first sample to the last one, by name and mode, the busiest first.
fn of_window(samples: &VecDeque<Sample>) -> Vec<(String, String, Rates)> {
    let (Some(first), Some(last)) = (samples.front(), samples.back()) else {
        return Vec::new();
    };
    let time = last.at.saturating_duration_since(first.at);
    let mut all: Vec<_> = last
        .services
        .iter()
        .map(|(name, (mode, totals))| {
            // One that is new has had nothing before.
            let before = first.services.get(name);
            let before = before.map_or_else(|| totals.clone(), |(_, totals)| totals.clone());
            (name.clone(), mode.clone(), totals.since(&before, time))
        })
        .collect();
    all.sort_by(|(one, _, a), (other, _, b)| {
        let busier = b.requests.total_cmp(&a.requests);
        busier
            .then(b.bytes().total_cmp(&a.bytes()))
            .then(one.cmp(other))
    });
    all
}

fn table(rates: &[(String, String, Rates)]) -> Table {
    let mut table = Table::new(&[
        "SERVICE", "MODE", "REQ/S", "ERR/S", "P50", "P99", "CONNS", "NEW/S", "IN/S", "OUT/S",
    ]);
    for (name, mode, rates) in rates {
        let of_l7 = |text: String| if rates.is_l7 { text } else { String::new() };
        let millis = |time: Option<f64>| time.map_or_else(String::new, |it| format!("{it:.1} ms"));
        table.row([
            name.clone(),
            mode.clone(),
            of_l7(format!("{:.1}", rates.requests)),
            of_l7(format!("{:.1}", rates.errors)),
            millis(rates.p50_ms),
            millis(rates.p99_ms),
            of_l7(rates.connections.to_string()),
            of_l7(format!("{:.1}", rates.new_connections)),
            rates::bytes(rates.received),
            of_l7(rates::bytes(rates.sent)),
        ]);
        if rates.errors > 0.0 {
            table.mark("ERR/S", false);
        }
    }
    table
}

fn data(rates: &[(String, String, Rates)]) -> Plain {
    let services = rates.iter().map(|(name, mode, rates)| {
        let numbers = [
            ("requests_per_second", Some(rates.requests)),
            ("errors_per_second", Some(rates.errors)),
            ("p50_ms", rates.p50_ms),
            ("p99_ms", rates.p99_ms),
            ("new_connections_per_second", Some(rates.new_connections)),
            ("packets_per_second", Some(rates.packets)),
            ("received_bytes_per_second", Some(rates.received)),
            ("sent_bytes_per_second", Some(rates.sent)),
        ];
        let mut fields = vec![
            ("name".to_owned(), Plain::Text(name.clone())),
            ("mode".to_owned(), Plain::Text(mode.clone())),
            (
                "connections".to_owned(),
                Plain::Number(rates.connections.into()),
            ),
        ];
        // What is not known is left out, as are times without requests.
        fields.extend(numbers.into_iter().filter_map(|(field, number)| {
            // More digits than these mean nothing.
            let number = Number::from_f64((number? * 1000.0).round() / 1000.0)?;
            Some((field.to_owned(), Plain::Number(number)))
        }));
        Plain::Map(fields)
    });
    let services = Plain::List(services.collect());
    Plain::Map(vec![("services".to_owned(), services)])
}
