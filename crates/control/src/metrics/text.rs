//! The text format of Prometheus (version 0.0.4).

use std::fmt::Write as _;

use super::histogram::Histogram;

/// A page of metrics under way.
#[derive(Default)]
pub(super) struct Page(String);

/// Names and values that tell series apart.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

impl Page {
    /// Begins a metric; its samples follow.
    pub(super) fn metric(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    pub(super) fn sample(&mut self, name: &str, labels: Labels<'_>, value: impl std::fmt::Display) {
        self.0.push_str(name);
        self.labels(labels, None);
        let _ = writeln!(self.0, " {value}");
    }

    pub(super) fn histogram(&mut self, name: &str, labels: Labels<'_>, histogram: &Histogram) {
        let mut bucket = |bound: &str, count: u64| {
            let _ = write!(self.0, "{name}_bucket");
            self.labels(labels, Some(("le", bound)));
            let _ = writeln!(self.0, " {count}");
        };
        for (bound, count) in histogram.cumulative() {
            bucket(&bound.to_string(), count);
        }
        bucket("+Inf", histogram.count());
        self.sample(&format!("{name}_sum"), labels, histogram.sum());
        self.sample(&format!("{name}_count"), labels, histogram.count());
    }

    fn labels(&mut self, labels: Labels<'_>, last: Option<(&str, &str)>) {
        let mut separator = '{';
        for (name, value) in labels.iter().copied().chain(last) {
            let _ = write!(self.0, "{separator}{name}=\"");
            for c in value.chars() {
                match c {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    c => self.0.push(c),
                }
            }
            self.0.push('"');
            separator = ',';
        }
        if separator == ',' {
            self.0.push('}');
        }
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut page = Page::default();
        page.metric("a_total", "counter", "Things.");
        page.sample("a_total", &[("x", "\\d\"\n")], 1);
        page.sample("a_total", &[], 2.5);
        assert_eq!(page.finish(), "# HELP a_total Things.\n# TYPE a_total counter\na_total{x=\"\\\\d\\\"\\n\"} 1\na_total 2.5\n");
    }
}
