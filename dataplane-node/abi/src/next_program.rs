/// A program that the load balancer's entry program goes on with by a tail call: its place in `PROGRAMS`.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextProgram {
    /// What the entry program does not settle itself.
    General = 0,
}

impl NextProgram {
    /// All of them, by index.
    pub const ALL: &[Self] = &[Self::General];

    /// Its index in `PROGRAMS`.
    #[inline(always)]
    pub const fn index(self) -> u32 {
        self as u32
    }

    /// Its name in the object.
    pub const fn program(self) -> &'static str {
        match self {
            Self::General => "lbfabric_general",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_has_its_place() {
        for (place, next) in (0..).zip(NextProgram::ALL) {
            assert_eq!(next.index(), place);
            assert!(next.program().starts_with("lbfabric_"));
        }
    }
}
