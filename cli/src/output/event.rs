use lbfabric_proto::v1;

use super::{Format, Style};
use crate::{
    document::{Defaults, message, plain, yaml},
    kind::title,
};

/// A message of a watch as text: a line for people, one line of JSON, or a document of YAML.
pub fn event(response: &v1::WatchResponse, format: Format, style: Style) -> String {
    let value = || plain(&message("WatchResponse", response), Defaults::Written);
    match format {
        Format::Json => {
            let text = serde_json::to_string(&value()).expect("a plain value has text keys only");
            text + "\n"
        }
        Format::Yaml => format!("---\n{}", yaml(&value())),
        Format::Table | Format::Wide if response.synced => {
            format!("= generation {}\n", response.generation)
        }
        Format::Table | Format::Wide => {
            let name = title(
                response
                    .object
                    .as_ref()
                    .and_then(|object| object.r#ref.as_ref()),
            );
            let line = match response.action() {
                v1::Action::Create => style.good(&format!("+ {name}")),
                v1::Action::Update => style.changed(&format!("~ {name}")),
                v1::Action::Delete => style.bad(&format!("- {name}")),
                v1::Action::Unchanged | v1::Action::Unspecified => format!("= {name}"),
            };
            format!("{line} generation {}\n", response.generation)
        }
    }
}
