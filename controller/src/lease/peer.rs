use std::time::Duration;

use lbfabric_proto::internal::v1::{WitnessQuestion, witness_service_client::WitnessServiceClient};
use tokio::{sync::mpsc, time};
use tokio_stream::wrappers::ReceiverStream;
use tracing::debug;

use super::keeper::Event;

/// Questions that wait for a member. One that does not find room is of an old round soon.
const OUTBOUND_MAX: usize = 4;
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// Keeps a stream of questions to another member open, for ever.
pub(crate) async fn follow(member: u64, address: String, events: mpsc::Sender<Event>) {
    let channel = match lbfabric_lease::channel(&address) {
        Ok(channel) => channel,
        Err(e) => {
            debug!(member, error = %e, "no address of a member");
            return;
        }
    };
    let mut client = WitnessServiceClient::new(channel);
    loop {
        let (sender, questions) = mpsc::channel::<WitnessQuestion>(OUTBOUND_MAX);
        if let Ok(response) = client.follow(ReceiverStream::new(questions)).await {
            let mut answers = response.into_inner();
            if events.send(Event::PeerCame(member, sender)).await.is_err() {
                return;
            }
            while let Ok(Some(answer)) = answers.message().await {
                if events.send(Event::Answer(member, answer)).await.is_err() {
                    return;
                }
            }
        }
        time::sleep(RETRY_INTERVAL).await;
    }
}
