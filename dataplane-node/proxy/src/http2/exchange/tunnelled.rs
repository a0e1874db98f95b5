//! A WebSocket of a client's stream on its way to a server of HTTP/2, RFC 8441, if that takes it.

use http::header;

use super::{
    Attempt,
    over_http2::{OverHttp2, final_head, give},
};
use crate::{
    alarm::Alarm,
    attempts::{Behind, Failed},
    http2::{pool::Place, response, tunnel::ServerStream},
    upstream::Permit,
};

impl OverHttp2<'_, '_> {
    pub(super) async fn tunnelled(
        &mut self,
        permit: &Permit,
        mut place: Place,
    ) -> Result<Behind, Failed> {
        let Attempt {
            onward,
            answer,
            service,
            ..
        } = &mut *self.attempt;
        let (asked, config) = (&onward.asked, &service.config);
        let silence = asked.routed.timeouts(config).silence;
        let (mut response, mut to) = place.ask(self.request.clone(), asked, silence)?;
        let alarm = Alarm::new();
        let response = final_head(&mut response, &alarm, answer, asked, config).await?;
        if !response.status().is_success() {
            // Nothing goes through it.
            let _gone = to.end(None);
            give(response, &alarm, answer, asked, config, permit).await?;
            return Ok(Behind::Nothing);
        }
        asked.answered(permit, response.status().as_u16(), config)?;
        let (mut head, body) = response::relayed(response);
        head.headers_mut().remove(header::CONTENT_LENGTH);
        response::mark(&mut head, permit);
        answer.head(head, false)?;
        let server = ServerStream::new(body, to, place);
        Ok(Behind::Tunnel(Box::new(server)))
    }
}
