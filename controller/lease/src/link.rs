//! A node's stream to one controller member.

use std::time::Duration;

use lbfabric_proto::v1::{
    LeaseHello, RenewRequest, RenewResponse, lease_service_client::LeaseServiceClient,
    renew_request, renew_response,
};
use tokio::{sync::mpsc, time};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, transport::Channel};
use tracing::{info, warn};

/// Requests that wait for a member. What does not find room comes again.
const OUTBOUND_MAX: usize = 4;
const BACKOFF_MIN: Duration = Duration::from_millis(20);
/// A member that is back can say that nobody leads once nodes have found it.
const BACKOFF_MAX: Duration = Duration::from_millis(250);

/// What happens on the stream to the member at this place of the list.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    /// It is open.
    Open(usize, mpsc::Sender<RenewRequest>),
    /// The member says something.
    Said(usize, renew_response::Message),
    /// It is not any more.
    Closed(usize),
}

/// Keeps the stream open, for ever.
pub(crate) async fn follow(
    at: usize,
    address: String,
    hello: LeaseHello,
    events: mpsc::Sender<LinkEvent>,
) {
    let channel = match crate::channel(&address) {
        Ok(channel) => channel,
        Err(error) => {
            warn!(member = address, %error, "no address of a controller");
            return;
        }
    };
    let mut client = LeaseServiceClient::new(channel);
    let mut backoff = BACKOFF_MIN;
    let mut said = None;
    loop {
        let end = run(at, &mut client, &hello, &events).await;
        let Some(End { was_open, status }) = end else {
            return;
        };
        if was_open {
            backoff = BACKOFF_MIN;
            said = None;
            info!(
                member = address,
                reason = status.message(),
                "lease stream closed"
            );
            if events.send(LinkEvent::Closed(at)).await.is_err() {
                return;
            }
        } else if said != Some(status.code()) {
            // Said once, not at each try.
            said = Some(status.code());
            warn!(
                member = address,
                reason = %status,
                "no lease stream: it takes a controller that is there, of a version that knows leases"
            );
        }
        time::sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

struct End {
    was_open: bool,
    status: Status,
}

/// None if nobody wants to hear of it any more.
async fn run(
    at: usize,
    client: &mut LeaseServiceClient<Channel>,
    hello: &LeaseHello,
    events: &mpsc::Sender<LinkEvent>,
) -> Option<End> {
    let (sender, requests) = mpsc::channel(OUTBOUND_MAX);
    let message = Some(renew_request::Message::Hello(hello.clone()));
    sender.try_send(RenewRequest { message }).ok()?;
    let mut stream = match client.renew(ReceiverStream::new(requests)).await {
        Ok(response) => response.into_inner(),
        Err(status) => {
            let was_open = false;
            return Some(End { was_open, status });
        }
    };
    events.send(LinkEvent::Open(at, sender)).await.ok()?;
    let was_open = true;
    loop {
        let status = match stream.message().await {
            Ok(Some(RenewResponse {
                message: Some(message),
            })) => {
                events.send(LinkEvent::Said(at, message)).await.ok()?;
                continue;
            }
            // Of another version.
            Ok(Some(RenewResponse { message: None })) => continue,
            Ok(None) => Status::unavailable("the member has ended it"),
            Err(status) => status,
        };
        return Some(End { was_open, status });
    }
}
