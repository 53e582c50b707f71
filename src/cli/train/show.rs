//! The summary of a trained brand.

use std::{io::IsTerminal as _, path::PathBuf};

use super::{Job, ServiceArgs, Session};
use crate::{config::Environment, domain::palette::Rgb};

/// How to show colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PaletteStyle {
    /// On a terminal that supports true colour.
    Swatches,
    /// As hexadecimal codes.
    Codes,
}

impl PaletteStyle {
    pub(super) fn of(environment: &Environment) -> Self {
        let true_colour = matches!(environment.get("COLORTERM"), Some("truecolor" | "24bit"));
        if true_colour && stdout_is_terminal() { Self::Swatches } else { Self::Codes }
    }
}

pub(super) fn stdout_is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

pub(super) fn stderr_is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// The brand, its palette, its samples and the next step.
pub(super) fn summary(
    name: &str,
    brand: &Job,
    files: &[PathBuf],
    (session, args): (&Session<'_>, &ServiceArgs),
    palette_style: PaletteStyle,
) -> String {
    let name = brand.raw["name"].as_str().unwrap_or(name);
    let samples: Vec<_> = if !files.is_empty() {
        files.iter().map(|file| file.display().to_string()).collect()
    } else if session.outlives_command {
        brand.sample_urls.iter().map(|address| session.api.absolute(address).to_string()).collect()
    } else {
        // The addresses stop working when this command ends.
        vec![format!("{} pictures in the data directory; save them with -o", brand.sample_urls.len())]
    };
    let palette: Vec<_> = brand.palette.iter().map(|color| swatch(color, palette_style)).collect();
    let mut lines = vec![format!("Brand    {} ({name})", brand.id), format!("Palette  {}", palette.join("  "))];
    let labels = std::iter::once("Samples").chain(std::iter::repeat(""));
    lines.extend(samples.iter().zip(labels).map(|(sample, label)| format!("{label:<7}  {sample}")));
    // Values from the environment are not repeated, because they will be there again.
    let url = args.url.as_ref().map(|url| format!(" --url {url}")).unwrap_or_default();
    let user = args.user.as_ref().map(|user| format!(" --user {}", quoted(user))).unwrap_or_default();
    let style = quoted(name);
    lines.push(format!("Try it   mediaforge generate \"a lighthouse at dawn\" --style {style}{user}{url}"));
    lines.join("\n")
}

fn swatch(color: &str, palette_style: PaletteStyle) -> String {
    match (color.parse::<Rgb>(), palette_style) {
        (Ok(Rgb { r, g, b }), PaletteStyle::Swatches) => format!("\u{1b}[48;2;{r};{g};{b}m    \u{1b}[0m {color}"),
        _ => color.to_owned(),
    }
}

/// Quotes a word for a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.@+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swatch_needs_a_terminal_with_true_colour() {
        assert_eq!(swatch("#ff6600", PaletteStyle::Codes), "#ff6600");
        assert_eq!(swatch("#ff6600", PaletteStyle::Swatches), "\u{1b}[48;2;255;102;0m    \u{1b}[0m #ff6600");
        assert_eq!(swatch("orange", PaletteStyle::Swatches), "orange");
    }

    #[test]
    fn a_name_can_be_pasted_into_a_shell() {
        assert_eq!(quoted("Acme"), "Acme");
        assert_eq!(quoted("Zoë & Co's"), r"'Zoë & Co'\''s'");
    }
}
