//! Whether a frame that the node sends back is a right message about the one that came.

use super::{
    icmp_packets::QUOTE_MAX,
    kernel::{Action, Ran},
    reference::{Seen, What, read, sum},
    verdicts::family,
};

/// IP protocol numbers.
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// Bytes of an ICMP header.
const HEADER: usize = 8;

/// Checks it.
pub(crate) fn check(frame: &[u8], seen: &Seen, counter: &str, ran: &Ran) -> Result<(), String> {
    let tags = 12..seen.ip;
    let turned = [&frame[6..12], &frame[..6], &frame[tags]].concat();
    if ran.action != Action::Tx || ran.frame.get(..seen.ip) != Some(&turned) {
        return Err("it does not go back where it came from".to_owned());
    }
    let out = read(&ran.frame).map_err(|odd| format!("{odd:?}"))?;
    let family = family(seen.source);
    let source = if counter == "icmp-time-exceeded" {
        family.node()
    } else {
        seen.destination
    };
    if out.destination != seen.source || out.source != source || out.ttl != 64 {
        return Err(format!("addresses: {out:?}"));
    }
    let is_v4 = seen.source.is_ipv4();
    let protocol = if is_v4 { ICMP } else { ICMPV6 };
    let message = &ran.frame[out.l4..out.end];
    let is_echo = counter == "icmp-echo-reply";
    // A request's own checksum may be wrong; the reply's is then as wrong.
    let wanted = if is_echo { covered(frame, seen) } else { 0 };
    let is_summed = covered(&ran.frame, &out) == wanted;
    let is_header = !is_v4 || is_echo || sum(&[&ran.frame[out.ip..out.l4]]) == 0;
    if out.what != What::Other(protocol) || !is_summed || !is_header {
        return Err(format!("message: {out:?}"));
    }
    let is_right = if is_echo {
        message[4..] == frame[seen.l4 + 4..seen.end] && ran.frame.len() == frame.len()
    } else {
        let most = if is_v4 { QUOTE_MAX[0] } else { QUOTE_MAX[1] };
        let quoted = &frame[seen.ip..seen.end.min(seen.ip + most)];
        message[HEADER..] == *quoted && ran.frame.len() == out.end
    };
    if !is_right {
        return Err("it tells of another packet".to_owned());
    }
    Ok(())
}

/// What a packet's ICMP checksum is about, and that itself, adds up to.
fn covered(frame: &[u8], seen: &Seen) -> u16 {
    let message = &frame[seen.l4..seen.end];
    if seen.source.is_ipv4() {
        return sum(&[message]);
    }
    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
    let addresses = &frame[seen.ip + 8..seen.ip + 40];
    sum(&[addresses, &length, &[0, ICMPV6], message])
}
