use std::collections::BTreeSet;
use std::time::{Duration, Instant as StdInstant, SystemTime, UNIX_EPOCH};

use lbfabric_model::{ObjectKey, ObjectKind, Prefix, snapshot::ServerVips};
use tracing::warn;

use super::{program::Program, role::Applied};
use crate::{
    chain::Chain,
    maps::{ReadMapError, ServerMaps},
    plan::Desired,
    server::{ServerSetup, SetupError},
    xdp::{Fault, PeerHooks},
};

/// A server: the program, and the machine's settings.
pub(crate) struct Server {
    pub(crate) program: Program<ServerMaps>,
    pub(crate) hooks: PeerHooks,
    pub(crate) setup: ServerSetup,
    /// When to apply again, though nothing has happened.
    pub(crate) wake_at: Option<StdInstant>,
}

// === impl Server ===

impl Server {
    pub(super) async fn apply(&mut self, desired: &Desired) -> Applied {
        let mut applied = Applied {
            refusals: desired.undecodable.clone(),
            failure: None,
        };
        let key = ObjectKey {
            kind: ObjectKind::ServerVips,
            id: 0,
        };
        let ServerVips {
            vips,
            gue_ports: _,
            hold_time_secs: _,
            client_address_nodes: _,
            client_address_ports,
        } = &desired.server;
        let vips: BTreeSet<Prefix> = vips.iter().copied().collect();
        self.wake_at = None;
        let setup = self.set_up(&vips, &desired.server).await;
        if let Err(error) = setup {
            let reason = Chain(&error).to_string();
            warn!(%reason, "the server is not set up as desired");
            applied.failure = Some(reason.clone());
            applied.refusals.insert(key, reason);
        } else if let Some(fault) = self.program.down()
            && let Some(what) = lacking(!vips.is_empty(), client_address_ports.is_some())
        {
            let reason = format!("{what}: {fault}");
            applied.refusals.insert(key, reason);
        }
        applied
    }

    /// New VIPs go to the loopback first, old ones leave it last, and not before their flows have had time to end.
    async fn set_up(
        &mut self,
        wanted: &BTreeSet<Prefix>,
        desired: &ServerVips,
    ) -> Result<(), ServerError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_secs());
        let (held, next_end) = self.setup.hold(wanted, desired.hold_time_secs, now)?;
        self.wake_at = next_end.map(|end| {
            let left = Duration::from_secs(end.saturating_sub(now));
            StdInstant::now() + left
        });
        self.setup.add_vips(wanted).await?;
        if let Some(maps) = self.program.maps_mut() {
            let ports = desired.client_address_ports.as_ref();
            maps.set_gue_ports(&desired.gue_ports)?;
            maps.set_told(&desired.client_address_nodes, ports)?;
            maps.set_vips(&held)?;
            self.program.switch();
        }
        self.setup.remove_vips_except(&held).await?;
        // Last, for the VIPs do not depend on it.
        if desired.client_address_ports.is_none() {
            self.hooks.detach()?;
        } else if self.program.maps().is_some() {
            self.hooks.attach()?;
        }
        Ok(())
    }
}

/// What a server cannot do without its program, of what is asked for.
const fn lacking(unpack: bool, tell: bool) -> Option<&'static str> {
    if unpack {
        Some("tunnelled packets cannot be unpacked")
    } else if tell {
        Some("clients' addresses cannot be told")
    } else {
        None
    }
}

/// The server could not be brought to the desired state.
#[derive(Debug, thiserror::Error)]
enum ServerError {
    #[error(transparent)]
    Setup(#[from] SetupError),
    #[error("clients' addresses cannot be told")]
    Hooks(#[from] Fault),
    #[error("the program's VIPs")]
    Maps(#[from] ReadMapError),
}
