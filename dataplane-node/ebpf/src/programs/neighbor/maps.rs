//! The maps of leased VIPs, and their use without `unsafe`.

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    helpers::bpf_ktime_get_boot_ns,
    macros::map,
    maps::{Array, HashMap, LruHashMap},
};
use lbfabric_abi::{
    Address, ClaimsSeen, LEASED_VIPS_MAX, LINKS_MAX, LeasedVip, LinkAddress, VIP_CLAIMS_MAX,
    VipClaim,
};

// Memory for entries that exist only.
#[map]
static LEASED_VIPS: HashMap<Address, LeasedVip> =
    HashMap::pinned(LEASED_VIPS_MAX, BPF_F_NO_PREALLOC);
#[map]
static LEASE: Array<u64> = Array::pinned(1, BPF_F_MMAPABLE);
#[map]
static LINKS: HashMap<u32, LinkAddress> = HashMap::pinned(LINKS_MAX, BPF_F_NO_PREALLOC);
// It is not kept: what others claim is seen again.
#[map]
static VIP_CLAIMS: LruHashMap<VipClaim, ClaimsSeen> =
    LruHashMap::with_max_entries(VIP_CLAIMS_MAX, 0);

/// Whether a VIP is leased, and whether the node holds it.
#[inline(always)]
pub(super) fn leased_vip(vip: &Address) -> Option<&'static LeasedVip> {
    // SAFETY: the agent replaces an entry as a whole, and the kernel frees the old one only after all programs that may
    // read it have ended.
    unsafe { LEASED_VIPS.get(vip) }
}

/// The end of the node's lease, in nanoseconds of [`boot_clock`].
#[inline(always)]
pub(super) fn lease_end() -> u64 {
    LEASE.get(0).copied().unwrap_or_default()
}

/// `CLOCK_BOOTTIME`, in nanoseconds: it goes on while the machine is suspended, as others' clocks do.
#[inline(always)]
pub(super) fn boot_clock() -> u64 {
    // SAFETY: the helper takes nothing.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// An interface's own address.
#[inline(always)]
pub(super) fn link(ifindex: u32) -> Option<&'static LinkAddress> {
    // SAFETY: the agent replaces an entry as a whole, and the kernel frees the old one only after all programs that may
    // read it have ended.
    unsafe { LINKS.get(ifindex) }
}

/// Notes that a host takes itself for the owner of a VIP.
#[inline(always)]
pub(super) fn note_claim(claim: &VipClaim, ifindex: u32) {
    let now = boot_clock();
    if let Some(seen) = VIP_CLAIMS.get_ptr_mut(claim) {
        // SAFETY: aligned words of a map's value; of two CPUs that write at the same time, either is right.
        unsafe {
            (*seen).last = now;
            (*seen).ifindex = ifindex;
            (*seen).count += 1;
        }
        return;
    }
    let seen = ClaimsSeen {
        first: now,
        last: now,
        count: 1,
        ifindex,
        zero: 0,
    };
    // Without it, the next one is noted.
    VIP_CLAIMS.insert(claim, seen, 0).ok();
}
