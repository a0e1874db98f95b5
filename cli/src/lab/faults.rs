//! Kills parts of the fabric while traffic flows, and checks what must still hold.

mod flow;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use lbfabric_proto::v1;

use super::command::progress;
use super::mode::Mode;
use super::report::FaultRow;
use super::requirements::Binaries;
use super::topology::{CONTROLLERS, Host};
use super::{Lab, api, fabric};
use flow::Flow;

/// Requests that have to be answered in each phase of a fault: more than one round over all kinds.
const PHASE_REQUESTS: u32 = 100;
/// How soon after a leader's death the next `apply` has to have succeeded.
const APPLY_LIMIT: Duration = Duration::from_secs(2);

/// How often nodes report at least.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// One fault: what it is called and what is done. What is returned was measured; an error says what went wrong.
struct Fault {
    name: &'static str,
    run: fn(&mut Lab, &Binaries, &Flow) -> anyhow::Result<String>,
}

const FAULTS: [Fault; 3] = [
    Fault {
        name: "kill -9 the leading controller",
        run: kill_leader,
    },
    Fault {
        name: "kill -9 all controllers",
        run: kill_all_controllers,
    },
    Fault {
        name: "kill -9 a node agent",
        run: kill_agent,
    },
];

/// Runs every fault, each with traffic of every kind from before it until after its repair. The first one that fails is the
/// last one: the lab is not whole then.
pub(super) fn run(lab: &mut Lab, binaries: &Binaries) -> anyhow::Result<Vec<FaultRow>> {
    let mut rows = Vec::new();
    for Fault { name, run } in FAULTS {
        progress(name);
        let drops = drops(lab)?;
        let flow = Flow::start(lab.network.namespace(Host::Client), lab.interrupt.clone());
        let outcome = flow
            .answers_more(PHASE_REQUESTS, &lab.interrupt)
            .and_then(|()| run(lab, binaries, &flow));
        let exchange = flow.stop()?;
        lab.interrupt.check()?;
        let lost = exchange.sent - exchange.answered();
        let mut detail = match &outcome {
            Ok(measured) => measured.clone(),
            Err(error) => format!("{error:#}"),
        };
        if lost > 0 {
            let reasons: BTreeSet<&String> = exchange.failures.iter().collect();
            detail = format!("{detail}; {lost} requests lost: {reasons:?}");
            detail.push_str(&grown(&drops, lab));
        }
        let ok = outcome.is_ok() && lost == 0;
        rows.push(FaultRow {
            fault: name,
            sent: exchange.sent,
            answered: exchange.answered(),
            ok,
            detail,
        });
        if !ok {
            break;
        }
    }
    Ok(rows)
}

fn kill_leader(lab: &mut Lab, binaries: &Binaries, flow: &Flow) -> anyhow::Result<String> {
    lab.apply(
        binaries,
        &api::endpoints(),
        "before",
        &fabric::extra_pool("before-leader-death"),
    )?;
    let before = Stored::of(&api::list(&lab.ops())?);
    let leader = api::leader(&lab.ops()).ok_or_else(|| anyhow!("no controller leads"))?;
    lab.kill(Host::Controller(leader))?;
    let killed = Instant::now();
    let survivor = (1..=CONTROLLERS)
        .find(|&id| id != leader)
        .ok_or_else(|| anyhow!("there is only one controller"))?;
    let through = api::endpoint(survivor).to_string();
    let document = fabric::extra_pool("after-leader-death");
    while let Err(error) = lab.apply(binaries, &through, "after", &document) {
        if killed.elapsed() > APPLY_LIMIT {
            return Err(error.context("no `apply` succeeds through a surviving controller"));
        }
    }
    let took = killed.elapsed();
    if took > APPLY_LIMIT {
        bail!(
            "the next `apply` took {} ms, more than {} ms",
            took.as_millis(),
            APPLY_LIMIT.as_millis()
        );
    }
    flow.answers_more(PHASE_REQUESTS, &lab.interrupt)?;
    let after = Stored::of(&api::list_from(&lab.ops(), survivor)?);
    before.is_in(&after)?;
    lab.start_controller(binaries, leader)?;
    let back = Instant::now();
    lab.wait("the killed controller has caught up", |lab| {
        let own = api::list_from(&lab.ops(), leader).map_err(|error| format!("{error:#}"))?;
        let own = Stored::of(&own);
        after.is_in(&own).map_err(|error| error.to_string())
    })?;
    Ok(format!(
        "ctl{leader} led; the next apply succeeded {} ms after its death; everything acknowledged is there; it came back and caught up \
         in {} ms",
        took.as_millis(),
        back.elapsed().as_millis()
    ))
}

