//! Counters and histograms in memory, and how Prometheus reads them (text format 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Series of one name; what comes after them is counted as `other`, so that nobody can fill the memory by being new.
const MOST_SERIES: usize = 256;

/// What stands for every label beyond those.
const OTHER: &str = "other";

/// Label values in the order of the family's label names.
type Labels = Vec<String>;

/// Counters of one name.
#[derive(Debug, Default)]
pub struct Counters(Mutex<BTreeMap<Labels, u64>>);

impl Counters {
    /// Counts `by` more with these values of the family's labels.
    pub fn add(&self, labels: &[&str], by: u64) {
        let mut series = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let labels = known(&series, labels);
        *series.entry(labels).or_default() += by;
    }

    /// Writes the family.
    pub fn write(&self, out: &mut Page, name: &str, help: &str, labels: &[&str]) {
        let series = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        out.family(name, help, "counter");
        for (values, count) in &*series {
            out.sample(name, "", labels, values, None, *count as f64);
        }
    }
}

/// Histograms of one name.
#[derive(Debug)]
pub struct Histograms {
    bounds: &'static [f64],
    series: Mutex<BTreeMap<Labels, Histogram>>,
}

#[derive(Debug)]
struct Histogram {
    /// Observations up to each bound and no earlier one; the last are beyond all.
    counts: Vec<u64>,
    sum: f64,
}

impl Histograms {
    /// Histograms whose buckets end at these bounds, which rise.
    #[must_use]
    pub fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, series: Mutex::default() }
    }

    /// Puts one observation into the histogram of these values of the family's labels.
    pub fn observe(&self, labels: &[&str], value: f64) {
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let labels = known(&series, labels);
        let empty = || Histogram { counts: vec![0; self.bounds.len() + 1], sum: 0.0 };
        let histogram = series.entry(labels).or_insert_with(empty);
        let place = self.bounds.partition_point(|bound| *bound < value);
        histogram.counts[place] += 1;
        histogram.sum += value;
    }

    /// The same with how long something took, in seconds.
    pub fn time(&self, labels: &[&str], time: Duration) {
        self.observe(labels, time.as_secs_f64());
    }

    /// Writes the family.
    pub fn write(&self, out: &mut Page, name: &str, help: &str, labels: &[&str]) {
        let series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        out.family(name, help, "histogram");
        for (values, histogram) in &*series {
            let mut count = 0;
            let bounds = self.bounds.iter().map(|bound| format!("{bound}")).chain(["+Inf".to_owned()]);
            for (bound, here) in bounds.zip(&histogram.counts) {
                count += here;
                out.sample(name, "_bucket", labels, values, Some(&bound), count as f64);
            }
            out.sample(name, "_sum", labels, values, None, histogram.sum);
            out.sample(name, "_count", labels, values, None, count as f64);
        }
    }
}

fn known<T>(series: &BTreeMap<Labels, T>, labels: &[&str]) -> Labels {
    let labels: Labels = labels.iter().map(|label| (*label).to_owned()).collect();
    if series.len() < MOST_SERIES || series.contains_key(&labels) {
        return labels;
    }
    vec![OTHER.to_owned(); labels.len()]
}

/// A page for Prometheus.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    /// One number.
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.family(name, help, "gauge");
        self.sample(name, "", &[], &[], None, value);
    }

    /// One number that only grows.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, help, "counter");
        self.sample(name, "", &[], &[], None, value as f64);
    }

    /// Gauges of one name.
    pub fn gauges(&mut self, name: &str, help: &str, label: &str, values: &[(String, f64)]) {
        self.family(name, help, "gauge");
        for (labelled, value) in values {
            self.sample(name, "", &[label], std::slice::from_ref(labelled), None, *value);
        }
    }

    /// Gauges of one name, each with values of several labels.
    pub fn labelled_gauges(&mut self, name: &str, help: &str, labels: &[&str], values: &[(Vec<String>, f64)]) {
        self.family(name, help, "gauge");
        for (labelled, value) in values {
            self.sample(name, "", labels, labelled, None, *value);
        }
    }

    /// What there is to send.
    #[must_use]
    pub fn into_text(self) -> String {
        self.0
    }

    fn family(&mut self, name: &str, help: &str, kind: &str) {
        let name = written(name);
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(
        &mut self,
        name: &str,
        suffix: &str,
        labels: &[&str],
        values: &[String],
        bound: Option<&str>,
        value: f64,
    ) {
        self.0.push_str(&written(name));
        self.0.push_str(suffix);
        let bound = bound.map(|bound| ("le".to_owned(), bound.to_owned()));
        let pairs = labels.iter().zip(values).map(|(label, value)| (written(label), escaped(value)));
        let pairs: Vec<String> = pairs.chain(bound).map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        if !pairs.is_empty() {
            let _ = write!(self.0, "{{{}}}", pairs.join(","));
        }
        let _ = writeln!(self.0, " {value}");
    }
}

/// Prometheus knows no dots.
fn written(name: &str) -> String {
    name.replace('.', "_")
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_what_prometheus_reads() {
        let (counters, histograms) = (Counters::default(), Histograms::new(&[0.1, 1.0]));
        counters.add(&["a \"b\"\n\\"], 2);
        for value in [0.05, 0.1, 0.5, 3.0] {
            histograms.observe(&["m"], value);
        }
        let mut page = Page::default();
        counters.write(&mut page, "x.y_total", "Some.", &["the.label"]);
        histograms.write(&mut page, "h_seconds", "Times.", &["model"]);
        page.gauge("g", "One.", 1.5);
        page.labelled_gauges("l", "Several.", &["a", "b"], &[(vec!["1".to_owned(), "2".to_owned()], 0.5)]);
        assert_eq!(
            page.into_text(),
            "# HELP x_y_total Some.\n# TYPE x_y_total counter\n\
             x_y_total{the_label=\"a \\\"b\\\"\\n\\\\\"} 2\n\
             # HELP h_seconds Times.\n# TYPE h_seconds histogram\n\
             h_seconds_bucket{model=\"m\",le=\"0.1\"} 2\n\
             h_seconds_bucket{model=\"m\",le=\"1\"} 3\n\
             h_seconds_bucket{model=\"m\",le=\"+Inf\"} 4\n\
             h_seconds_sum{model=\"m\"} 3.65\n\
             h_seconds_count{model=\"m\"} 4\n\
             # HELP g One.\n# TYPE g gauge\ng 1.5\n\
             # HELP l Several.\n# TYPE l gauge\nl{a=\"1\",b=\"2\"} 0.5\n"
        );
    }

    #[test]
    fn new_labels_do_not_fill_the_memory() {
        let counters = Counters::default();
        for number in 0..10_000 {
            counters.add(&[&format!("label-{number}")], 1);
        }
        let series = counters.0.lock().unwrap();
        assert_eq!(series.len(), MOST_SERIES + 1);
        assert_eq!(series[&vec![OTHER.to_owned()]], 10_000 - MOST_SERIES as u64);
    }
}
