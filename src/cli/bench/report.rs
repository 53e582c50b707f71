//! The results. Scripts rely on the field names of the JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    machine::Machine,
    stats::{Errors, Latencies, Percentiles, float},
};

/// Everything that `bench --json` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    /// Version of this program.
    pub version: &'static str,
    /// `release` or `debug`.
    pub build: &'static str,
    pub machine: Machine,
    /// The measured system: `own`, or its URL.
    pub system: String,
    /// Settings in which the measured system differs from `mediaforge serve`; empty with `--url`.
    pub settings: BTreeMap<&'static str, &'static str>,
    /// Jobs in the store before the measurement.
    pub seeded_jobs: u64,
    /// Duration of the seeding in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seeding_ms: Option<u64>,
    /// Keyed by id, for example `submit.16`.
    pub results: BTreeMap<String, Figure>,
    /// Reasons, keyed by id.
    pub not_measured: BTreeMap<String, String>,
    /// Counts, keyed by kind.
    pub errors: BTreeMap<String, u64>,
    /// Order of the ids in the table.
    #[serde(skip)]
    pub order: Vec<String>,
}

#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Figure {
    pub title: String,
    /// What exactly was measured.
    pub meaning: String,
    /// Number of samples, or of counted things.
    pub count: u64,
    #[serde(flatten)]
    pub values: Values,
    /// The same figure for a program that does only the unavoidable part of the work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<Floor>,
    /// Each value divided by the value of the floor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<Ratio>,
}

#[derive(Debug, Clone, Copy, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Values {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    #[serde(flatten)]
    pub latency: Option<Percentiles>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Floor {
    pub name: String,
    #[serde(flatten)]
    pub values: Values,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ratio {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p95: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99: Option<f64>,
}

impl Figure {
    pub(super) fn new(title: impl Into<String>, meaning: impl Into<String>) -> Self {
        Self { title: title.into(), meaning: meaning.into(), ..Self::default() }
    }

    #[must_use]
    pub(super) fn latencies(mut self, latencies: &Latencies) -> Self {
        self.count = latencies.count();
        self.values.latency = latencies.percentiles();
        self
    }

    #[must_use]
    pub(super) fn per_second(mut self, rate: f64) -> Self {
        self.values.per_second = Some(rate);
        self
    }

    #[must_use]
    pub(super) fn bytes(mut self, bytes: u64) -> Self {
        self.values.bytes = Some(bytes);
        self
    }

    #[must_use]
    pub(super) fn count(mut self, count: u64) -> Self {
        self.count = count;
        self
    }

    /// Adds a floor, if it was measured, and the ratio to it.
    #[must_use]
    pub(super) fn with_floor(mut self, floor: Option<Floor>) -> Self {
        self.ratio = floor.as_ref().map(|floor| Ratio::of(&self.values, &floor.values));
        self.floor = floor;
        self
    }
}

impl Floor {
    /// Uses a figure as the floor of others.
    pub(super) fn of(name: impl Into<String>, figure: &Figure) -> Self {
        Self { name: name.into(), values: figure.values }
    }

    /// This, followed by one wait for the disk, which requests can share. Latencies add up; the sum of the tails is an
    /// overestimate, because it assumes that both are slow at once. The rate is that of `clients` which wait for both in
    /// turn; an open loop has no rate.
    #[must_use]
    pub(super) fn then(self, disk: &Self, clients: Option<usize>) -> Self {
        let add = |here: f64, there: f64| here + there;
        let latency = self.values.latency.zip(disk.values.latency).map(|(here, there)| here.combine(there, add));
        let rate = |clients: usize| {
            let clients = float(u64::try_from(clients).unwrap_or(u64::MAX));
            Some(clients / (clients / self.values.per_second? + 1.0 / disk.values.per_second?))
        };
        let values = Values { latency, per_second: clients.and_then(rate), bytes: None };
        Self { name: format!("{} + {}", self.name, disk.name), values }
    }

    /// `times` repetitions, one after the other.
    #[must_use]
    pub(super) fn times(self, times: u32) -> Self {
        let latency = self.values.latency.map(|here| here.combine(here, |here, _| here * f64::from(times)));
        let name = if times == 1 { self.name } else { format!("{times} {}", self.name) };
        Self { name, values: Values { latency, per_second: None, bytes: None } }
    }
}

impl Ratio {
    fn of(values: &Values, floor: &Values) -> Self {
        let ratio = |value: f64, floor: f64| (floor > 0.0).then_some(value / floor);
        let latencies = values.latency.zip(floor.latency);
        let at = |pick: fn(&Percentiles) -> f64| latencies.and_then(|(here, there)| ratio(pick(&here), pick(&there)));
        Self {
            per_second: values.per_second.zip(floor.per_second).and_then(|(here, there)| ratio(here, there)),
            p50: at(|percentiles| percentiles.p50),
            p95: at(|percentiles| percentiles.p95),
            p99: at(|percentiles| percentiles.p99),
        }
    }
}

impl Report {
    pub(super) fn new(machine: Machine, system: String) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
            machine,
            system,
            settings: BTreeMap::new(),
            seeded_jobs: 0,
            seeding_ms: None,
            results: BTreeMap::new(),
            not_measured: BTreeMap::new(),
            errors: BTreeMap::new(),
            order: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, id: impl Into<String>, figure: Figure) {
        let id = id.into();
        self.order.push(id.clone());
        self.results.insert(id, figure);
    }

    pub(super) fn skip(&mut self, id: impl Into<String>, reason: impl Into<String>) {
        self.not_measured.insert(id.into(), reason.into());
    }

    /// The figure `id` as a floor.
    pub(super) fn floor(&self, id: &str, name: &str) -> Option<Floor> {
        self.results.get(id).map(|figure| Floor::of(name, figure))
    }

    /// Takes over the counted errors.
    pub(super) fn add_errors(&mut self, errors: &Errors) {
        self.errors = errors.kinds();
    }
}

