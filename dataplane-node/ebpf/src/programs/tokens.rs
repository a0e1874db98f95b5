//! Token buckets, which all CPUs take from.

use core::ptr::NonNull;

use lbfabric_abi::{
    RateLimit, SOURCE_TOKEN_SETS, SOURCE_WAYS, Settings, SourcePrefix, SourceTokens,
};

use super::{atomic::compare_exchange, frame::opaque, maps};

/// How often a CPU tries again where another one was faster.
const TRIES: usize = 4;
/// None of a set's ways.
const NO_WAY: usize = SOURCE_WAYS;

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
    // By arithmetic instead of branches, each of which the verifier would follow through all ways. No time has the highest bit.
    let (mut same, mut fullest, mut full_at) = (NO_WAY, 0, u64::MAX >> 1);
    for way in 0..SOURCE_WAYS {
        let differs = load(tag_of(set, way)) ^ tag;
        let is_same = !all_ones((differs | differs.wrapping_neg()) >> 63);
        same ^= (same ^ way) & is_same as usize;
        let held = load(bucket_of(set, way));
        let is_fuller = all_ones(held.wrapping_sub(full_at) >> 63);
        fullest ^= (fullest ^ way) & is_fuller as usize;
        full_at ^= (full_at ^ held) & is_fuller;
    }
    if opaque(same) != NO_WAY {
        return take(bucket_of(set, opaque(same) % SOURCE_WAYS), limit, now);
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

/// All bits set for one, none for zero.
#[inline(always)]
fn all_ones(bit: u64) -> u64 {
    (opaque(bit as usize) as u64).wrapping_neg()
}

// Not inlined: the verifier then goes on from two ends of it, not from each way through.
#[inline(never)]
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
