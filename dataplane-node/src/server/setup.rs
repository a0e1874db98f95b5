use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use lbfabric_model::Prefix;
use tracing::{info, warn};

use super::{
    record::ServerRecord,
    sysctl::{self, Setting},
};
use crate::{
    chain::Chain,
    netlink::{NetlinkError, Requests},
    state_file::{StateFile, StateFileError},
};

const LOOPBACK: &str = "lo";

/// Puts VIPs and settings on the machine and takes exactly these away again.
pub(crate) struct ServerSetup {
    requests: Requests,
    file: StateFile,
    record: ServerRecord,
}

/// The machine could not be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    #[error("there is no loopback interface {LOOPBACK}")]
    NoLoopback,
    #[error(
        "the loopback interface is down, so that its addresses do not count; `ip link set {LOOPBACK} up`"
    )]
    LoopbackDown,
    #[error("VIP {vip} on {LOOPBACK}")]
    Address {
        vip: Prefix,
        #[source]
        source: NetlinkError,
    },
    #[error("read the network's state")]
    Network(#[from] NetlinkError),
    #[error("set {path}")]
    Sysctl {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("remember what was changed")]
    Record(#[from] StateFileError),
}

impl ServerSetup {
    /// Continues with what an earlier agent has recorded. A damaged record is an error: without it nothing could be undone.
    pub(crate) fn open(state_dir: &Path, requests: Requests) -> Result<Self, StateFileError> {
        let file = StateFile::new(state_dir, "server");
        let record = match file.read()? {
            Some(bytes) => ServerRecord::decode(&bytes).unwrap_or_else(|| {
                warn!("the record of what was changed is of another version; it is begun anew");
                ServerRecord::default()
            }),
            None => ServerRecord::default(),
        };
        Ok(Self {
            requests,
            file,
            record,
        })
    }

    fn save(&self) -> Result<(), StateFileError> {
        self.file.write(&self.record.encode())
    }

    /// Sets what the VIPs need. The first former value is the one that is restored.
    pub(crate) fn apply_settings(&mut self, interfaces: &[String]) -> Result<(), SetupError> {
        let settings = sysctl::needed(interfaces, |path| sysctl::read(path).ok());
        settings.into_iter().try_for_each(|it| self.change(it))
    }

    fn change(&mut self, Setting { path, value }: Setting) -> Result<(), SetupError> {
        let failed = |source| SetupError::Sysctl {
            path: path.clone(),
            source,
        };
        let former = sysctl::read(&path).map_err(failed)?;
        self.record.sysctls.entry(path.clone()).or_insert(former);
        self.save()?;
        sysctl::write(&path, value).map_err(failed)?;
        info!(%path, value, "kernel setting changed");
        Ok(())
    }

    /// Follows what is wanted: the VIPs to hold, also of those that were wanted, and when the next of these goes.
    pub(crate) fn hold(
        &mut self,
        wanted: &BTreeSet<Prefix>,
        hold_secs: u32,
        now: u64,
    ) -> Result<(BTreeSet<Prefix>, Option<u64>), SetupError> {
        let before = self.record.held.clone();
        self.record.held.want(wanted, hold_secs, now);
        if self.record.held != before {
            self.save()?;
        }
        for (vip, until) in &self.record.held.leaving {
            if !before.leaving.contains_key(vip) {
                info!(%vip, secs = until - now, "VIP not wanted any more, held for its flows");
            }
        }
        let held = &self.record.held;
        Ok((held.all(), held.next_end()))
    }

    /// Adds VIPs that are missing. One that somebody else has configured is used as it is, and never removed.
    pub(crate) async fn add_vips(&mut self, vips: &BTreeSet<Prefix>) -> Result<(), SetupError> {
        let (loopback, up) = self.loopback().await?;
        if !vips.is_empty() && !up {
            return Err(SetupError::LoopbackDown);
        }
        let present = self.requests.addresses_of(loopback).await?;
        let present: BTreeSet<Prefix> = present.into_iter().map(IpAddr::into).collect();
        for vip in vips.difference(&present) {
            let setting = sysctl::needed_for_prefix(*vip, |path| sysctl::read(path).ok());
            if let Some(Err(error)) = setting.map(|it| self.change(it)) {
                // What is not of datagrams is served all the same.
                warn!(%vip, error = %Chain(&error), "programs may not be able to answer datagrams from this prefix");
            }
            let is_own = !self.record.vips.insert(*vip);
            if !is_own {
                self.save()?;
            }
            let added = if vip.is_single() {
                self.requests.add_address(loopback, vip.address()).await
            } else {
                self.requests.add_local(loopback, *vip).await
            };
            match added {
                Ok(()) => info!(%vip, "VIP added to the loopback"),
                // Prefixes are no addresses, and are found out about only here.
                Err(error) if error.errno() == Some(libc::EEXIST) => {
                    if !is_own {
                        self.record.vips.remove(vip);
                        self.save()?;
                    }
                }
                Err(source) => return Err(SetupError::Address { vip: *vip, source }),
            }
        }
        Ok(())
    }

    /// Removes the VIPs that this agent, or one before it, has added, other than these.
    pub(crate) async fn remove_vips_except(
        &mut self,
        vips: &BTreeSet<Prefix>,
    ) -> Result<(), SetupError> {
        let surplus: Vec<Prefix> = self.record.vips.difference(vips).copied().collect();
        if surplus.is_empty() {
            return Ok(());
        }
        let (loopback, _) = self.loopback().await?;
        for vip in surplus {
            let removed = if vip.is_single() {
                self.requests.remove_address(loopback, vip.address()).await
            } else {
                self.requests.remove_local(loopback, vip).await
            };
            removed.map_err(|source| SetupError::Address { vip, source })?;
            self.record.vips.remove(&vip);
            self.save()?;
            info!(%vip, "VIP removed from the loopback");
        }
        Ok(())
    }

    /// Takes everything away again, as far as possible, and names what was not.
    pub(crate) async fn undo(mut self) -> Result<(), SetupError> {
        let mut first_error = self.remove_vips_except(&BTreeSet::new()).await.err();
        let sysctls = std::mem::take(&mut self.record.sysctls);
        for (path, former) in sysctls {
            match sysctl::write(&path, &former) {
                Ok(()) => info!(%path, value = %former, "kernel setting restored"),
                // The interface has gone, and its settings with it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => {
                    warn!(%path, error = %Chain(&source), "kernel setting not restored");
                    self.record.sysctls.insert(path.clone(), former);
                    first_error.get_or_insert(SetupError::Sysctl { path, source });
                }
            }
        }
        match first_error {
            None => Ok(self.file.remove()?),
            Some(error) => {
                self.save()?;
                Err(error)
            }
        }
    }

    async fn loopback(&self) -> Result<(u32, bool), SetupError> {
        let links = self.requests.link_views().await?;
        let link = links.get(LOOPBACK).ok_or(SetupError::NoLoopback)?;
        Ok((link.index, link.up))
    }
}
