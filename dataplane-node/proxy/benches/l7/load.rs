//! What clients do: `wrk` and `h2load` from Debian's packages.

use std::{fs, path::Path};

use crate::process::{on_core, output_of};

/// Connections of most cases.
const CONNECTIONS: u32 = 64;
/// What `wrk` tells us in the end.
const SCRIPT: &str = r#"
done = function(summary, latency, requests)
    local e = summary.errors
    local broken = e.connect + e.read + e.write + e.timeout + e.status
    io.write(string.format("\nfigures %d %d %d\n", summary.requests, summary.bytes, broken))
end
"#;

/// What clients have got.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Got {
    pub(crate) requests: f64,
    pub(crate) bytes: f64,
}

/// Where clients run, and for how long.
#[derive(Debug)]
pub(crate) struct Clients<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) core: usize,
    pub(crate) seconds: u32,
}

impl Clients<'_> {
    /// Requests as fast as they are answered, over connections that stay open or over a new one each.
    pub(crate) fn wrk(&self, url: &str, connections: Option<u32>, is_new: bool) -> Got {
        self.wrk_with("", 1, url, connections, is_new)
    }

    /// The same with a script of its own and more threads.
    pub(crate) fn wrk_with(
        &self,
        more: &str,
        threads: u32,
        url: &str,
        connections: Option<u32>,
        is_new: bool,
    ) -> Got {
        let script = self.folder.join("figures.lua");
        fs::write(&script, [more, SCRIPT].concat()).unwrap();
        let mut command = on_core(self.core, "wrk");
        let connections = connections.unwrap_or(CONNECTIONS);
        command.args(["-t", &threads.to_string(), "-c", &connections.to_string()]);
        command.args(["-d", &format!("{}s", self.seconds)]);
        command.arg("-s").arg(script);
        if is_new {
            command.args(["-H", "Connection: close"]);
        }
        let said = output_of(command.arg(url));
        let line = said.lines().find_map(|line| line.strip_prefix("figures "));
        let figures = line.map(|line| line.split(' ').map(|it| it.parse::<f64>().unwrap()));
        let figures: Vec<_> = figures.into_iter().flatten().collect();
        let [requests, bytes, broken] = figures[..] else {
            panic!("wrk says: {said}");
        };
        assert!(broken == 0.0 && requests > 0.0, "{url}: {said}");
        Got { requests, bytes }
    }

    /// Requests over 16 connections with 10 streams each.
    pub(crate) fn http2(&self, url: &str) -> Got {
        let mut command = on_core(self.core, "h2load");
        command.args(["-t", "1", "-c", "16", "-m", "10"]);
        command.args(["-D", &self.seconds.to_string()]);
        let said = output_of(command.arg(url));
        let requests = succeeded(&said);
        Got {
            requests,
            bytes: 0.0,
        }
    }

    /// How long the slowest of a hundred requests takes, in microseconds, if so many begin each second.
    pub(crate) fn latency(&self, url: &str, requests_per_second: f64) -> f64 {
        let log = self.folder.join("requests.log");
        let mut command = on_core(self.core, "h2load");
        command.args(["--h1", "-t", "1", "-c", &CONNECTIONS.to_string()]);
        let all = (requests_per_second * f64::from(self.seconds)).round();
        command.args(["-n", &all.to_string()]);
        let each = requests_per_second / f64::from(CONNECTIONS);
        command.args(["--rps", &format!("{each:.3}")]);
        command.arg("--log-file").arg(&log).arg(url);
        succeeded(&output_of(&mut command));
        let text = fs::read_to_string(&log).unwrap();
        fs::remove_file(&log).unwrap();
        let last = |line: &str| line.rsplit('\t').next().unwrap().parse::<f64>().unwrap();
        let mut times: Vec<f64> = text.lines().map(last).collect();
        times.sort_unstable_by(f64::total_cmp);
        times[times.len() * 99 / 100]
    }
}

/// How many requests `h2load` has got answers for; all that it has made.
fn succeeded(said: &str) -> f64 {
    // requests: 1 total, 1 started, 1 done, 1 succeeded, 0 failed, 0 errored, 0 timeout
    let line = said
        .lines()
        .find_map(|line| line.strip_prefix("requests: "));
    let counts = line.expect("h2load counts").split(", ");
    let counts: Vec<_> = counts.filter_map(|it| it.split_once(' ')).collect();
    let of = |name: &str| {
        let count = counts.iter().find(|(_, it)| *it == name);
        count.expect("h2load counts it").0.parse::<f64>().unwrap()
    };
    assert!(
        of("failed") + of("errored") + of("timeout") == 0.0,
        "{said}"
    );
    assert!(of("succeeded") > 0.0, "{said}");
    of("succeeded")
}
