use std::{
    error::Error as _,
    io::{self, Write as _},
    time::Duration,
};

use lbfabric_proto::v1::{
    self, fabric_service_client::FabricServiceClient, speaker_service_client::SpeakerServiceClient,
    vip_service_client::VipServiceClient,
};
use tokio::time::{Instant, sleep, timeout_at};
use tonic::{
    Code, Status, Streaming,
    transport::{Channel, Endpoint},
};

use super::{Address, CallError, ClientArgs};

/// A member that is gone costs no more than this.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// The pause after the first round in vain; it doubles up to `PAUSE_MAX`.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_millis(800);
/// With less time than this left, a round is not worth it.
const ROUND_MIN: Duration = Duration::from_millis(20);
/// After this long without an answer the user is told that there is a wait.
const PATIENCE: Duration = Duration::from_millis(1500);
/// How soon the silent death of a controller is noticed on a watch.
const KEEPALIVE: Duration = Duration::from_secs(2);
/// A whole fabric comes in one message.
const MESSAGE_BYTES_MAX: usize = 256 << 20;

type Service = FabricServiceClient<Channel>;

/// Calls any of several controllers.
#[derive(Clone, Debug)]
pub struct Client {
    controllers: Vec<Address>,
    timeout: Duration,
    says_so: bool,
}

// === impl Client ===

impl Client {
    /// A client for these controllers.
    pub fn new(args: &ClientArgs) -> Self {
        Self {
            controllers: args.controllers.clone(),
            timeout: args.timeout,
            says_so: true,
        }
    }

    /// The same, but with at most `timeout` for each call, and silent about waits.
    #[must_use]
    pub fn quick(&self, timeout: Duration) -> Self {
        Self {
            controllers: self.controllers.clone(),
            timeout: self.timeout.min(timeout),
            says_so: false,
        }
    }

    /// `FabricService.Apply`.
    pub async fn apply(&self, request: v1::ApplyRequest) -> Result<v1::ApplyResponse, CallError> {
        self.call(request, async |mut service: Service, request| {
            service.apply(request).await
        })
        .await
    }

    /// `FabricService.Diff`.
    pub async fn diff(&self, request: v1::DiffRequest) -> Result<v1::DiffResponse, CallError> {
        self.call(request, async |mut service: Service, request| {
            service.diff(request).await
        })
        .await
    }

    /// `FabricService.Get`.
    pub async fn get(&self, request: v1::GetRequest) -> Result<v1::GetResponse, CallError> {
        self.call(request, async |mut service: Service, request| {
            service.get(request).await
        })
        .await
    }

    /// `FabricService.List`.
    pub async fn list(&self, request: v1::ListRequest) -> Result<v1::ListResponse, CallError> {
        self.call(request, async |mut service: Service, request| {
            service.list(request).await
        })
        .await
    }

    /// `FabricService.Delete`.
    pub async fn delete(
        &self,
        request: v1::DeleteRequest,
    ) -> Result<v1::DeleteResponse, CallError> {
        self.call(request, async |mut service: Service, request| {
            service.delete(request).await
        })
        .await
    }

    /// `FabricService.Explain`.
    pub async fn explain(
        &self,
        request: v1::ExplainRequest,
    ) -> Result<v1::ExplainResponse, CallError> {
        self.call(request, async |mut service: Service, request| {
            service.explain(request).await
        })
        .await
    }

    /// `FabricService.Watch`: opens the stream.
    pub async fn watch(
        &self,
        request: v1::WatchRequest,
    ) -> Result<Streaming<v1::WatchResponse>, CallError> {
        self.call(request, async |mut service: Service, request| {
            service.watch(request).await
        })
        .await
    }

    /// `FabricService.Logs`: opens the stream.
    pub async fn logs(
        &self,
        request: v1::LogsRequest,
    ) -> Result<Streaming<v1::LogsResponse>, CallError> {
        self.call(request, async |mut service: Service, request| {
            service.logs(request).await
        })
        .await
    }

    /// `VipService.ListVips`.
    pub async fn list_vips(&self) -> Result<v1::ListVipsResponse, CallError> {
        let request = v1::ListVipsRequest {};
        self.call_at(request, async |channel, request| {
            VipServiceClient::new(channel).list_vips(request).await
        })
        .await
        .map_err(knows_leases)
    }

    /// `VipService.ChangeVip`.
    pub async fn change_vip(&self, request: v1::ChangeVipRequest) -> Result<(), CallError> {
        self.call_at(request, async |channel, request| {
            VipServiceClient::new(channel).change_vip(request).await
        })
        .await
        .map_err(knows_leases)?;
        Ok(())
    }

    /// `SpeakerService.ListNeighbors`.
    pub async fn list_neighbors(
        &self,
        request: v1::ListNeighborsRequest,
    ) -> Result<v1::ListNeighborsResponse, CallError> {
        self.call_at(request, async |channel, request| {
            speakers(channel).list_neighbors(request).await
        })
        .await
    }

