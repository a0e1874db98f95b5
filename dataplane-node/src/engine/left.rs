use super::{
    answers::{AnswersError, remove_answer_rules},
    local_routes::{LocalRoutesError, remove_local_routes},
};
use crate::netlink::Requests;

/// Rules or routes that agents have left cannot be removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RoutingLeft {
    #[error(transparent)]
    Answers(#[from] AnswersError),
    #[error(transparent)]
    Vips(#[from] LocalRoutesError),
}

/// Removes the routing rules and routes that agents have left.
pub(crate) async fn remove_routing(requests: &Requests) -> Result<(), RoutingLeft> {
    remove_answer_rules(requests).await?;
    Ok(remove_local_routes(requests).await?)
}