fn kill_all_controllers(lab: &mut Lab, binaries: &Binaries, flow: &Flow) -> anyhow::Result<String> {
    let listed = api::list(&lab.ops())?;
    let before = Stored::of(&listed);
    for id in 1..=CONTROLLERS {
        lab.kill(Host::Controller(id))?;
    }
    let killed = Instant::now();
    flow.answers_more(2 * PHASE_REQUESTS, &lab.interrupt)?;
    let without = killed.elapsed();
    for id in 1..=CONTROLLERS {
        lab.start_controller(binaries, id)?;
    }
    let restarted = Instant::now();
    lab.wait("a controller leads again", |lab| {
        api::leader(&lab.ops()).ok_or_else(|| "none says so".to_owned())
    })?;
    let led = restarted.elapsed();
    before.is_in(&Stored::of(&api::list(&lab.ops())?))?;
    lab.wait_until_ready(listed.generation)?;
    Ok(format!(
        "traffic went on for {} ms without any controller; a leader {} ms after their start; the state is there; every node connected \
         again",
        without.as_millis(),
        led.as_millis()
    ))
}

fn kill_agent(lab: &mut Lab, binaries: &Binaries, flow: &Flow) -> anyhow::Result<String> {
    let host = Host::Node(1);
    let before = counters(lab, host)?;
    lab.kill(host)?;
    lab.wait("the controllers notice", |lab| {
        let listed = api::list(&lab.ops()).map_err(|error| format!("{error:#}"))?;
        match fabric::node_status(&listed.objects, &host.to_string()) {
            Some(status) if !status.connected => Ok(()),
            _ => Err(format!("{host} counts as connected")),
        }
    })?;
    flow.answers_more(2 * PHASE_REQUESTS, &lab.interrupt)?;
    lab.start_agent(binaries, host)?;
    let restarted = Instant::now();
    let generation = api::list(&lab.ops())?.generation;
    lab.wait_until_ready(generation)?;
    let ready = restarted.elapsed();
    let after = counters(lab, host)?;
    // The program that steers packets to the engine goes with it, and its counters.
    for (name, count) in before
        .iter()
        .filter(|(name, _)| !name.starts_with("engine-"))
    {
        let now = after.get(name).copied().unwrap_or_default();
        if now < *count {
            bail!("{host}'s counter {name} went back from {count} to {now}");
        }
    }
    let grown = |mode: &Mode| after.get(mode.name()) > before.get(mode.name());
    let mut carried = Mode::ALL.iter().filter(|mode| mode.is_packets());
    if let Some(mode) = carried.find(|mode| !grown(mode)) {
        bail!("{host} forwarded nothing by {mode} without its agent");
    }
    let total = |of: &BTreeMap<String, u64>| {
        Mode::ALL
            .iter()
            .filter_map(|mode| of.get(mode.name()))
            .sum::<u64>()
    };
    Ok(format!(
        "{host} forwarded on without its agent; the new one had adopted the program after {} ms; its counters went on from {} to {}",
        ready.as_millis(),
        total(&before),
        total(&after)
    ))
}

/// A node's counters, as reported last.
fn counters(lab: &Lab, host: Host) -> anyhow::Result<BTreeMap<String, u64>> {
    let listed = api::list(&lab.ops())?;
    let status = fabric::node_status(&listed.objects, &host.to_string())
        .ok_or_else(|| anyhow!("no status of {host}"))?;
    Ok(status
        .counters
        .iter()
        .map(|(name, count)| (name.clone(), *count))
        .collect())
}

/// What each node and server has dropped, by node and reason.
fn drops(lab: &Lab) -> anyhow::Result<BTreeMap<String, u64>> {
    let listed = api::list(&lab.ops())?;
    let mut drops = BTreeMap::new();
    for host in Host::all() {
        let name = host.to_string();
        let status = fabric::node_status(&listed.objects, &name);
        for (reason, count) in status.iter().flat_map(|status| &status.counters) {
            if reason.starts_with("drop-") {
                drops.insert(format!("{name} {reason}"), *count);
            }
        }
    }
    Ok(drops)
}

/// In words, what was dropped since `before`: where lost requests may be.
fn grown(before: &BTreeMap<String, u64>, lab: &mut Lab) -> String {
    // Reports come at least this often.
    std::thread::sleep(REPORT_INTERVAL);
    let Ok(now) = drops(lab) else {
        return "; what was dropped is not known".to_owned();
    };
    let grown = now.iter().filter_map(|(what, count)| {
        let more = count - before.get(what).copied().unwrap_or_default().min(*count);
        (more > 0).then(|| format!("{what} {more}"))
    });
    let grown: Vec<String> = grown.collect();
    format!("; dropped meanwhile: {grown:?}")
}

/// What a user has written into the fabric.
struct Stored(BTreeMap<(i32, String), (u64, Option<v1::object::Spec>)>);

impl Stored {
    fn of(listed: &v1::ListResponse) -> Self {
        let objects = listed.objects.iter().filter_map(|object| {
            let of = object.r#ref.as_ref()?;
            object.spec.as_ref()?;
            let key = (of.kind, of.name.clone());
            Some((key, (object.generation, object.spec.clone())))
        });
        Self(objects.collect())
    }

    /// An error if something is missing in `other`, or is another version there.
    fn is_in(&self, other: &Self) -> anyhow::Result<()> {
        let Self(objects) = self;
        for (key, stored) in objects {
            match other.0.get(key) {
                None => bail!("{} is lost", key.1),
                Some(found) if found != stored => bail!("{} is not as it was", key.1),
                Some(_) => {}
            }
        }
        Ok(())
    }
}
