//! The results as a table.

use comfy_table::{Attribute, Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Table, Width};

use super::report::{Figure, Report, Values};

/// Wide enough for every value, so that only titles wrap.
const VALUE: u16 = 9;

/// The machine, the table, and what was not measured. Contains colours, which the caller removes if necessary.
pub(super) fn text(report: &Report, width: Option<u16>) -> String {
    let mut parts = vec![heading(report)];
    parts.extend(report.machine.warnings().into_iter().map(|warning| format!("{YELLOW}warning:{RESET} {warning}")));
    parts.push(String::new());
    parts.push(table(report, width));
    if !report.not_measured.is_empty() {
        parts.push("\nNot measured".to_owned());
        parts.extend(report.not_measured.iter().map(|(id, reason)| format!("  {id}: {reason}")));
    }
    parts.push(String::new());
    match report.errors.values().sum::<u64>() {
        0 => parts.push("No errors.".to_owned()),
        count => {
            parts.push(format!("{RED}{count} errors{RESET}"));
            parts.extend(report.errors.iter().map(|(kind, count)| format!("  {count} × {kind}")));
        }
    }
    parts.push("`--json` explains each figure.".to_owned());
    parts.join("\n")
}

const BOLD: &str = "\u{1b}[1m";
const RED: &str = "\u{1b}[1;31m";
const YELLOW: &str = "\u{1b}[1;33m";
const RESET: &str = "\u{1b}[0m";

fn heading(report: &Report) -> String {
    let machine = &report.machine;
    let mut facts = vec![format!("{} cores", machine.cores)];
    facts.extend(machine.processor.clone());
    facts.push(machine.kernel.clone());
    facts.extend(machine.file_system.clone());
    let system = match report.system.as_str() {
        "own" => "its own system".to_owned(),
        url => format!("the system at {url}"),
    };
    let jobs = match report.seeded_jobs {
        0 => String::new(),
        jobs => format!(" on {jobs} jobs"),
    };
    let (version, build) = (report.version, report.build);
    format!("{BOLD}MediaForge {version}{RESET} ({build}), {system}{jobs}\n{}", facts.join(", "))
}

fn table(report: &Report, width: Option<u16>) -> String {
    let mut table = Table::new();
    table.set_content_arrangement(ContentArrangement::Dynamic).enforce_styling();
    if let Some(width) = width {
        table.set_width(width);
    }
    let head = ["", "value", "p50", "p95", "p99"].map(|name| Cell::new(name).add_attribute(Attribute::Bold));
    table.load_style(comfy_table::presets::NOTHING).set_header(head);
    for figure in report.order.iter().filter_map(|id| report.results.get(id)) {
        table.add_row(row(figure.title.clone(), &cells(&figure.values)).map(Cell::new));
        let dim = |text: String| Cell::new(text).add_attribute(Attribute::Dim);
        if let Some(floor) = &figure.floor {
            table.add_row(row(format!("  floor: {}", floor.name), &cells(&floor.values)).map(dim));
        }
        if let Some(ratios) = ratios(figure) {
            table.add_row(row("  ratio".to_owned(), &ratios).map(|text| Cell::new(text).fg(Color::Cyan)));
        }
    }
    for column in 1..5 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(VALUE)));
        }
    }
    table.trim_fmt()
}

fn row(title: String, values: &[String; 4]) -> [String; 5] {
    let [value, p50, p95, p99] = values.clone();
    [title, value, p50, p95, p99]
}

fn cells(values: &Values) -> [String; 4] {
    let value = match (values.per_second, values.bytes) {
        (Some(rate), _) => format!("{}/s", number(rate)),
        (None, Some(bytes)) => size(bytes),
        (None, None) => String::new(),
    };
    let at = |pick: fn(&super::stats::Percentiles) -> f64| values.latency.map(|it| time(pick(&it))).unwrap_or_default();
    [value, at(|it| it.p50), at(|it| it.p95), at(|it| it.p99)]
}

fn ratios(figure: &Figure) -> Option<[String; 4]> {
    let ratio = figure.ratio?;
    let values = [ratio.per_second, ratio.p50, ratio.p95, ratio.p99];
    let times = |ratio: Option<f64>| ratio.map(|ratio| format!("{}x", number(ratio))).unwrap_or_default();
    values.iter().any(Option::is_some).then(|| values.map(times))
}

