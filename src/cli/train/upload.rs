//! Uploads the files: a few at once, with a progress bar for each and one in total.

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

/// Concurrent uploads.
const CONCURRENCY: usize = 4;
/// Time limit of one upload: 20 MiB over a slow line.
const UPLOAD_TIMEOUT: Duration = Duration::from_mins(10);
/// The same for an archive, which the service also unpacks before it responds.
const ARCHIVE_TIMEOUT: Duration = Duration::from_hours(1);
/// Longer names are truncated.
const NAME_CHARS: usize = 100;

/// Where to upload a picture.
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

/// Uploads the pictures and returns the ids of the uploads, in order.
pub(super) async fn upload_all(api: &Api, pictures: &[Picture], quiet: bool) -> anyhow::Result<Vec<String>> {
    let bars = Bars::new(pictures, quiet);
    let uploads = pictures.iter().map(|picture| upload(api, picture, &bars));
    let ids = stream::iter(uploads).buffered(CONCURRENCY).try_collect().await;
    drop(bars);
    let ids: Vec<String> = ids?;
    if !quiet {
        output::note(format!("{} {} uploaded", ids.len(), noun(pictures)));
    }
    Ok(ids)
}

/// The noun for these files.
fn noun(pictures: &[Picture]) -> &'static str {
    match pictures {
        [one] if one.is_archive() => "archive",
        all if all.iter().any(Picture::is_archive) => "files",
        _ => "pictures",
    }
}

async fn upload(api: &Api, picture: &Picture, bars: &Bars) -> anyhow::Result<String> {
    let bar = bars.begin(picture);
    let name: String = picture.name().chars().filter(|c| !c.is_control()).take(NAME_CHARS).collect();
    let mut request = json!({ "fileName": name, "contentType": picture.content_type, "size": picture.length });
    if let Some(user) = api.user() {
        request["userId"] = user.into();
    }
    let shown = picture.path.display();
    // Opened first, so that a missing file is not reported as an error of the service.
    drop(tokio::fs::File::open(&picture.path).await.with_context(|| format!("cannot read {shown}"))?);
    let sent = api.with_retries(async || {
        bars.restart(&bar);
        // A new target for each try, because the state of the last one is unknown. Unused targets expire.
        let target: UploadTarget = api.post("uploads", &[], &request).await?;
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
    // If the file can no longer be opened, the body ends early and the service refuses it.
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
    // The target may be another server, which must not get the token. There is no response while the body is being sent,
    // so this limits the total time instead of the time without data.
    let address = api.absolute(&target.upload_url);
    let timeout = if picture.is_archive() { ARCHIVE_TIMEOUT } else { UPLOAD_TIMEOUT };
    let request = client(&address, None)?.request(method, address.clone());
    let mut request = api.authorized(&address, request).timeout(timeout);
    let given = |name: header::HeaderName| target.headers.keys().any(|key| key.eq_ignore_ascii_case(name.as_str()));
    for (name, value) in &target.headers {
        // The client sets the length itself.
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

/// The progress bars.
struct Bars {
    all: MultiProgress,
    total: ProgressBar,
}

impl Bars {
    fn new(pictures: &[Picture], quiet: bool) -> Self {
        let visible = !quiet && std::io::stderr().is_terminal();
        let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let all = MultiProgress::with_draw_target(target);
        let total = all.add(ProgressBar::new(pictures.iter().map(|picture| picture.length).sum()));
        let text = format!(
            "{{bar:28.cyan/dim}} {{bytes}} of {{total_bytes}}, {} {}, {{bytes_per_sec}}",
            pictures.len(),
            noun(pictures)
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

    /// Resets the bar, because the picture is sent again.
    fn restart(&self, bar: &ProgressBar) {
        self.total.set_position(self.total.position().saturating_sub(bar.position()));
        bar.set_position(0);
    }

    fn end(&self, bar: &ProgressBar) {
        bar.finish_and_clear();
        self.all.remove(bar);
    }
}

impl Drop for Bars {
    /// Removes all bars, also after an error.
    fn drop(&mut self) {
        self.total.finish_and_clear();
        // Bars of interrupted uploads.
        let _ = self.all.clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─")
}
