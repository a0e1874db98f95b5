use proptest::prelude::*;

use super::*;

fn of(micros: &[u64]) -> Histogram {
    let histogram = Histogram::new();
    for it in micros {
        histogram.record(Duration::from_micros(*it));
    }
    histogram
}

#[test]
fn buckets_follow_one_another_without_a_gap() {
    let mut end = 0;
    for octave in 0..OCTAVES {
        for bucket in 0..BUCKETS {
            let (from, to) = bounds(octave, bucket);
            assert_eq!(from, end);
            assert_eq!(place(from), (octave, bucket));
            assert_eq!(place(to - 1), (octave, bucket));
            end = to;
        }
    }
    assert_eq!(end, MICROS_MAX + 1);
}

#[test]
fn without_times_there_is_no_quantile() {
    let reading = Histogram::new().read();
    assert_eq!((reading.count(), reading.sum()), (0, Duration::ZERO));
    assert_eq!(reading.quantile(0.5), None);
    assert_eq!(reading.below(1 << 32), 0);
    assert_eq!(reading, HistogramReading::default());
}

#[test]
fn an_hour_and_more_counts_as_an_hour() {
    let histogram = Histogram::new();
    histogram.record(Duration::MAX);
    let reading = histogram.read();
    assert_eq!(reading.below(1 << 31), 0);
    assert_eq!(reading.below(1 << 32), 1);
    assert!(reading.quantile(1.0).unwrap() > Duration::from_secs(4_000));
}

/// Times of all magnitudes.
fn times() -> impl Strategy<Value = Vec<u64>> {
    let time = (0_u32..32, any::<u32>()).prop_map(|(shift, it)| u64::from(it >> shift));
    prop::collection::vec(time, 1..200)
}

proptest! {
    #[test]
    fn a_quantile_is_not_far_off(mut micros in times(), share in 0.0_f64..=1.0) {
        let reading = of(&micros).read();
        micros.sort_unstable();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "there are few"
        )]
        let rank = (micros.len() as f64 * share).ceil() as usize;
        let rank = rank.max(1);
        let right = Duration::from_micros(micros[rank - 1]);
        let said = reading.quantile(share).unwrap();
        // Times are cut to microseconds.
        let room = right / 20 + Duration::from_micros(1);
        prop_assert!(said.abs_diff(right) <= room, "{said:?} for {right:?}");
    }

    #[test]
    fn what_is_below_a_bucket_is_counted_exactly(micros in times(), power in 0_u32..=32, sixteenths in 0_u64..16) {
        let reading = of(&micros).read();
        let bound = if power < 4 { 1 << power } else { (16 + sixteenths) << (power - 4) };
        let below = micros.iter().filter(|it| **it < bound).count();
        prop_assert_eq!(reading.below(bound), below as u64);
        prop_assert_eq!(reading.count(), micros.len() as u64);
        prop_assert_eq!(reading.sum(), Duration::from_micros(micros.iter().sum()));
    }

    /// In whatever order, and however they are spread over workers.
    #[test]
    fn merging_is_counting_together(one in times(), other in times(), third in times()) {
        let all = of(&[one.as_slice(), &other, &third].concat()).read();
        let [one, other, third] = [one, other, third].map(|it| of(&it).read());
        let mut forwards = HistogramReading::default();
        for it in [&one, &other, &third] {
            forwards.merge(it);
        }
        let mut backwards = third;
        backwards.merge(&other);
        backwards.merge(&one);
        prop_assert_eq!(&forwards, &all);
        prop_assert_eq!(&backwards, &all);
    }
}
