//! The verdicts of the service on the pictures.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::{Value, json};

use super::Picture;
use crate::domain::brand::ImageCheck;

/// The response to a dry run.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Dataset {
    pub(super) accepted: bool,
    verdicts: Vec<Value>,
    price: Option<u64>,
}

/// The verdicts with the files that they are about.
#[derive(Debug)]
pub(super) struct DatasetReport {
    accepted: bool,
    price: Option<u64>,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    file: String,
    /// The file, and for an archive the entry in it.
    name: String,
    is_fit: bool,
    reason: String,
    verdict: Value,
}

impl Dataset {
    /// `uploads`: the ids of the pictures' uploads, in their order.
    pub(super) fn report(self, pictures: &[Picture], uploads: &[String]) -> DatasetReport {
        let file = |(n, verdict): (usize, &Value)| {
            // An archive has several verdicts, so the file does not follow from their order.
            let of = uploads.iter().position(|upload| verdict["uploadId"] == upload.as_str()).unwrap_or(n);
            pictures.get(of).map(|picture| picture.path.display().to_string())
        };
        let named = |(n, verdict): (usize, &Value)| {
            let file = file((n, verdict))?;
            let name = verdict["entry"].as_str().map_or_else(|| file.clone(), |entry| format!("{file}/{entry}"));
            Some((file, name))
        };
        let known: Vec<_> = self.verdicts.iter().enumerate().map(named).collect();
        let name = |n: usize| known.get(n).and_then(Option::as_ref).map(|(_, name)| name.clone());
        let row = |(n, verdict): (usize, Value)| {
            let reason = match serde_json::from_value::<ImageCheck>(verdict.clone()) {
                Ok(ImageCheck::NearDuplicate { of }) if name(of).is_some() => {
                    format!("looks like {}", name(of).unwrap_or_default())
                }
                Ok(known) => known.detail(),
                // A verdict of a newer service.
                Err(_) => verdict["detail"].as_str().or(verdict["verdict"].as_str()).unwrap_or("not fit").to_owned(),
            };
            let (file, name) = known.get(n).cloned().flatten().unwrap_or_default();
            Row { file, name, is_fit: verdict["verdict"] == "ok", reason, verdict }
        };
        let rows = self.verdicts.into_iter().enumerate().map(row).collect();
        DatasetReport { accepted: self.accepted, price: self.price, rows }
    }
}

impl DatasetReport {
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn unfit(&self) -> usize {
        self.rows.iter().filter(|row| !row.is_fit).count()
    }

    /// One line per picture: with symbols and colours on a terminal, otherwise in words.
    pub(super) fn table(&self, is_terminal: bool) -> String {
        const GREEN: &str = "\u{1b}[32m";
        const RED: &str = "\u{1b}[31m";
        const RESET: &str = "\u{1b}[0m";
        let width = self.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or_default();
        let mut text = String::new();
        for Row { name, is_fit, reason, .. } in &self.rows {
            let sign = match (is_terminal, is_fit) {
                (true, true) => format!("{GREEN}✓{RESET}"),
                (true, false) => format!("{RED}✗{RESET}"),
                (false, true) => "ok ".to_owned(),
                (false, false) => "bad".to_owned(),
            };
            let _ = writeln!(text, "{sign} {name:<width$}  {reason}"); // writing to a String cannot fail
        }
        match self.price {
            Some(price) if self.accepted => {
                let _ = write!(text, "{} pictures are fit; the training costs {price} credits", self.rows.len());
            }
            _ => text.truncate(text.trim_end().len()),
        }
        text
    }

    pub(super) fn json(&self) -> Value {
        let verdict = |row: &Row| {
            let mut verdict = row.verdict.clone();
            verdict["file"] = row.file.as_str().into();
            verdict["detail"] = row.reason.as_str().into();
            verdict
        };
        let verdicts: Vec<_> = self.rows.iter().map(verdict).collect();
        let mut shown = json!({ "accepted": self.accepted, "verdicts": verdicts });
        if let Some(price) = self.price {
            shown["price"] = price.into();
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown() -> DatasetReport {
        let answer = json!({ "success": true, "accepted": false, "price": 25, "verdicts": [
            { "uploadId": "upl_1", "verdict": "ok" },
            { "uploadId": "upl_2", "verdict": "too_small", "shortSide": 300, "needed": 512 },
            { "uploadId": "upl_3", "verdict": "near_duplicate", "of": 0 },
            { "uploadId": "upl_4", "verdict": "cursed", "detail": "is cursed" },
        ] });
        let picture = |name: &str| Picture { path: format!("img/{name}").into(), content_type: "image/png", length: 1 };
        let pictures = ["a.png", "longer.png", "c.png", "d.png"].map(picture);
        let uploads = ["upl_1", "upl_2", "upl_3", "upl_4"].map(String::from);
        serde_json::from_value::<Dataset>(answer).unwrap().report(&pictures, &uploads)
    }

    #[test]
    fn a_verdict_is_beside_its_file() {
        let expected = "\
ok  img/a.png       fit for training
bad img/longer.png  its short side has 300 px; 512 px are needed
bad img/c.png       looks like img/a.png
bad img/d.png       is cursed";
        assert_eq!(shown().table(false), expected);
        assert!(shown().table(true).contains("✓") && shown().table(true).contains("✗"));
        assert_eq!(shown().unfit(), 3);
    }

    #[test]
    fn pictures_of_an_archive_are_named_by_their_entry() {
        let answer = json!({ "accepted": false, "verdicts": [
            { "uploadId": "upl_1", "entry": "a.png", "verdict": "ok" },
            { "uploadId": "upl_1", "entry": "in/b.png", "verdict": "near_duplicate", "of": 0 },
            { "uploadId": "upl_2", "verdict": "near_duplicate", "of": 1 },
        ] });
        let picture = |name: &str| Picture { path: name.into(), content_type: "application/zip", length: 1 };
        let shown = serde_json::from_value::<Dataset>(answer)
            .unwrap()
            .report(&["set.zip", "c.png"].map(picture), &["upl_1", "upl_2"].map(String::from));
        let expected = "\
ok  set.zip/a.png     fit for training
bad set.zip/in/b.png  looks like set.zip/a.png
bad c.png             looks like set.zip/in/b.png";
        assert_eq!(shown.table(false), expected);
        let json = shown.json();
        assert_eq!(
            (&json["verdicts"][1]["file"], &json["verdicts"][1]["entry"]),
            (&"set.zip".into(), &"in/b.png".into())
        );
        assert_eq!((shown.len(), shown.unfit()), (3, 2));
    }

    #[test]
    fn the_json_has_file_verdict_and_detail() {
        let json = shown().json();
        assert_eq!((&json["accepted"], &json["price"]), (&false.into(), &25.into()));
        assert_eq!(json["verdicts"][1]["file"], "img/longer.png");
        assert_eq!(json["verdicts"][1]["shortSide"], 300);
        assert_eq!(json["verdicts"][2]["detail"], "looks like img/a.png");
    }
}
