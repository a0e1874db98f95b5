//! Token buckets, which all CPUs take from.

use core::ptr::NonNull;

use lbfabric_abi::{
    RateLimit, SOURCE_TOKEN_SETS, SOURCE_WAYS, Settings, SourcePrefix, SourceTokens,
};

use super::{atomic::compare_exchange, frame::opaque, maps};

/// How often a CPU tries again where another one was faster.
const TRIES: usize = 4;

/// Takes a token of a service; false if there is none.
#[inline(always)]
pub(crate) fn take_of_service(id: u32, limit: &RateLimit, now: u64) -> bool {
    maps::service_tokens(id).is_some_and(|place| take(place, limit, now))
}

/// Takes a token of a client; false if there is none.
///
/// Of a set's clients, those make room first whose bucket is fullest, as a bucket that is not there is a full one: a flood of
/// clients does not wash away who is at the limit, and never takes more memory.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the lower half of a hash")]
pub(crate) fn take_of_source(
    client: &SourcePrefix,
    limit: &RateLimit,
    settings: &Settings,
    now: u64,
) -> bool {
    let hash = settings
        .flow_key
        .hash6(client.address.words(), [client.guard, 0, 0, 0], 0, 0);
    let tag = hash | u64::from(hash == 0);
    let Some(set) = maps::source_tokens(hash as u32 & (SOURCE_TOKEN_SETS - 1)) else {
        return false;
    };
    let (mut fullest, mut full_at) = (0, u64::MAX);
    for way in 0..SOURCE_WAYS {
        if load(tag_of(set, way)) == tag {
            return take(bucket_of(set, way), limit, now);
        }
        let held = load(bucket_of(set, way));
        if held < full_at {
            (fullest, full_at) = (way, held);
        }
    }
    let way = opaque(fullest) % SOURCE_WAYS;
    let place = tag_of(set, way);
    if compare_exchange(place, load(place), tag)
        && let Some(first) = limit.take(0, now)
    {
        // If it fails, another CPU has counted for the client before; one token more or less does not matter.
        compare_exchange(bucket_of(set, way), full_at, first);
    }
    true
}

#[inline(always)]
fn take(place: NonNull<u64>, limit: &RateLimit, now: u64) -> bool {
    for _ in 0..TRIES {
        let full_at = load(place);
        let Some(next) = limit.take(full_at, now) else {
            return false;
        };
        if compare_exchange(place, full_at, next) {
            return true;
        }
    }
    false
}

#[inline(always)]
fn tag_of(set: NonNull<SourceTokens>, way: usize) -> NonNull<u64> {
    // SAFETY: the first words of the set, of which there are `SOURCE_WAYS`.
    unsafe { set.cast::<u64>().add(way) }
}

#[inline(always)]
fn bucket_of(set: NonNull<SourceTokens>, way: usize) -> NonNull<u64> {
    // SAFETY: the words behind them, as many.
    unsafe { set.cast::<u64>().add(SOURCE_WAYS + way) }
}

#[inline(always)]
fn load(place: NonNull<u64>) -> u64 {
    // SAFETY: an aligned word of a map's value, which lives as long as the map; BPF reads eight bytes by one instruction.
    unsafe { place.read_volatile() }
}
