//! Support codes: why Vertex AI withheld a picture or refused a prompt.

/// Codes by category; Google documents them under "Responsible AI" of its image models.
const CATEGORIES: &[(&str, &[u32])] = &[
    ("child", &[58_061_214, 17_301_594]),
    ("celebrity", &[29_310_472, 15_236_754]),
    ("dangerous content", &[62_263_041]),
    ("hate", &[57_734_940, 22_137_204]),
    ("other", &[42_876_398, 29_578_790, 74_803_281]),
    ("people or faces", &[39_322_892]),
    ("personal data", &[92_201_652]),
    ("prohibited content", &[89_371_032, 49_114_662, 72_817_394]),
    ("sexual content", &[90_789_179, 63_429_089, 43_188_360]),
    ("toxic language", &[78_610_348]),
    ("violence", &[61_493_863, 56_562_880]),
    ("vulgar language", &[32_635_315]),
    ("celebrity or child", &[64_151_117]),
];

const MARK: &str = "support codes:";

/// Whether a text contains support codes.
pub(super) fn has_codes(text: &str) -> bool {
    !codes(text).is_empty()
}

/// The categories of the support codes in a text, as `sexual content (90789179)`; empty if there are none.
pub(super) fn categories(text: &str) -> String {
    let named = codes(text).into_iter().map(|code| {
        let category = CATEGORIES.iter().find(|(_, codes)| codes.contains(&code)).map_or("unknown", |(name, _)| name);
        format!("{category} ({code})")
    });
    named.collect::<Vec<_>>().join(", ")
}

/// The numbers of `Support codes: N[, N]`.
fn codes(text: &str) -> Vec<u32> {
    let lower = text.to_ascii_lowercase();
    let Some(at) = lower.find(MARK) else { return Vec::new() };
    let listed = lower[at + MARK.len()..].split(|c: char| !(c.is_ascii_digit() || c == ',' || c == ' ')).next();
    listed.unwrap_or_default().split([',', ' ']).filter_map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_and_named() {
        let text = "Your current safety filter threshold filtered out 2 images. Support codes: 39322892, 63429089. Try again 3";
        assert_eq!(categories(text), "people or faces (39322892), sexual content (63429089)");
        assert_eq!(categories("support codes: 1"), "unknown (1)");
        assert_eq!(categories("the seed 39322892 is too large"), "");
        assert!(has_codes("Support codes: 58061214") && !has_codes("Support codes: none"));
    }

    #[test]
    fn no_code_has_two_meanings() {
        let mut codes: Vec<u32> = CATEGORIES.iter().flat_map(|(_, codes)| codes.iter().copied()).collect();
        let all = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), all);
    }
}
