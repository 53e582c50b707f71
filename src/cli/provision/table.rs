//! The report as text.

use comfy_table::{Cell, Color, ContentArrangement, Table, presets::NOTHING};

use super::{Line, Report};
use crate::provision::{Action, ResourceKind};

const BOLD: &str = "\u{1b}[1m";
const RESET: &str = "\u{1b}[0m";

/// One line per topic and subscription, one per field that differs, and the IAM commands. Contains colours, which the
/// caller removes if necessary.
pub(super) fn text(report: &Report<'_>) -> String {
    let mut table = Table::new();
    // Without wrapping, so that values can be copied.
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled).enforce_styling();
    for line in &report.resources {
        let (state, colour) = state(line, report.dry_run);
        let kind = match line.planned.kind {
            ResourceKind::Topic => "topic",
            ResourceKind::Subscription => "subscription",
        };
        table.add_row([Cell::new(kind), Cell::new(&line.planned.name), Cell::new(state).fg(colour)]);
        for drift in &line.planned.drift {
            let note = if drift.repairable { "" } else { "  (cannot be changed)" };
            let change = format!("{} -> {}{note}", drift.have, drift.want);
            table.add_row([Cell::new(""), Cell::new(format!("  {}", drift.field)), Cell::new(change)]);
        }
    }
    let mut parts = vec![format!("{BOLD}Pub/Sub of {}{RESET}", report.project), table.trim_fmt(), String::new()];
    parts.push(summary(report));
    parts.push(format!("\n{BOLD}IAM settings, to run once per project{RESET}"));
    parts.extend(report.iam_commands.iter().map(|command| format!("  {command}")));
    parts.join("\n")
}

fn state(line: &Line, dry_run: bool) -> (&'static str, Color) {
    match (line.planned.action, line.done) {
        (Action::Nothing, _) => ("correct", Color::Green),
        (Action::Create, true) => ("created", Color::Yellow),
        (Action::Update, true) => ("updated", Color::Yellow),
        (Action::Create, false) if dry_run => ("would be created", Color::Yellow),
        (Action::Update, false) if dry_run => ("would be updated", Color::Yellow),
        (Action::Create, false) => ("missing", Color::Red),
        (Action::Update, false) | (Action::Blocked, _) => ("differs", Color::Red),
    }
}

fn summary(report: &Report<'_>) -> String {
    let open = report.resources.iter().filter(|line| line.planned.action != Action::Nothing).count();
    match (open, report.dry_run) {
        (0, _) => "Nothing to do.".to_owned(),
        (open, true) => format!("{open} to do; nothing was changed."),
        (open, false) => {
            let done = report.resources.iter().filter(|line| line.done).count();
            format!("{done} of {open} done.")
        }
    }
}
