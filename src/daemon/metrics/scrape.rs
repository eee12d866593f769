//! The text of one scrape: a recorder of its own for each, which is written out and dropped, so that nothing of what is
//! gone stays behind and nothing has to be kept up between scrapes.
//!
//! The exporter has whole counters and gauges. Its histograms want every single value, which our workers do not keep, and
//! its counters hold no fractions of a second: those are written here.

use super::family::{Family, Kind};
use metrics::{Key, KeyName, Label, Metadata, Recorder, SharedString};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use std::collections::BTreeMap;
use std::fmt::Write;

/// A scrape that is being collected.
pub(super) struct Scrape {
    recorder: PrometheusRecorder,
    /// The lines of the families that are written here.
    written: BTreeMap<&'static str, (&'static Family, String)>,
}

/// The level is for filters that nobody sets.
const METADATA: Metadata<'_> = Metadata::new("plustwo", metrics::Level::INFO, None);

impl Scrape {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self { recorder: PrometheusBuilder::new().build_recorder(), written: BTreeMap::new() }
    }

    /// Says how far a counter is; `values` are those of its labels. What is said twice of the same labels adds up.
    pub(super) fn counter(&mut self, family: &'static Family, values: &[&str], number: u64) {
        debug_assert_eq!(family.kind, Kind::Counter, "{}", family.name);
        self.recorder.describe_counter(
            KeyName::from_const_str(family.name),
            None,
            SharedString::const_str(family.help),
        );
        self.recorder.register_counter(&key(family, values), &METADATA).increment(number);
    }

    /// Says what a gauge shows.
    pub(super) fn gauge(&mut self, family: &'static Family, values: &[&str], number: f64) {
        debug_assert_eq!(family.kind, Kind::Gauge, "{}", family.name);
        self.recorder.describe_gauge(KeyName::from_const_str(family.name), None, SharedString::const_str(family.help));
        self.recorder.register_gauge(&key(family, values), &METADATA).set(number);
    }

    /// Says what a gauge shows that counts things.
    pub(super) fn count(&mut self, family: &'static Family, values: &[&str], number: usize) {
        self.gauge(family, values, number as f64);
    }

    /// Says how far a counter of seconds is, which has no labels.
    pub(super) fn seconds(&mut self, family: &'static Family, seconds: f64) {
        debug_assert_eq!((family.kind, family.labels.len()), (Kind::SecondsCounter, 0), "{}", family.name);
        self.write(family, |out| writeln!(out, "{} {seconds}", family.name));
    }

    /// Says a histogram of times with one label: for each bucket where it ends in nanoseconds, and how many are in it;
    /// then how many took longer, and what all took.
    pub(super) fn histogram(&mut self, family: &'static Family, value: &'static str, times: &Times) {
        let (Family { name, labels, .. }, Times { buckets, beyond, nanos }) = (family, times);
        debug_assert_eq!((family.kind, labels.len()), (Kind::Histogram, 1), "{name}");
        let label = labels[0];
        self.write(family, |out| {
            let mut so_far = 0;
            for (bound, number) in buckets {
                so_far += number;
                writeln!(out, "{name}_bucket{{{label}=\"{value}\",le=\"{}\"}} {so_far}", seconds(*bound))?;
            }
            let all = so_far + beyond;
            writeln!(out, "{name}_bucket{{{label}=\"{value}\",le=\"+Inf\"}} {all}")?;
            writeln!(out, "{name}_sum{{{label}=\"{value}\"}} {}", seconds(*nanos))?;
            writeln!(out, "{name}_count{{{label}=\"{value}\"}} {all}")
        });
    }

    fn write(&mut self, family: &'static Family, lines: impl FnOnce(&mut String) -> std::fmt::Result) {
        let (_, written) = self.written.entry(family.name).or_insert_with(|| (family, String::new()));
        lines(written).expect("a String takes everything");
    }

    /// The text: families by their names, and the members of each in order, so that two scrapes can be compared. The
    /// exporter has them in no order.
    pub(super) fn text(self) -> String {
        let rendered = self.recorder.handle().render();
        // No line within a family is empty: line ends in the values of labels are escaped.
        let mut families: Vec<String> =
            rendered.split("\n\n").filter(|family| !family.is_empty()).map(sorted).collect();
        for (family, lines) in self.written.into_values() {
            let Family { name, help, kind, .. } = family;
            families.push(format!("# HELP {name} {help}\n# TYPE {name} {}\n{lines}\n", kind.text()));
        }
        // Each begins with its name.
        families.sort_unstable();
        families.concat()
    }
}

