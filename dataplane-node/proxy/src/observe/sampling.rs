/// Which requests of a service are logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sampling {
    /// One in so many; none if it is 0.
    pub one_in: u32,
    /// Every one that went wrong as well: see [`Record::is_error`](super::Record::is_error).
    pub errors: bool,
}

/// Counts a worker's requests for a [`Sampling`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sampler {
    /// Requests until the next one is taken.
    left: u32,
}

impl Sampling {
    /// Every request.
    pub const ALL: Self = Self {
        one_in: 1,
        errors: true,
    };
}

impl Sampler {
    /// Whether this request is one of those.
    pub(crate) fn takes(&mut self, one_in: u32) -> bool {
        if one_in == 0 {
            return false;
        }
        if self.left == 0 {
            self.left = one_in;
        }
        self.left -= 1;
        self.left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_so_many_is_taken() {
        for (one_in, taken) in [(0, 0), (1, 1000), (2, 500), (3, 333), (1000, 1), (1001, 0)] {
            let mut sampler = Sampler::default();
            let count = (0..1000).filter(|_| sampler.takes(one_in)).count();
            assert_eq!(count, taken, "one in {one_in}");
        }
        let mut sampler = Sampler::default();
        assert!(!sampler.takes(1_000_000));
        assert!(!sampler.takes(0));
    }
}
