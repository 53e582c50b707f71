//! The progress bars that Python programs draw with tqdm.
//!
//! A bar is redrawn after a carriage return, and the log may be cut at any byte. Other bars look the same; the training's
//! own is named `steps`.

use std::sync::LazyLock;

use regex::bytes::Regex;

/// A progress bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bar {
    pub(super) step: u32,
    pub(super) total: u32,
    /// The seconds left, once tqdm knows a rate.
    pub(super) eta_seconds: Option<u32>,
}

/// What the end of a log reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct LogReport {
    /// The last bar.
    pub(super) bar: Option<Bar>,
    /// The loss is NaN or infinite: the training cannot recover.
    pub(super) diverged: bool,
    /// The graphics card ran out of memory.
    pub(super) out_of_memory: bool,
}

static BAR: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let pattern = r"(?-u)(?:^|[\r\n])[ \t]*(?i:steps):[ \t]+([0-9]{1,3})%\|[^|\r\n]*\|[ \t]*([0-9]+)/([0-9]+)[ \t]+\[([^\]\r\n]*)\]";
    Regex::new(pattern).ok()
});

static DIVERGED: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?-u)(?i:(?:^|[^a-z])(?:[a-z]+_)?loss=(?:nan|-?inf))").ok());

/// Reads the end of a log.
pub(super) fn read(log: &[u8]) -> LogReport {
    let mut report = LogReport::default();
    let last = BAR.iter().flat_map(|bar| bar.captures_iter(log)).last();
    if let Some(bar) = last {
        let number = |n: usize| bar.get(n).and_then(|digits| std::str::from_utf8(digits.as_bytes()).ok()?.parse().ok());
        let inside = bar.get(4).map(|inside| inside.as_bytes()).unwrap_or_default();
        if let (Some(step), Some(total)) = (number(2), number(3))
            && total > 0
            && step <= total
        {
            report.bar = Some(Bar { step, total, eta_seconds: seconds_left(inside) });
        }
        report.diverged = DIVERGED.as_ref().is_some_and(|diverged| diverged.is_match(inside));
    }
    report.out_of_memory =
        [b"CUDA out of memory".as_slice(), b"OutOfMemoryError"].iter().any(|text| contains(log, text));
    report
}

/// `00:12<01:30, 1.2it/s, ...`: the time after `<`, as `MM:SS` or `H:MM:SS`; `?` while tqdm has none.
fn seconds_left(inside: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(inside).ok()?;
    let (_, rest) = text.split_once('<')?;
    let mut seconds = 0_u32;
    for part in rest.split(',').next()?.trim().split(':') {
        seconds = seconds.checked_mul(60)?.checked_add(part.parse().ok()?)?;
    }
    Some(seconds)
}

fn contains(log: &[u8], text: &[u8]) -> bool {
    log.windows(text.len()).any(|window| window == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(step: u32, total: u32, eta_seconds: Option<u32>) -> Bar {
        Bar { step, total, eta_seconds }
    }

    #[test]
    fn the_last_bar_counts() {
        let measured = "\rSteps:   0%|          | 0/30 [00:00<?, ?it/s]\rSteps:  10%|█         | 3/30 [00:00<00:01, \
                        16.39it/s, loss=0.0143, lr=0.0001]";
        assert_eq!(read(measured.as_bytes()), LogReport { bar: Some(bar(3, 30, Some(1))), ..LogReport::default() });
        assert_eq!(read(b"Steps:   0%|  | 0/30 [00:00<?, ?it/s]\n").bar, Some(bar(0, 30, None)), "the first of a log");
        let kohya = b"\nsteps:  50%|#####  | 500/1000 [20:00<1:20:00,  2.4s/it, avr_loss=0.08]";
        assert_eq!(read(kohya).bar, Some(bar(500, 1000, Some(4800))), "slower than a step a second, in hours");
    }

    #[test]
    fn a_cut_bar_and_another_bar_are_ignored() {
        assert_eq!(read("\rLoading pipeline components...:  50%|██ | 3/6 [00:01<00:01, 2it/s]".as_bytes()).bar, None);
        assert_eq!(read(b"\rcaching latents: 50%|##| 3/6 [00:01<00:01]").bar, None);
        assert_eq!(read(b"\rSteps:  10%|# | 3/30 [00:00<00:0").bar, None, "not whole yet");
        let glyphs = b"\xa8\x88|\rSteps:  10%|\xe2\x96| 3/30 [00:00<00:01]\rSteps:  13%|\xe2";
        assert_eq!(read(glyphs).bar, Some(bar(3, 30, Some(1))), "cut within a letter");
        assert_eq!(read(b"\rSteps: 10%|#| 31/30 [00:00<00:01]").bar, None, "beyond the end");
        assert_eq!(read(b"\rSteps: 10%|#| 99999999999/30 [0<1]").bar, None, "no number of steps");
    }

    #[test]
    fn a_loss_that_is_not_a_number_is_detected() {
        assert!(read(b"\rSteps: 10%|#| 3/30 [00:00<00:01, 16it/s, loss=nan, lr=0.0001]").diverged);
        assert!(read(b"\rsteps: 10%|#| 3/30 [00:00<00:01, 16it/s, avr_loss=nan]").diverged);
        assert!(!read(b"\rSteps: 10%|#| 3/30 [00:00<00:01, 16it/s, loss=0.1, name=nan]").diverged);
        assert!(!read(b"no loss=nan outside of a bar").diverged);
    }

    #[test]
    fn a_full_graphics_card_is_seen() {
        assert!(read(b"torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB").out_of_memory);
        assert!(!read(b"all is well").out_of_memory);
    }
}