/// Three significant digits.
fn number(value: f64) -> String {
    match value {
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

fn time(ms: f64) -> String {
    match ms {
        ..0.9995 => format!("{:.0} µs", ms * 1000.0),
        ..9_999.5 => format!("{} ms", number(ms)),
        _ => format!("{} s", number(ms / 1000.0)),
    }
}

fn size(bytes: u64) -> String {
    let kib = super::stats::float(bytes) / 1024.0;
    if kib < 1024.0 { format!("{} KiB", number(kib)) } else { format!("{} MiB", number(kib / 1024.0)) }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            machine::Machine,
            report::Floor,
            stats::{Errors, Percentiles},
        },
        *,
    };

    fn report() -> Report {
        let machine = Machine {
            cores: 2,
            processor: None,
            kernel: "linux 6.1".into(),
            file_system: Some("ext4".into()),
            load: Some(0.1),
        };
        let mut report = Report::new(machine, "own".into());
        let latency = Percentiles { p50: 1.25, p95: 12.5, p99: 125.0, max: 12_500.0 };
        let values = Values { per_second: Some(812.4), bytes: None, latency: Some(latency) };
        let bare = Figure { title: "Bare".into(), values, ..Figure::default() };
        report.add("bare.16", bare.clone());
        let slower = latency.combine(latency, |ms, _| ms * 4.0);
        let values = Values { per_second: Some(203.1), latency: Some(slower), ..values };
        let submit = Figure { title: "Submit, 16 connections".into(), values, ..Figure::default() };
        report.add("submit.16", submit.with_floor(Some(Floor::of("bare handler + 2 fdatasync", &bare))));
        report.add("memory", Figure::new("Memory, idle", "").bytes(14 << 20));
        report
    }

    fn plain(report: &Report, width: u16) -> String {
        anstream::adapter::strip_str(&text(report, Some(width))).to_string()
    }

    #[test]
    fn a_figure_its_floor_and_the_ratio_are_below_each_other_and_fit_a_terminal() {
        for width in [80, 120] {
            let text = plain(&report(), width);
            let line = |start: &str| {
                let line = text.lines().find(|line| line.trim_start().starts_with(start)).unwrap();
                line[line.find(start).unwrap() + start.len()..].split_whitespace().collect::<Vec<_>>().join(" ")
            };
            assert_eq!(line("Submit, 16 connections"), "203/s 5.00 ms 50.0 ms 500 ms", "{text}");
            assert_eq!(line("floor: bare handler + 2 fdatasync"), "812/s 1.25 ms 12.5 ms 125 ms", "{text}");
            assert_eq!(line("ratio"), "0.25x 4.00x 4.00x 4.00x", "{text}");
            assert_eq!(line("Memory, idle"), "14.0 MiB", "{text}");
            let table = table(&report(), Some(width));
            let table = anstream::adapter::strip_str(&table).to_string();
            assert!(table.lines().all(|line| line.chars().count() <= usize::from(width)), "{table}");
        }
    }

    #[test]
    fn missing_figures_and_errors_are_shown() {
        let mut report = report();
        assert!(plain(&report, 80).contains("No errors."));
        report.skip("sweep", "because");
        let errors = Errors::default();
        errors.add_many("POST /generate answered 503", 3);
        report.add_errors(&errors);
        let text = plain(&report, 80);
        assert!(
            text.contains("sweep: because") && text.contains("3 errors\n  3 × POST /generate answered 503"),
            "{text}"
        );
    }

    #[test]
    fn values_have_three_digits_and_a_unit_that_fits() {
        assert_eq!(
            [0.0, 0.0312, 0.75, 0.9996, 1.234, 9_999.0, 10_000.0].map(time),
            ["0 µs", "31 µs", "750 µs", "1.00 ms", "1.23 ms", "9999 ms", "10.0 s"]
        );
        assert_eq!([512, 20 << 10, 3 << 19].map(size), ["0.50 KiB", "20.0 KiB", "1.50 MiB"]);
    }
}
