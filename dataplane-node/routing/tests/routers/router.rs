use std::time::Duration;

use crate::bird::Bird;
use crate::frr::Frr;
use crate::gobgp::Gobgp;
use crate::network::{Network, Over, until};
use crate::node::PATIENCE;
use crate::path::Path;
use crate::peering::Peering;

/// A router that somebody else has written, told apart by what it is asked in.
pub(crate) trait Router {
    /// Its ways to the prefix.
    fn paths(&self, prefix: &str) -> Vec<Path>;

    /// IPv4 routes that it has learnt from nodes.
    fn count(&self) -> usize;

    /// Code and subcode of the last NOTIFICATION that came.
    fn heard(&self) -> Option<(u8, u8)>;

    /// Its operator shuts down the session with the first node.
    fn shut_down(&self);

    /// Its operator lets it begin anew.
    fn reset(&self);

    /// Its operator removes it.
    fn forget(&self);

    /// For a failing test: what the router has to say.
    fn state(&self) -> String;
}

/// A router that has BFD.
pub(crate) trait BfdRouter: Router {
    /// Whether its session with the node is up.
    fn is_bfd_up(&self, node: usize) -> bool;

    /// Its operator ends BFD with the first node, and BGP goes on.
    fn stop_bfd(&self);
}

/// Routers by their names in tables of tests.
pub(crate) fn start(kind: &str, network: &Network, peerings: &[Peering]) -> Box<dyn Router> {
    match kind {
        "bird" => Box::new(Bird::start(&network.router, peerings)),
        "frr" => Box::new(Frr::start(&network.router, peerings)),
        "gobgp" => Box::new(Gobgp::start(&network.router, peerings)),
        other => panic!("no router is called {other}"),
    }
}

/// Addresses between which a router dials, and has secrets. FRR (8.4) dials none of a link unless it has learnt it from there, and
/// gobgpd (3.10) sets no secrets for them.
pub(crate) fn addresses(kind: &str) -> Vec<Over> {
    match kind {
        "bird" => Over::ALL.to_vec(),
        _ => Over::ROUTED.to_vec(),
    }
}

/// As [`start`], of those that have BFD.
pub(crate) fn start_with_bfd(
    kind: &str,
    network: &Network,
    peerings: &[Peering],
) -> Box<dyn BfdRouter> {
    match kind {
        "bird" => Box::new(Bird::start(&network.router, peerings)),
        "frr" => Box::new(Frr::start(&network.router, peerings)),
        other => panic!("no router with BFD is called {other}"),
    }
}

/// Tests: one for each router, beside which the function of that name is run.
macro_rules! beside {
    ($scenario:ident: $($router:ident),+) => {
        mod $scenario {
            $(#[test]
            fn $router() {
                super::$scenario(stringify!($router));
            })+
        }
    };
}
pub(crate) use beside;

impl dyn Router + '_ {
    /// Waits until one of its ways to the prefix is like that.
    pub(crate) fn until_path(&self, prefix: &str, is_so: impl Fn(&Path) -> bool) -> Duration {
        self.until_paths(prefix, |paths| paths.iter().any(&is_so))
    }

    /// Waits until its ways to the prefix are like that.
    pub(crate) fn until_paths(&self, prefix: &str, is_so: impl Fn(&[Path]) -> bool) -> Duration {
        until(prefix, PATIENCE, || {
            let paths = self.paths(prefix);
            is_so(&paths)
                .then_some(())
                .ok_or_else(|| format!("{paths:#?}\n{}", self.state()))
        })
    }

    /// Waits until there is none.
    pub(crate) fn until_no_path(&self, prefix: &str, limit: Duration) -> Duration {
        until(prefix, limit, || {
            let paths = self.paths(prefix);
            let is_so = paths.is_empty();
            is_so
                .then_some(())
                .ok_or_else(|| format!("{paths:#?}\n{}", self.state()))
        })
    }

    /// Waits for a NOTIFICATION.
    pub(crate) fn until_heard(&self, code: u8, subcode: u8) {
        let what = format!("{code}/{subcode} at the router");
        until(&what, PATIENCE, || {
            let heard = self.heard();
            let is_so = heard == Some((code, subcode));
            is_so
                .then_some(())
                .ok_or_else(|| format!("{heard:?}\n{}", self.state()))
        });
    }

    /// Waits until it knows so many IPv4 routes.
    pub(crate) fn until_count(&self, count: usize) {
        until("routes in the router", Duration::from_mins(1), || {
            // It goes through its tables for that, and does nothing else meanwhile.
            std::thread::sleep(Duration::from_millis(100));
            let known = self.count();
            (known == count).then_some(()).ok_or(known.to_string())
        });
    }
}
