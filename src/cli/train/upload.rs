//! Pictures on their way to the service: a few at once, a bar each, and one for all of them.

use std::{io::IsTerminal as _, time::Duration};

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use reqwest::header;
use serde::Deserialize;
use serde_json::json;
use tokio_util::io::ReaderStream;

use super::{
    super::{
        job::{
            Api,
            api::{client, send},
            error::ApiError,
        },
        output,
    },
    Picture,
};

/// Uploads at once.
const AT_ONCE: usize = 4;
/// How long one upload may take: 20 MiB over a slow line.
const LONGEST: Duration = Duration::from_mins(10);
/// The same of an archive, which is also unpacked before the answer comes.
const LONGEST_ARCHIVE: Duration = Duration::from_hours(1);
/// A longer name tells a person nothing more.
const NAME_CHARS: usize = 100;

/// A target to put a picture.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct UploadTarget {
    upload_id: String,
    #[serde(default)]
    method: Option<String>,
    upload_url: String,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
}

/// Uploads the pictures; their ids, in order.
pub(super) async fn all(api: &Api, pictures: &[Picture], quiet: bool) -> anyhow::Result<Vec<String>> {
    let bars = Bars::new(pictures, quiet);
    let uploads = pictures.iter().map(|picture| one(api, picture, &bars));
    let ids = stream::iter(uploads).buffered(AT_ONCE).try_collect().await;
    drop(bars);
    let ids: Vec<String> = ids?;
    if !quiet {
        output::note(format!("{} {} uploaded", ids.len(), files(pictures)));
    }
    Ok(ids)
}

/// What they are called together.
fn files(pictures: &[Picture]) -> &'static str {
    match pictures {
        [one] if one.is_archive() => "archive",
        all if all.iter().any(Picture::is_archive) => "files",
        _ => "pictures",
    }
}

async fn one(api: &Api, picture: &Picture, bars: &Bars) -> anyhow::Result<String> {
    let bar = bars.begin(picture);
    let name: String = picture.name().chars().filter(|c| !c.is_control()).take(NAME_CHARS).collect();
    let mut asked = json!({ "fileName": name, "contentType": picture.content_type, "size": picture.length });
    if let Some(user) = api.user() {
        asked["userId"] = user.into();
    }
    let shown = picture.path.display();
    // Opened before anything is asked for: a file that has gone is not the service's fault.
    drop(tokio::fs::File::open(&picture.path).await.with_context(|| format!("cannot read {shown}"))?);
    let sent = api.repeated(async || {
        bars.rewind(&bar);
        // A new target each time: what became of a lost try nobody knows, and an unused one expires.
        let target: UploadTarget = api.post("uploads", &[], &asked).await?;
        put(api, &target, picture, (&bar, bars)).await?;
        Ok(target.upload_id)
    });
    let id = sent.await.map_err(|mut failure| {
        failure.message = format!("cannot upload {shown}: {}", failure.message);
        failure
    })?;
    bars.end(&bar);
    Ok(id)
}

async fn put(
    api: &Api,
    target: &UploadTarget,
    picture: &Picture,
    (bar, bars): (&ProgressBar, &Bars),
) -> Result<(), ApiError> {
    // A file that cannot be opened any more ends the body early, which the service refuses.
    let bytes = match tokio::fs::File::open(&picture.path).await {
        Ok(file) => {
            ReaderStream::with_capacity(tokio::io::AsyncReadExt::take(file, picture.length), 64 * 1024).left_stream()
        }
        Err(error) => stream::iter([Err(error)]).right_stream(),
    };
    let (bar, total) = (bar.clone(), bars.total.clone());
    let counted = bytes.inspect_ok(move |chunk| {
        let length = u64::try_from(chunk.len()).unwrap_or_default();
        bar.inc(length);
        total.inc(length);
    });
    let method = target.method.as_deref().and_then(|method| method.parse().ok()).unwrap_or(reqwest::Method::PUT);
    // The target may be elsewhere, which is why what this service knows its callers by goes to this service alone. While a
    // body is sent there is no answer: no limit on silence, but one on the whole.
    let address = api.absolute(&target.upload_url);
    let longest = if picture.is_archive() { LONGEST_ARCHIVE } else { LONGEST };
    let request = client(&address, None)?.request(method, address.clone());
    let mut request = api.signed(&address, request).timeout(longest);
    let given = |name: header::HeaderName| target.headers.keys().any(|key| key.eq_ignore_ascii_case(name.as_str()));
    for (name, value) in &target.headers {
        // Its length is the client's own to say.
        if !name.eq_ignore_ascii_case(header::CONTENT_LENGTH.as_str()) {
            request = request.header(name, value);
        }
    }
    if !given(header::CONTENT_TYPE) {
        request = request.header(header::CONTENT_TYPE, picture.content_type);
    }
    request = request.header(header::CONTENT_LENGTH, picture.length).body(reqwest::Body::wrap_stream(counted));
    send(request).await.map(drop)
}

/// What the person sees of it.
struct Bars {
    all: MultiProgress,
    total: ProgressBar,
}

impl Bars {
    fn new(pictures: &[Picture], quiet: bool) -> Self {
        let seen = !quiet && std::io::stderr().is_terminal();
        let target = if seen { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let all = MultiProgress::with_draw_target(target);
        let total = all.add(ProgressBar::new(pictures.iter().map(|picture| picture.length).sum()));
        let text = format!(
            "{{bar:28.cyan/dim}} {{bytes}} of {{total_bytes}}, {} {}, {{bytes_per_sec}}",
            pictures.len(),
            files(pictures)
        );
        total.set_style(style(&text));
        Self { all, total }
    }

    fn begin(&self, picture: &Picture) -> ProgressBar {
        let bar = self.all.insert_before(&self.total, ProgressBar::new(picture.length));
        bar.set_style(style("{bar:28.green/dim} {percent:>3} % {wide_msg}"));
        bar.set_message(picture.name());
        bar
    }

    /// The picture is sent once more.
    fn rewind(&self, bar: &ProgressBar) {
        self.total.set_position(self.total.position().saturating_sub(bar.position()));
        bar.set_position(0);
    }

    fn end(&self, bar: &ProgressBar) {
        bar.finish_and_clear();
        self.all.remove(bar);
    }
}

impl Drop for Bars {
    /// However the uploads end: the terminal is clean for what follows.
    fn drop(&mut self) {
        self.total.finish_and_clear();
        // Bars of uploads that were broken off.
        let _ = self.all.clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─")
}
