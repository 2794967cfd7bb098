//! A thin builder over the prometheus crate's families: a metric is read from its source at the
//! moment of the scrape, so nothing is stored twice and no worker knows that metrics exist.

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};
use prometheus::{Encoder as _, TextEncoder};

/// Labels of one sample.
pub(crate) type Labels<'a> = &'a [(&'static str, &'a str)];

/// Metric families in the order in which they are declared.
#[derive(Debug, Default)]
pub(crate) struct Families(Vec<MetricFamily>);

impl Families {
    /// Begins a family of counters; the name ends in `_total`.
    pub(crate) fn counter(&mut self, name: &str, help: &str) -> Family<'_> {
        debug_assert!(name.ends_with("_total"), "a counter's name ends in _total");
        self.family(name, help, MetricType::COUNTER)
    }

    /// Begins a family of gauges.
    pub(crate) fn gauge(&mut self, name: &str, help: &str) -> Family<'_> {
        self.family(name, help, MetricType::GAUGE)
    }

    /// Begins a family of histograms.
    pub(crate) fn histogram(&mut self, name: &str, help: &str) -> Family<'_> {
        self.family(name, help, MetricType::HISTOGRAM)
    }

    fn family(&mut self, name: &str, help: &str, kind: MetricType) -> Family<'_> {
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        self.0.push(family);
        let last = self.0.len() - 1;
        Family {
            family: &mut self.0[last],
        }
    }

    /// The text format 0.0.4; families without a sample are left out.
    pub(crate) fn text(mut self) -> Result<String, prometheus::Error> {
        self.0.retain(|family| !family.get_metric().is_empty());
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.0, &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

/// One family, to be filled with samples.
#[derive(Debug)]
pub(crate) struct Family<'a> {
    family: &'a mut MetricFamily,
}

impl Family<'_> {
    /// Adds a sample.
    #[expect(clippy::cast_precision_loss, reason = "Prometheus values are floats")]
    pub(crate) fn add(&mut self, labels: Labels<'_>, value: u64) -> &mut Self {
        self.add_f64(labels, value as f64)
    }

    /// Adds a sample that is no whole number.
    pub(crate) fn add_f64(&mut self, labels: Labels<'_>, value: f64) -> &mut Self {
        let mut metric = labelled(labels);
        if self.family.get_field_type() == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.family.mut_metric().push(metric);
        self
    }

    /// Adds a histogram from counts per bucket (not cumulative), their bounds and the sum.
    pub(crate) fn add_histogram(
        &mut self,
        labels: Labels<'_>,
        buckets: impl Iterator<Item = (f64, u64)>,
        beyond: u64,
        sum: f64,
    ) -> &mut Self {
        let mut count = 0;
        let mut list = Vec::new();
        for (bound, here) in buckets {
            count += here;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(count);
            list.push(bucket);
        }
        let mut histogram = Histogram::default();
        histogram.set_bucket(list);
        histogram.set_sample_count(count + beyond);
        histogram.set_sample_sum(sum);
        let mut metric = labelled(labels);
        metric.set_histogram(histogram);
        self.family.mut_metric().push(metric);
        self
    }
}

fn labelled(labels: Labels<'_>) -> Metric {
    let pair = |&(name, value): &(&'static str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    };
    Metric::from_label(labels.iter().map(pair).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_written_in_the_text_format() {
        let mut families = Families::default();
        families
            .counter("weir_a_total", "A.")
            .add(&[("worker", "0")], 7);
        families.gauge("weir_empty", "Nothing.");
        families.histogram("weir_h", "H.").add_histogram(
            &[],
            [(1.0, 2), (2.0, 3)].into_iter(),
            1,
            9.5,
        );
        let text = families.text().expect("encodes");
        assert!(
            text.contains("# TYPE weir_a_total counter\nweir_a_total{worker=\"0\"} 7\n"),
            "{text}"
        );
        assert!(!text.contains("weir_empty"));
        assert!(text.contains("weir_h_bucket{le=\"2\"} 5\n"), "{text}");
        assert!(text.contains("weir_h_bucket{le=\"+Inf\"} 6\n"), "{text}");
        assert!(text.contains("weir_h_count 6\n"), "{text}");
    }
}