/// A family with its members in order; what is said of it stands first.
fn sorted(family: &str) -> String {
    let mut lines: Vec<&str> = family.lines().collect();
    let said = lines.iter().take_while(|line| line.starts_with('#')).count();
    lines[said..].sort_unstable();
    lines.join("\n") + "\n\n"
}

/// A histogram of times.
pub(super) struct Times {
    /// Where each bucket ends, in nanoseconds, and how many are in it.
    pub(super) buckets: Vec<(u64, u64)>,
    /// How many took longer than the last.
    pub(super) beyond: u64,
    /// What all took, in nanoseconds.
    pub(super) nanos: u64,
}

/// The key of a family's member.
fn key(family: &'static Family, values: &[&str]) -> Key {
    debug_assert_eq!(family.labels.len(), values.len(), "{}", family.name);
    let labels = family.labels.iter().zip(values).map(|(name, value)| Label::new(*name, (*value).to_owned()));
    Key::from_parts(family.name, labels.collect::<Vec<_>>())
}

/// Nanoseconds as seconds, exactly, without zeros at the end.
fn seconds(nanos: u64) -> String {
    let text = format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBERS: &Family =
        &Family { name: "numbers_total", kind: Kind::Counter, labels: &["a", "b"], help: "Numbers." };
    const TIMES: &Family = &Family { name: "times_seconds", kind: Kind::Histogram, labels: &["of"], help: "Times." };

    #[test]
    fn what_is_said_of_the_same_labels_adds_up_and_values_are_escaped() {
        let mut scrape = Scrape::new();
        for (values, number) in [(["x", "y"], 3), (["x", "\"\n"], 1), (["x", "y"], 4)] {
            scrape.counter(NUMBERS, &values, number);
        }
        let text = scrape.text();
        assert!(text.starts_with("# HELP numbers_total Numbers.\n# TYPE numbers_total counter\n"), "{text}");
        assert!(text.contains("numbers_total{a=\"x\",b=\"y\"} 7\n"), "{text}");
        assert!(text.contains("numbers_total{a=\"x\",b=\"\\\"\\n\"} 1\n"), "{text}");
    }

    #[test]
    fn families_and_their_members_stand_in_order() {
        const ALONE: &Family = &Family { name: "alone", kind: Kind::Gauge, labels: &[], help: "One." };
        let mut scrape = Scrape::new();
        scrape.histogram(TIMES, "it", &Times { buckets: vec![(1024, 2)], beyond: 0, nanos: 1 });
        for (a, number) in [("c", 3), ("a", 1), ("d", 4), ("b\n\nb", 2)] {
            scrape.counter(NUMBERS, &[a, ""], number);
        }
        scrape.count(ALONE, &[], 1);
        let text = scrape.text();
        let names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        assert_eq!(names, ["alone gauge", "numbers_total counter", "times_seconds histogram"]);
        let numbers = text.lines().filter(|line| line.starts_with("numbers_total"));
        let numbers: Vec<char> = numbers.filter_map(|line| line.chars().last()).collect();
        assert_eq!(numbers, ['1', '2', '3', '4']);
    }

    #[test]
    fn buckets_are_added_up_and_bounds_are_exact() {
        let mut scrape = Scrape::new();
        let times = Times { buckets: vec![(1024, 2), (1 << 32, 3)], beyond: 1, nanos: 12_000_000_000 };
        scrape.histogram(TIMES, "it", &times);
        let expected = "# HELP times_seconds Times.\n# TYPE times_seconds histogram\n\
            times_seconds_bucket{of=\"it\",le=\"0.000001024\"} 2\n\
            times_seconds_bucket{of=\"it\",le=\"4.294967296\"} 5\n\
            times_seconds_bucket{of=\"it\",le=\"+Inf\"} 6\n\
            times_seconds_sum{of=\"it\"} 12\ntimes_seconds_count{of=\"it\"} 6\n\n";
        assert_eq!(scrape.text(), expected);
    }
}
