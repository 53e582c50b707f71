//! What a person sees of a trained brand.

use std::{io::IsTerminal as _, path::PathBuf};

use super::{Job, ServiceArgs, Session};
use crate::{config::Environment, domain::palette::Rgb};

/// How colours can be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// A terminal that shows any colour.
    Swatches,
    /// Anything else.
    Words,
}

impl Look {
    pub(super) fn of(environment: &Environment) -> Self {
        let any_colour = matches!(environment.get("COLORTERM"), Some("truecolor" | "24bit"));
        if any_colour && stdout_is_terminal() { Self::Swatches } else { Self::Words }
    }
}

pub(super) fn stdout_is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

pub(super) fn stderr_is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// The brand, where its samples are, and what to do next.
pub(super) fn trained(
    name: &str,
    brand: &Job,
    files: &[PathBuf],
    (session, args): (&Session<'_>, &ServiceArgs),
    look: Look,
) -> String {
    let name = brand.raw["name"].as_str().unwrap_or(name);
    let samples: Vec<_> = if !files.is_empty() {
        files.iter().map(|file| file.display().to_string()).collect()
    } else if session.is_lasting {
        brand.sample_urls.iter().map(|address| session.api.absolute(address).to_string()).collect()
    } else {
        // The addresses end with this command.
        vec![format!("{} pictures in the data directory; -o saves them", brand.sample_urls.len())]
    };
    let palette: Vec<_> = brand.palette.iter().map(|color| swatch(color, look)).collect();
    let mut lines = vec![format!("Brand    {} ({name})", brand.id), format!("Palette  {}", palette.join("  "))];
    let labels = std::iter::once("Samples").chain(std::iter::repeat(""));
    lines.extend(samples.iter().zip(labels).map(|(sample, label)| format!("{label:<7}  {sample}")));
    // What came from the environment will come from there again.
    let url = args.url.as_ref().map(|url| format!(" --url {url}")).unwrap_or_default();
    let user = args.user.as_ref().map(|user| format!(" --user {}", quoted(user))).unwrap_or_default();
    let style = quoted(name);
    lines.push(format!("Try it   mediaforge generate \"a lighthouse at dawn\" --style {style}{user}{url}"));
    lines.join("\n")
}

fn swatch(color: &str, look: Look) -> String {
    match (color.parse::<Rgb>(), look) {
        (Ok(Rgb { r, g, b }), Look::Swatches) => format!("\u{1b}[48;2;{r};{g};{b}m    \u{1b}[0m {color}"),
        _ => color.to_owned(),
    }
}

/// A word as a shell takes it.
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
    fn a_swatch_needs_a_terminal_that_shows_it() {
        assert_eq!(swatch("#ff6600", Look::Words), "#ff6600");
        assert_eq!(swatch("#ff6600", Look::Swatches), "\u{1b}[48;2;255;102;0m    \u{1b}[0m #ff6600");
        assert_eq!(swatch("orange", Look::Swatches), "orange");
    }

    #[test]
    fn a_name_can_be_pasted_into_a_shell() {
        assert_eq!(quoted("Acme"), "Acme");
        assert_eq!(quoted("Zoë & Co's"), r"'Zoë & Co'\''s'");
    }
}
