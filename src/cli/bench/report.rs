//! What was measured, for machines. The field names are part of what scripts rely on.

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
    /// Of this program.
    pub version: &'static str,
    /// `release` or `debug`.
    pub build: &'static str,
    /// What it ran on.
    pub machine: Machine,
    /// What was measured: `own`, or the URL.
    pub system: String,
    /// In what the measured system differs from `mediaforge serve`; empty with `--url`.
    pub settings: BTreeMap<&'static str, &'static str>,
    /// Jobs that were in the store before anything was measured.
    pub seeded_jobs: u64,
    /// Milliseconds that the seeding took, where there was any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seeding_ms: Option<u64>,
    /// By id, such as `submit.16`.
    pub results: BTreeMap<String, Figure>,
    /// Id or part, and why.
    pub not_measured: BTreeMap<String, String>,
    /// By kind; empty is as it should be.
    pub errors: BTreeMap<String, u64>,
    /// The order of the table.
    #[serde(skip)]
    pub order: Vec<String>,
}

/// One thing that was measured.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Figure {
    /// For people.
    pub title: String,
    /// What exactly was measured, from when to when.
    pub meaning: String,
    /// Samples behind the percentiles, or things that were counted.
    pub count: u64,
    #[serde(flatten)]
    pub values: Values,
    /// What the machine gives a program that does only what cannot be left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<Floor>,
    /// Each value divided by that of the floor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<Ratio>,
}

/// The values of a figure or of a floor.
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

    /// With latencies; without any, it is a figure of nothing.
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

    /// Beside a floor, where that was measured.
    #[must_use]
    pub(super) fn beside(mut self, floor: Option<Floor>) -> Self {
        self.ratio = floor.as_ref().map(|floor| Ratio::of(&self.values, &floor.values));
        self.floor = floor;
        self
    }
}

impl Floor {
    /// What a figure measured, as the floor of others.
    pub(super) fn of(name: impl Into<String>, figure: &Figure) -> Self {
        Self { name: name.into(), values: figure.values }
    }

    /// First this, then one wait for the disk, which many can share. Latencies add up; in the tail, where both would have
    /// to be slow at once, the sum is rather too high. The rate is that of `clients`, each of whom waits for both in
    /// turn; an open loop has none.
    #[must_use]
    pub(super) fn then(self, disk: &Self, clients: Option<usize>) -> Self {
        let add = |here: f64, there: f64| here + there;
        let latency = self.values.latency.zip(disk.values.latency).map(|(here, there)| here.with(there, add));
        let rate = |clients: usize| {
            let clients = float(u64::try_from(clients).unwrap_or(u64::MAX));
            Some(clients / (clients / self.values.per_second? + 1.0 / disk.values.per_second?))
        };
        let values = Values { latency, per_second: clients.and_then(rate), bytes: None };
        Self { name: format!("{} + {}", self.name, disk.name), values }
    }

    /// That often, one after the other.
    #[must_use]
    pub(super) fn times(self, times: u32) -> Self {
        let latency = self.values.latency.map(|here| here.with(here, |here, _| here * f64::from(times)));
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

    pub(super) fn leave_out(&mut self, id: impl Into<String>, reason: impl Into<String>) {
        self.not_measured.insert(id.into(), reason.into());
    }

    /// A figure as a floor.
    pub(super) fn floor(&self, id: &str, name: &str) -> Option<Floor> {
        self.results.get(id).map(|figure| Floor::of(name, figure))
    }

    /// Takes over what was counted.
    pub(super) fn close(&mut self, errors: &Errors) {
        self.errors = errors.kinds();
    }
}

/// Bytes of a share.
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
    fn a_figure_stands_beside_its_floor_with_the_ratios() {
        let disk = Floor::of("fdatasync", &figure(2, 500.0));
        let bare = Floor::of("bare handler", &figure(1, 1000.0)).then(&disk, Some(2));
        let json = serde_json::to_value(figure(6, 250.0).beside(Some(bare))).unwrap();
        assert_eq!(json["count"], 1);
        assert_eq!(json["perSecond"], 250.0);
        assert_eq!(json["floor"]["name"], "bare handler + fdatasync");
        // Two clients, each of whom takes 2 ms for the one and 2 ms for the other.
        assert_eq!(json["floor"]["perSecond"], 500.0);
        assert_eq!(json["ratio"]["perSecond"], 0.5);
        for (value, expected) in [(&json["p50Ms"], 6.0), (&json["floor"]["p95Ms"], 3.0), (&json["ratio"]["p99"], 2.0)] {
            assert!((value.as_f64().unwrap() - expected).abs() < 0.02, "{value} {expected}");
        }
    }

    #[test]
    fn a_floor_that_was_not_measured_leaves_no_trace() {
        let json = serde_json::to_value(figure(6, 250.0).beside(None)).unwrap();
        assert!(json.get("floor").is_none() && json.get("ratio").is_none());
        let nothing = Figure::new("a", "b").latencies(&Latencies::new().unwrap());
        let json = serde_json::to_value(nothing.beside(Some(Floor::of("f", &figure(1, 1.0))))).unwrap();
        assert_eq!((json["count"].as_u64(), json.get("p50Ms")), (Some(0), None));
        assert_eq!(json["ratio"], serde_json::json!({}));
    }

    #[test]
    fn a_share_is_rounded() {
        assert_eq!([share(1000, 3), share(2000, 3), share(5, 0)], [333, 667, 5]);
    }
}
