//! VLAN tags, IEEE 802.1Q: at most two before the network header.
//!
//! ```text
//! destination | source | 88a8 or 8100, tag | 8100, tag | type | IP ...
//! ```
//!
//! `lbfabric_general` reads a tagged frame as it is, and takes the tags off once the frame concerns a service: the programs
//! behind it know untagged frames only.

use lbfabric_abi::DropReason;

use super::{
    bytes::{load2, load4, load8, store4, store8},
    frame::Frame,
    headers::ETHERNET,
    maps,
    packet::Scratch,
};

/// Bytes of a tag with the type before it.
const TAG: usize = 4;
/// A customer's tag, or the inner one.
const CUSTOMER: u64 = u16::from_ne_bytes([0x81, 0x00]) as u64;
/// A provider's tag, IEEE 802.1ad.
const PROVIDER: u64 = u16::from_ne_bytes([0x88, 0xa8]) as u64;

/// The type of what follows an Ethernet header and its tags, as in the frame, and how many bytes the tags are. None if the
/// frame ends before.
#[inline(always)]
pub(crate) fn skip(frame: &Frame) -> Option<(u64, usize)> {
    let start = frame.start();
    if !frame.reaches(start + ETHERNET) {
        return None;
    }
    // SAFETY: the header is in the frame.
    let first = unsafe { load2::<12>(start) };
    if !matches!(first, CUSTOMER | PROVIDER) {
        return Some((first, 0));
    }
    if !frame.reaches(start + ETHERNET + TAG) {
        return None;
    }
    // SAFETY: the tag is in the frame.
    let second = unsafe { load2::<16>(start) };
    if !matches!(second, CUSTOMER | PROVIDER) {
        return Some((second, TAG));
    }
    if !frame.reaches(start + ETHERNET + 2 * TAG) {
        return None;
    }
    // SAFETY: both tags are in the frame.
    Some((unsafe { load2::<20>(start) }, 2 * TAG))
}

/// Takes the tags off a packet that has been read, and keeps them.
#[inline(always)]
pub(crate) fn take_off(frame: &Frame, scratch: &mut Scratch) -> Result<(), DropReason> {
    let bytes = scratch.packet.tag_bytes;
    if bytes == 0 {
        return Ok(());
    }
    let start = frame.start();
    if !frame.reaches(start + ETHERNET + 2 * TAG) {
        return Err(DropReason::Internal);
    }
    // SAFETY: as much is in the frame.
    let addresses = unsafe {
        scratch.tags = load8::<12>(start);
        (load8::<0>(start), load4::<8>(start))
    };
    frame.cut_head(bytes.into()).ok_or(DropReason::Internal)?;
    scratch.packet.ip_at -= u16::from(bytes);
    scratch.packet.l4_at -= u16::from(bytes);
    write_addresses(frame, addresses)
}

/// Puts the tags of the packet back, if it had any.
#[inline(always)]
pub(crate) fn put_back(frame: &Frame) -> Result<(), DropReason> {
    // The program has done with its own reference.
    let scratch = maps::scratch().ok_or(DropReason::Internal)?;
    let bytes = scratch.packet.tag_bytes;
    if bytes == 0 {
        return Ok(());
    }
    let start = frame.start();
    if !frame.reaches(start + ETHERNET) {
        return Err(DropReason::Internal);
    }
    // SAFETY: the header is in the frame.
    let addresses = unsafe { (load8::<0>(start), load4::<8>(start)) };
    frame
        .grow_head(bytes.into())
        .ok_or(DropReason::NoHeadroom)?;
    write_addresses(frame, addresses)?;
    let start = frame.start();
    if !frame.reaches(start + ETHERNET + 2 * TAG) {
        return Err(DropReason::Internal);
    }
    // SAFETY: as much is in the frame. The type stands already where it belongs.
    unsafe {
        if usize::from(bytes) == TAG {
            store4::<12>(start, scratch.tags);
        } else {
            store8::<12>(start, scratch.tags);
        }
    }
    Ok(())
}

#[inline(always)]
fn write_addresses(frame: &Frame, addresses: (u64, u64)) -> Result<(), DropReason> {
    let start = frame.start();
    if !frame.reaches(start + ETHERNET) {
        return Err(DropReason::Internal);
    }
    // SAFETY: the header is in the frame.
    unsafe {
        store8::<0>(start, addresses.0);
        store4::<8>(start, addresses.1);
    }
    Ok(())
}
