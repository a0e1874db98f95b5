//! The first program, for what nearly all packets are: TCP or UDP in IP without options, to a service of single ports; a server's answer whose way is known; or of no concern. All else, failures among it, is left untouched to
//! `lbfabric_general`.

use lbfabric_abi::{
    DropReason, FilterRegion, FlowPlace, Mode, NextProgram, Reverse, RingSlot, Settings, Verdict,
    VipService,
};

use super::{
    affinity::{self, Question},
    bytes::load2,
    dnat, dsr,
    exit::{Exit, Step},
    fit,
    frame::{Frame, opaque},
    fullnat,
    gue::{self, Gue},
    headers::{ETHERNET, Headers, protocol},
    ip::Ip,
    maps, martian, rewrite, ring, route, tunnel,
    v4::V4,
    v6::V6,
};

const GENERAL: Step = Step::Next(NextProgram::General);

/// The first look at a packet.
#[inline(always)]
pub(crate) fn balance(frame: &Frame) -> Step {
    let start = frame.start();
    if !frame.reaches(start + ETHERNET) {
        return Step::Leave(Exit::pass(Verdict::PassNotIp));
    }
    // SAFETY: the header is in the frame.
    match unsafe { load2::<12>(start) } {
        V4::ETHERTYPE => screen::<V4>(frame),
        V6::ETHERTYPE => screen::<V6>(frame),
        _ => GENERAL,
    }
}

/// Passes what cannot concern a service.
#[inline(always)]
fn screen<I: Ip>(frame: &Frame) -> Step {
    let ip = frame.start() + ETHERNET;
    if !frame.reaches(ip + I::HEADER) {
        return GENERAL;
    }
    // SAFETY: the header is in the frame.
    let (source, destination) = unsafe { (I::source(ip), I::destination(ip)) };
    // Both bits are in one word.
    let own = I::bit(FilterRegion::Own, destination);
    let known = maps::filter_word(own.word);
    if I::bit(FilterRegion::Vip, destination).is_in(known) {
        return forward::<I>(frame);
    }
    // A router's error about a packet that went to a server comes from anywhere.
    // SAFETY: the header is in the frame.
    if unsafe { I::protocol(ip) } == I::ICMP {
        return GENERAL;
    }
    if own.is_in(known) {
        return Step::Next(NextProgram::FullnatPlainAnswer);
    }
    if maps::passes_filter(I::bit(FilterRegion::Prefix, destination)) {
        return GENERAL;
    }
    if maps::passes_filter(I::bit(FilterRegion::Server, source)) {
        return answer::<I>(frame);
    }
    Step::Leave(Exit::pass(Verdict::PassNotVip))
}

#[inline(always)]
fn forward<I: Ip>(frame: &Frame) -> Step {
    let Some(headers) = Headers::<I>::plain(frame) else {
        return GENERAL;
    };
    let port = headers.destination_port();
    let Some(service) = I::vip_port(headers.destination, port, headers.protocol) else {
        return GENERAL;
    };
    if service.flags & VipService::GENERAL != 0 || is_odd(&headers) {
        return GENERAL;
    }
    if service.mode == Mode::Fullnat as u8 {
        return fullnat::go_on(frame, &headers).map_or(GENERAL, Step::Leave);
    }
    match serve(frame, &headers, service) {
        Ok(exit) => Step::Leave(exit),
        Err(_reason) => GENERAL,
    }
}

/// What it refuses, it has not changed.
#[inline(always)]
fn serve<I: Ip>(
    frame: &Frame,
    headers: &Headers<I>,
    service: &VipService,
) -> Result<Exit, DropReason> {
    const DNAT: u8 = Mode::Dnat as u8;
    const DSR: u8 = Mode::Dsr as u8;
    const TUNNEL: u8 = Mode::Tunnel as u8;
    // Which reason does not matter: it is found out again.
    const REFUSED: DropReason = DropReason::Internal;

    if service.flags & VipService::CLAMP_MSS != 0 && headers.is_syn() {
        return Err(REFUSED);
    }
    let settings = maps::settings().ok_or(REFUSED)?;
    let hash = ring::hash(settings, service, headers);
    let slot = ring::slot(service, hash)?;
    if slot.cur == RingSlot::NONE {
        return Err(REFUSED);
    }
    let server = if slot.consult() {
        affinity::server(&question(headers, settings, slot, service.pool))
    } else {
        slot.cur
    };
    // None: no backend has that id.
    let backend = maps::backend(server).ok_or(REFUSED)?;
    // What does not fit, `lbfabric_general` has its sender told of.
    let fits = |around: usize| fit::fits(headers.length + around as u64, I::mtu(backend));
    let is_gue = service.flags & VipService::GUE != 0;
    let exit = match service.mode {
        TUNNEL if is_gue && fits(I::HEADER + gue::HEADERS) => {
            let gue = Some(Gue::new(headers, service, hash));
            tunnel::inside::<I, I>(frame, headers, settings, service, hash, backend, gue)
        }
        TUNNEL if !is_gue && fits(I::HEADER) => {
            tunnel::inside::<I, I>(frame, headers, settings, service, hash, backend, None)
        }
        DSR => dsr::forward::<I>(frame, backend),
        // By full NAT, where the answers would not come back through the node.
        DNAT if fits(0) && !I::is_beside(backend, headers.source) => {
            dnat::forward(frame, headers, service, backend)
        }
        _ => Err(REFUSED),
    }?;
    maps::count_traffic(service.service, server, headers.length);
    Ok(exit)
}

/// Whether a packet comes from or goes to where none should.
#[inline(always)]
fn is_odd<I: Ip>(headers: &Headers<I>) -> bool {
    I::is_martian(headers.source)
        || headers.source == headers.destination
        || martian::is_to_group(headers.ip - ETHERNET)
        || maps::passes_filter(I::bit(FilterRegion::Vip, headers.source))
}

#[inline(always)]
fn question<I: Ip>(
    headers: &Headers<I>,
    settings: &Settings,
    slot: RingSlot,
    pool: u32,
) -> Question {
    let is_syn = headers.is_syn();
    let hash = I::hash(
        &settings.flow_key,
        headers.source,
        headers.destination,
        headers.ports,
        headers.protocol,
    );
    Question {
        place: FlowPlace::of(hash),
        slot,
        pool,
        is_syn,
        is_first: is_syn || headers.protocol == protocol::UDP,
        zero: [0; 2],
    }
}

#[inline(always)]
fn answer<I: Ip>(frame: &Frame) -> Step {
    match translate::<I>(frame) {
        Some(exit) => Step::Leave(exit),
        None => GENERAL,
    }
}

#[inline(always)]
fn translate<I: Ip>(frame: &Frame) -> Option<Exit> {
    let headers = Headers::<I>::plain(frame)?;
    let reverse = I::reverse_port(headers.source, headers.source_port(), headers.protocol)?;
    headers.check_ttl().ok()?;
    let left = Reverse::EXACT | Reverse::CLAMP_MSS * headers.syn_ack();
    if opaque((reverse.flags & left).into()) != 0 {
        return None;
    }
    let new = dnat::answer(&headers, reverse);
    let hop = route::remembered::<I>(new.source, new.destination, headers.length)?;
    rewrite::flow(frame, &headers, &new, 1).ok()?;
    rewrite::link(frame, hop).ok()?;
    Some(Exit::send(
        Verdict::DnatAnswer,
        hop.ifindex,
        frame.ingress_ifindex(),
    ))
}
