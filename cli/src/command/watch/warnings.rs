use std::{collections::BTreeSet, time::Duration};

use lbfabric_proto::v1;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::{client::Client, output::Style};

/// As often as nodes report.
const INTERVAL: Duration = Duration::from_secs(5);
/// A controller that is busy is asked again the next time.
const PATIENCE: Duration = Duration::from_secs(1);

/// The warnings of services, which are no part of the fabric's state: they are looked up from time to time.
pub(super) struct Warnings {
    client: Client,
    ticks: Interval,
    /// Those of the last look: service, node, text.
    known: BTreeSet<[String; 3]>,
}

// === impl Warnings ===

impl Warnings {
    pub(super) fn new(client: &Client) -> Self {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            client: client.quick(PATIENCE),
            ticks,
            known: BTreeSet::new(),
        }
    }

    /// Waits until it is time to look. May be dropped at any point.
    pub(super) async fn due(&mut self) {
        self.ticks.tick().await;
    }

    /// A line for each warning that was not there at the last look.
    pub(super) async fn look(&mut self, style: Style) -> String {
        let request = v1::ListRequest {
            kind: v1::Kind::Service.into(),
            with_status: true,
        };
        match self.client.list(request).await {
            Ok(answer) => self.news(&answer.objects, style),
            // The stream of changes says what is the matter.
            Err(_) => String::new(),
        }
    }

    fn news(&mut self, objects: &[v1::Object], style: Style) -> String {
        let warnings: BTreeSet<_> = objects.iter().flat_map(of_service).collect();
        let new = warnings.difference(&self.known);
        let lines = new.map(|[service, node, text]| {
            let line = format!("! service/{service} {node}: {text}");
            style.bad(&line) + "\n"
        });
        let text = lines.collect();
        self.known = warnings;
        text
    }
}

fn of_service(object: &v1::Object) -> Vec<[String; 3]> {
    let Some(v1::object::Status::ServiceStatus(status)) = &object.status else {
        return Vec::new();
    };
    let name = object.r#ref.clone().unwrap_or_default().name;
    let warnings = status.warnings.iter();
    warnings
        .map(|warning| [name.clone(), warning.node.clone(), warning.text.clone()])
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::client::ClientArgs;

    fn service(texts: &[&str]) -> v1::Object {
        let warnings = texts.iter().map(|text| v1::Warning {
            node: "n1".to_owned(),
            text: (*text).to_owned(),
        });
        let status = v1::ServiceStatus {
            warnings: warnings.collect(),
            ..v1::ServiceStatus::default()
        };
        v1::Object {
            r#ref: Some(v1::ObjectRef {
                kind: v1::Kind::Service.into(),
                name: "web".to_owned(),
            }),
            status: Some(v1::object::Status::ServiceStatus(status)),
            ..v1::Object::default()
        }
    }

    #[tokio::test]
    async fn tells_each_warning_once_until_it_has_gone() {
        let client = Client::new(&ClientArgs {
            controllers: Vec::new(),
            timeout: Duration::from_secs(1),
        });
        let mut warnings = Warnings::new(&client);
        let mut news = |texts: &[&str]| warnings.news(&[service(texts)], Style::plain());
        assert_eq!(news(&["a"]), "! service/web n1: a\n");
        assert_eq!(news(&["a", "b"]), "! service/web n1: b\n");
        assert_eq!(news(&["b"]), "");
        assert_eq!(news(&["a", "b"]), "! service/web n1: a\n");
    }
}
