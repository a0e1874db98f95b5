//! Words at any address. BPF reads and writes them with one instruction; the compiler would go byte by byte, as it does
//! not know that unaligned ones are fine.

macro_rules! words {
    ($($load:ident $store:ident $bits:literal,)+) => {
        $(
            /// # Safety
            /// The bytes at `AT` behind `from` can be read.
            #[inline(always)]
            pub(crate) unsafe fn $load<const AT: usize>(from: usize) -> u64 {
                let word: u64;
                // SAFETY: the caller's.
                unsafe {
                    core::arch::asm!(concat!("{word} = *(u", $bits, " *)({from} + {at})"), word = lateout(reg) word,
                        from = in(reg) from, at = const AT, options(readonly, nostack));
                }
                word
            }

            /// # Safety
            /// The bytes at `AT` behind `to` can be written, and nothing holds a reference to them.
            #[inline(always)]
            pub(crate) unsafe fn $store<const AT: usize>(to: usize, word: u64) {
                // SAFETY: the caller's.
                unsafe {
                    core::arch::asm!(concat!("*(u", $bits, " *)({to} + {at}) = {word}"), word = in(reg) word,
                        to = in(reg) to, at = const AT, options(nostack));
                }
            }
        )+
    };
}

words! {
    load1 store1 8,
    load2 store2 16,
    load4 store4 32,
    load8 store8 64,
}

/// Two bytes, the other way round.
#[inline(always)]
pub(crate) const fn swap2(word: u64) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "as many bytes count")]
    let word = word as u16;
    word.swap_bytes() as u64
}
