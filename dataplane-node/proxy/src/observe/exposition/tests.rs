use std::{collections::BTreeSet, sync::Arc};

use proptest::prelude::*;

use super::*;
use crate::observe::{
    Histogram, Termination,
    metrics::{RouteReading, ServerReading},
};

/// All values here are whole numbers, or not looked at.
#[expect(clippy::cast_possible_truncation, reason = "they are small")]
fn whole(value: &str) -> i64 {
    value.parse::<f64>().unwrap() as i64
}

/// Reads the text format as strictly as its description is: families in one piece, each with its type first, no sample twice, buckets
/// that add up. Gives samples by name and labels.
fn parse(text: &str, form: Exposition) -> BTreeMap<(String, Vec<(String, String)>), i64> {
    let mut samples = BTreeMap::new();
    let mut families = BTreeSet::new();
    let mut family = String::new();
    let body = match form {
        Exposition::Text => text,
        Exposition::OpenMetrics => text.strip_suffix("# EOF\n").unwrap(),
    };
    assert!(body.ends_with('\n'));
    for line in body.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            family = help.split_once(' ').unwrap().0.to_owned();
            assert!(families.insert(family.clone()), "{family} twice");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(name, family);
            assert!(["counter", "gauge", "histogram"].contains(&kind));
        } else {
            let (name, rest) = line.split_once('{').unwrap();
            let suffix = name.strip_prefix(&*family).unwrap();
            assert!(
                ["", "_total", "_bucket", "_sum", "_count"].contains(&suffix),
                "{line}"
            );
            let (labels, value) = labels(rest);
            let last = samples.insert((name.to_owned(), labels), whole(value));
            assert!(last.is_none(), "{line} twice");
        }
    }
    samples
}

fn labels(text: &str) -> (Vec<(String, String)>, &str) {
    let (mut labels, mut rest) = (Vec::new(), text);
    loop {
        let (name, after) = rest.split_once("=\"").unwrap();
        let (mut value, mut characters) = (String::new(), after.chars());
        loop {
            match characters.next().unwrap() {
                '"' => break,
                '\\' => value.push(match characters.next().unwrap() {
                    'n' => '\n',
                    it @ ('\\' | '"') => it,
                    it => panic!("\\{it}"),
                }),
                it => value.push(it),
            }
        }
        labels.push((name.to_owned(), value));
        rest = characters.as_str();
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => return (labels, rest.strip_prefix("} ").unwrap()),
        }
    }
}

fn reading(name: &str, micros: &[u64]) -> Reading {
    let times = Histogram::new();
    for it in micros {
        times.record(Duration::from_micros(*it));
    }
    let mut route = RouteReading::default();
    route.answers.classes[2] = 7;
    route.answers.total = times.read();
    let service = ServiceReading {
        connections_total: 3,
        refusals: BTreeMap::from([("host", 2)]),
        terminations: BTreeMap::from([(Termination::NORMAL, 7)]),
        routes: BTreeMap::from([(Arc::from("a"), route.clone()), (Arc::from("b"), route)]),
        servers: BTreeMap::from([(Arc::from("10.0.0.1:80"), ServerReading::default())]),
        ..ServiceReading::default()
    };
    Reading {
        services: BTreeMap::from([(Arc::from(name), service)]),
    }
}

#[test]
fn it_is_written_as_it_is_described() {
    let log = LogReading {
        written: 5,
        dropped: 1,
        failed: 0,
    };
    let text = Exposition::Text.write(&reading("shop", &[100, 5_000]), log);
    for lines in [
        "# HELP lbfabric_l7_connections_total Connections of clients so far.\n# TYPE lbfabric_l7_connections_total counter\n\
         lbfabric_l7_connections_total{service=\"shop\"} 3\n",
        "lbfabric_l7_refusals_total{service=\"shop\",reason=\"host\"} 2\n",
        "lbfabric_l7_terminations_total{service=\"shop\",state=\"--\"} 7\n",
        "lbfabric_l7_route_responses_total{service=\"shop\",route=\"a\",class=\"2xx\"} 7\n",
        "lbfabric_l7_request_seconds_bucket{service=\"shop\",le=\"0.000096\"} 0\n\
         lbfabric_l7_request_seconds_bucket{service=\"shop\",le=\"0.000128\"} 2\n",
        "lbfabric_l7_request_seconds_bucket{service=\"shop\",le=\"67.108864\"} 4\n\
         lbfabric_l7_request_seconds_bucket{service=\"shop\",le=\"+Inf\"} 4\n\
         lbfabric_l7_request_seconds_sum{service=\"shop\"} 0.0102\nlbfabric_l7_request_seconds_count{service=\"shop\"} 4\n",
        "lbfabric_l7_log_lines_total{result=\"dropped\"} 1\n",
    ] {
        assert!(text.contains(lines), "{lines}\n{text}");
    }
    let open = Exposition::OpenMetrics.write(&reading("shop", &[]), log);
    assert!(
        open.contains("# TYPE lbfabric_l7_connections counter\nlbfabric_l7_connections_total{")
    );
    assert_eq!(Exposition::accepted("text/plain"), Exposition::Text);
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
    assert_eq!(Exposition::accepted(accept), Exposition::OpenMetrics);
}

proptest! {
    #[test]
    fn what_is_written_is_read(name in "[\\PC\n\"\\\\]{0,12}", micros in prop::collection::vec(0_u64..100_000_000, 0..20)) {
        let reading = reading(&name, &micros);
        for form in [Exposition::Text, Exposition::OpenMetrics] {
            let text = form.write(&reading, LogReading::default());
            prop_assert_eq!(&text, &form.write(&reading, LogReading::default()));
            let samples = parse(&text, form);
            let of = |family: &str, label: Option<(&str, &str)>| {
                let mut labels = vec![("service".to_owned(), name.clone())];
                labels.extend(label.map(|(name, value)| (name.to_owned(), value.to_owned())));
                samples[&(format!("lbfabric_l7_{family}"), labels)]
            };
            prop_assert_eq!(of("connections_total", None), 3);
            let ends: Vec<i64> = samples
                .iter()
                .filter(|((family, _), _)| family == "lbfabric_l7_request_seconds_bucket")
                .map(|((_, labels), count)| {
                    let le: f64 = labels[1].1.parse().unwrap();
                    // Both routes have the times.
                    let below = micros.iter().filter(|it| Duration::from_micros(**it).as_secs_f64() < le).count() * 2;
                    *count - i64::try_from(below).unwrap()
                })
                .collect();
            prop_assert_eq!(ends, vec![0; 42]);
            prop_assert_eq!(of("request_seconds_bucket", Some(("le", "+Inf"))), of("request_seconds_count", None));
        }
    }
}
