use std::sync::Arc;

use lbfabric_bgp::Prefix;
use lbfabric_model::Bgp;
use lbfabric_proto::v1::{self, speaker_question::About};

use super::{
    prefix_of,
    table::TableAsker,
    told::{self, count},
};

/// A question of which the node has said its own part.
pub(crate) enum Prepared {
    Neighbors,
    Routes {
        /// Of this neighbor alone.
        neighbor: Option<String>,
        /// Only those within it or around it.
        prefix: Option<Prefix>,
        limit: usize,
    },
    Vip(Option<(Prefix, v1::VipAnnouncement)>),
}

const LIMIT_DEFAULT: u32 = 1_000;
const LIMIT_MAX: u32 = 10_000;

// === impl Prepared ===

impl Prepared {
    /// `vip`: what the node makes of one.
    pub(crate) fn new(
        question: v1::SpeakerQuestion,
        vip: impl FnOnce(Prefix) -> Option<v1::VipAnnouncement>,
    ) -> Result<Self, String> {
        match question.about {
            Some(About::Neighbors(v1::NeighborsQuestion {})) => Ok(Self::Neighbors),
            Some(About::Routes(v1::RoutesQuestion {
                neighbor,
                prefix,
                limit,
            })) => {
                let prefix = (!prefix.is_empty()).then(|| read(&prefix)).transpose()?;
                let limit = match limit {
                    0 => LIMIT_DEFAULT,
                    limit => limit.min(LIMIT_MAX),
                };
                Ok(Self::Routes {
                    neighbor: Some(neighbor).filter(|name| !name.is_empty()),
                    prefix,
                    limit: usize::try_from(limit).unwrap_or(usize::MAX),
                })
            }
            Some(About::Vip(v1::VipQuestion { vip: text })) => {
                let prefix = read(&text)?;
                Ok(Self::Vip(vip(prefix).map(|said| (prefix, said))))
            }
            None => Err("the question is of a later version: upgrade the node".to_owned()),
        }
    }

    /// `known`: the speaker, if there is one, and its settings.
    pub(crate) async fn answer(
        self,
        known: Option<(TableAsker, Arc<Bgp>)>,
    ) -> Result<v1::SpeakerAnswer, String> {
        let mut answer = v1::SpeakerAnswer::default();
        let Some((table, settings)) = known else {
            if let Self::Vip(Some((_, said))) = self {
                answer.vip = Some(said);
            }
            return Ok(answer);
        };
        match self {
            Self::Neighbors => {
                let rows = table.rows().await;
                let rows = rows.iter().map(|row| told::neighbor(&settings, row));
                answer.neighbors = rows.collect();
            }
            Self::Routes {
                neighbor,
                prefix,
                limit,
            } => {
                let names = settings.neighbors.iter().map(|it| it.name.as_str());
                let names: Vec<_> = names
                    .filter(|name| neighbor.as_ref().is_none_or(|of| of == name))
                    .collect();
                if let (Some(neighbor), true) = (&neighbor, names.is_empty()) {
                    return Err(format!("there is no neighbor `{neighbor}`"));
                }
                let is_asked = |it: Prefix| prefix.is_none_or(|of| of.covers(it) || it.covers(of));
                let mut left_out = 0;
                for name in names {
                    for (prefix, attributes) in table.routes(name).await {
                        if !is_asked(prefix) {
                            continue;
                        }
                        if answer.routes.len() < limit {
                            answer.routes.push(told::route(name, prefix, &attributes));
                        } else {
                            left_out += 1;
                        }
                    }
                }
                answer.left_out = count(left_out);
            }
            Self::Vip(said) => {
                if let Some((vip, mut said)) = said {
                    said.neighbors = who_knows(&table, &settings, vip).await;
                    answer.vip = Some(said);
                }
            }
        }
        Ok(answer)
    }
}

/// The neighbors that have been told of the VIP, or of an aggregate that stands for it.
async fn who_knows(table: &TableAsker, settings: &Bgp, vip: Prefix) -> Vec<String> {
    let mut knowing = Vec::new();
    for neighbor in &settings.neighbors {
        let name = neighbor.name.as_str();
        let routes = table.routes(name).await;
        let is_told = routes.iter().any(|(prefix, attributes)| {
            *prefix == vip || attributes.is_aggregate() && prefix.covers(vip)
        });
        if is_told {
            knowing.push(name.to_owned());
        }
    }
    knowing
}

fn read(text: &str) -> Result<Prefix, String> {
    let parsed = lbfabric_model::Prefix::parse(text, "prefix");
    parsed.map(prefix_of).map_err(|violation| violation.reason)
}