    /// `SpeakerService.ListRoutes`.
    pub async fn list_routes(
        &self,
        request: v1::ListRoutesRequest,
    ) -> Result<v1::ListRoutesResponse, CallError> {
        self.call_at(request, async |channel, request| {
            speakers(channel).list_routes(request).await
        })
        .await
    }

    /// `SpeakerService.GetVipAnnouncements`.
    pub async fn vip_announcements(
        &self,
        request: v1::GetVipAnnouncementsRequest,
    ) -> Result<v1::GetVipAnnouncementsResponse, CallError> {
        self.call_at(request, async |channel, request| {
            speakers(channel).get_vip_announcements(request).await
        })
        .await
    }

    async fn call<Q: Clone, A>(
        &self,
        request: Q,
        send: impl AsyncFn(Service, Q) -> Result<tonic::Response<A>, Status>,
    ) -> Result<A, CallError> {
        self.call_at(request, async |channel, request| {
            let service = FabricServiceClient::new(channel)
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX);
            send(service, request).await
        })
        .await
    }

    /// Tries one controller after the other, round after round, until one answers or the time is over. Repeating is safe for
    /// every call of the API.
    async fn call_at<Q: Clone, A>(
        &self,
        request: Q,
        send: impl AsyncFn(Channel, Q) -> Result<tonic::Response<A>, Status>,
    ) -> Result<A, CallError> {
        let start = Instant::now();
        let end = start + self.timeout;
        let mut pause = PAUSE_MIN;
        let mut said = !self.says_so;
        loop {
            let mut last = String::new();
            for (index, address) in self.controllers.iter().enumerate() {
                // Each gets its share of what is left, so that one that hangs leaves time for the others.
                let left = end.saturating_duration_since(Instant::now());
                let share =
                    left / u32::try_from(self.controllers.len() - index).unwrap_or(u32::MAX);
                let attempt = attempt(address, request.clone(), &send);
                match timeout_at(Instant::now() + share, attempt).await {
                    Ok(Ok(answer)) => return Ok(answer),
                    Ok(Err(Failed::Final(status))) => return Err(CallError::Refused(status)),
                    Ok(Err(Failed::Passing(why))) => last = format!("{address}: {why}"),
                    Err(_) => last = format!("{address}: no answer"),
                }
            }
            let now = Instant::now();
            let left = end.saturating_duration_since(now);
            if left < ROUND_MIN {
                return Err(CallError::Unreachable {
                    controllers: self.controllers.clone(),
                    timeout: self.timeout,
                    last,
                });
            }
            if !said && now >= start + PATIENCE {
                said = true;
                let left = left.as_secs();
                // Without stderr there is nobody to tell.
                drop(writeln!(
                    io::stderr(),
                    "waiting for a controller, {left} s more ({last})"
                ));
            }
            // The last round comes before the end, not at it.
            sleep(pause.min(left / 2)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// The pause before a broken watch is opened again.
    pub async fn pause(&self) {
        sleep(PAUSE_MIN * 4).await;
    }
}

enum Failed {
    /// Another controller, or a later time, may do better.
    Passing(String),
    /// The answer.
    Final(Box<Status>),
}

async fn attempt<Q, A>(
    address: &Address,
    request: Q,
    send: &impl AsyncFn(Channel, Q) -> Result<tonic::Response<A>, Status>,
) -> Result<A, Failed> {
    let endpoint = Endpoint::from_shared(address.uri())
        .map_err(|error| Failed::Passing(error.to_string()))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true);
    let channel = endpoint
        .connect()
        .await
        .map_err(|error| Failed::Passing(root(&error)))?;
    match send(channel, request).await {
        Ok(answer) => Ok(answer.into_inner()),
        Err(status) if is_passing(&status) => Err(Failed::Passing(status.message().to_owned())),
        Err(status) => Err(Failed::Final(Box::new(status))),
    }
}

/// Says what it is that an old controller does not know.
fn knows_leases(error: CallError) -> CallError {
    match error {
        CallError::Refused(status) if status.code() == Code::Unimplemented => {
            let why = "the controller is of a version that knows no VIPs with leases: bring all controllers up to date";
            CallError::Refused(Box::new(Status::new(Code::Unimplemented, why)))
        }
        CallError::Refused(_) | CallError::Unreachable { .. } => error,
    }
}

fn speakers(channel: Channel) -> SpeakerServiceClient<Channel> {
    SpeakerServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX)
}

/// Whether to ask again: the controller has no majority, or the connection broke under the call.
fn is_passing(status: &Status) -> bool {
    let transport = status
        .source()
        .is_some_and(<dyn std::error::Error>::is::<tonic::transport::Error>);
    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded)
        || (transport
            && matches!(
                status.code(),
                Code::Unknown | Code::Cancelled | Code::Internal
            ))
}

/// The innermost cause, which names the trouble.
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
