//! Requests and their answers. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// What begins the line that `curl` writes after each answer.
pub(super) const MARK: &str = "lbfabric-lab";

/// What a server wrote into its answer: its name, whom it saw, by which address it was called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The server's name.
    pub(super) server: String,
    /// The address that the server took for its client's.
    pub(super) saw: IpAddr,
    /// The server's address of the connection.
    pub(super) called: IpAddr,
}

/// Requests of one kind and what came of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Exchange {
    /// Requests sent.
    pub(super) sent: u32,
    /// Answers, in order.
    pub(super) answers: Vec<Answer>,
    /// Pings that came back. They say nothing of a server.
    pub(super) echoes: u32,
    /// What went wrong with the others.
    pub(super) failures: Vec<String>,
}

impl Answer {
    /// Reads a server's answer, `srv1 10.77.1.2 10.99.0.11`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let answer = Self {
            server: words.next()?.to_owned(),
            saw: words.next()?.parse().ok()?,
            called: words.next()?.parse().ok()?,
        };
        words.next().is_none().then_some(answer)
    }
}

impl Exchange {
    /// What `curl` wrote: for each request the body and a line with [`MARK`], HTTP status, new connections and the error.
    pub(super) fn of_curl(output: &str) -> Self {
        let mut exchange = Self::default();
        let mut body = String::new();
        for line in output.lines() {
            let Some(outcome) = line.strip_prefix(MARK) else {
                body.push_str(line);
                continue;
            };
            exchange.sent += 1;
            let mut words = outcome.trim().splitn(3, ' ');
            let status = words.next().unwrap_or_default();
            let connections = words.next().unwrap_or_default();
            let error = words.next().unwrap_or_default();
            match Answer::parse(&body) {
                Some(answer) if status == "200" && connections == "1" && error.is_empty() => {
                    exchange.answers.push(answer);
                }
                _ => exchange.failures.push(format!(
                    "curl: status {status}, {connections} new connections, {error:?}, body {body:?}"
                )),
            }
            body.clear();
        }
        exchange
    }

    /// Requests that were answered.
    pub(super) fn answered(&self) -> u32 {
        u32::try_from(self.answers.len())
            .unwrap_or(u32::MAX)
            .saturating_add(self.echoes)
            .min(self.sent)
    }

    /// How often each server answered.
    pub(super) fn servers(&self) -> BTreeMap<String, u64> {
        let mut servers = BTreeMap::new();
        for answer in &self.answers {
            *servers.entry(answer.server.clone()).or_default() += 1;
        }
        servers
    }

    /// Every address that servers took for their client's, once.
    pub(super) fn server_saw(&self) -> Vec<IpAddr> {
        let mut seen: Vec<IpAddr> = self.answers.iter().map(|answer| answer.saw).collect();
        seen.sort_unstable();
        seen.dedup();
        seen
    }

    /// Adds the requests of another exchange.
    pub(super) fn extend(&mut self, other: Self) {
        let Self {
            sent,
            answers,
            echoes,
            failures,
        } = other;
        self.sent += sent;
        self.echoes += echoes;
        self.answers.extend(answers);
        self.failures.extend(failures);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_strictly() {
        let answer = Answer::parse("srv2 fd77:1::2 fd99::13\n").unwrap();
        assert_eq!(answer.server, "srv2");
        assert_eq!(answer.called.to_string(), "fd99::13");
        for wrong in [
            "",
            "srv1",
            "srv1 10.0.0.1",
            "srv1 10.0.0.1 10.0.0.2 more",
            "srv1 a b",
        ] {
            assert_eq!(Answer::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn every_request_of_curl_is_an_answer_or_a_failure() {
        let output = "srv1 10.77.1.2 10.99.0.11\nlbfabric-lab 200 1 \n\
                      lbfabric-lab 000 0 Connection timed out\n\
                      srv1 10.77.1.2 10.99.0.11\nlbfabric-lab 502 1 \n\
                      srv3 10.77.1.2 10.99.0.11\nlbfabric-lab 200 0 \n";
        let exchange = Exchange::of_curl(output);
        assert_eq!(
            (exchange.sent, exchange.answered(), exchange.failures.len()),
            (4, 1, 3)
        );
        assert_eq!(
            exchange.servers().into_iter().collect::<Vec<_>>(),
            [("srv1".to_owned(), 1)]
        );
        assert!(exchange.failures[0].contains("timed out"));
    }
}