/// `total` divided by `parts`, rounded.
pub(super) fn share(total: u64, parts: usize) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a size, never negative")]
    let share = (float(total) / float(parts as u64).max(1.0)).round() as u64;
    share
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn figure(ms: u64, rate: f64) -> Figure {
        let latencies = Latencies::new().unwrap();
        latencies.record(Duration::from_millis(ms));
        Figure::new("Submit", "from here to there").latencies(&latencies).per_second(rate)
    }

    #[test]
    fn a_figure_has_its_floor_and_the_ratios() {
        let disk = Floor::of("fdatasync", &figure(2, 500.0));
        let bare = Floor::of("bare handler", &figure(1, 1000.0)).then(&disk, Some(2));
        let json = serde_json::to_value(figure(6, 250.0).with_floor(Some(bare))).unwrap();
        assert_eq!(json["count"], 1);
        assert_eq!(json["perSecond"], 250.0);
        assert_eq!(json["floor"]["name"], "bare handler + fdatasync");
        // Two clients, each of which takes 2 ms for the handler and 2 ms for the disk.
        assert_eq!(json["floor"]["perSecond"], 500.0);
        assert_eq!(json["ratio"]["perSecond"], 0.5);
        for (value, expected) in [(&json["p50Ms"], 6.0), (&json["floor"]["p95Ms"], 3.0), (&json["ratio"]["p99"], 2.0)] {
            assert!((value.as_f64().unwrap() - expected).abs() < 0.02, "{value} {expected}");
        }
    }

    #[test]
    fn a_floor_that_was_not_measured_is_absent() {
        let json = serde_json::to_value(figure(6, 250.0).with_floor(None)).unwrap();
        assert!(json.get("floor").is_none() && json.get("ratio").is_none());
        let nothing = Figure::new("a", "b").latencies(&Latencies::new().unwrap());
        let json = serde_json::to_value(nothing.with_floor(Some(Floor::of("f", &figure(1, 1.0))))).unwrap();
        assert_eq!((json["count"].as_u64(), json.get("p50Ms")), (Some(0), None));
        assert_eq!(json["ratio"], serde_json::json!({}));
    }

    #[test]
    fn a_share_is_rounded() {
        assert_eq!([share(1000, 3), share(2000, 3), share(5, 0)], [333, 667, 5]);
    }
}
