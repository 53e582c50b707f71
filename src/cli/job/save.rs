//! Saves pictures: streams them to a temporary file and renames it, never over an existing file.

use std::{
    io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use futures::StreamExt as _;
use tokio::{fs, io::AsyncWriteExt as _};

use super::{
    super::{Exit, Failure},
    api::Api,
    error::ApiError,
};

const TRIES: u32 = 3;

/// Checks that pictures can be saved in `dir`, before the job costs anything.
pub(in crate::cli) async fn prepare(dir: &Path) -> Result<(), Failure> {
    let probe = PartialFile(dir.join(format!(".{}.part", std::process::id())));
    let written = async {
        fs::create_dir_all(dir).await?;
        fs::write(&probe.0, []).await
    };
    written.await.map_err(|error| {
        let message = format!("cannot save pictures in {}: {error}", dir.display());
        Failure::new(Exit::Usage, message).hint("nothing was submitted; choose another directory with -o")
    })
}

/// Saves the pictures of a job in `dir`, named after `title`, and returns their paths.
pub(in crate::cli) async fn save_pictures(
    api: &Api,
    (id, addresses): (&str, &[String]),
    title: &str,
    dir: &Path,
) -> anyhow::Result<Vec<PathBuf>> {
    let shown = dir.display();
    fs::create_dir_all(dir).await.with_context(|| format!("cannot create the directory {shown}"))?;
    let stem = stem(title, id);
    let mut files = Vec::new();
    for (index, address) in addresses.iter().enumerate() {
        let stem = format!("{stem}-{}", index + 1);
        files.push(save_picture(api, address, dir, &stem).await?);
    }
    Ok(files)
}

async fn save_picture(api: &Api, address: &str, dir: &Path, stem: &str) -> anyhow::Result<PathBuf> {
    let part = PartialFile(dir.join(format!(".{stem}.{}.part", std::process::id())));
    let mut tries = 0;
    let extension = loop {
        tries += 1;
        match fetch(api, address, &part.0).await {
            Ok(extension) => break extension,
            Err(FetchError::Api(error)) if error.is_transient() && tries < TRIES => {
                tokio::time::sleep(std::time::Duration::from_millis(250 << tries)).await;
            }
            Err(FetchError::Api(error)) => return Err(error.explain(api.url()).into()),
            Err(FetchError::Disk(error)) => {
                return Err(error).with_context(|| format!("cannot write to {}", dir.display()));
            }
        }
    };
    let saved = async {
        let file = claim_name(dir, stem, extension).await?;
        fs::rename(&part.0, &file).await.map(|()| file)
    };
    saved.await.with_context(|| format!("cannot save a picture in {}", dir.display()))
}

/// A temporary file. It is removed on drop unless it was renamed.
struct PartialFile(PathBuf);

impl Drop for PartialFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

enum FetchError {
    Api(ApiError),
    Disk(io::Error),
}

/// Writes the picture to `file` and returns its extension.
async fn fetch(api: &Api, address: &str, file: &Path) -> Result<&'static str, FetchError> {
    let response = api.download(address).await.map_err(FetchError::Api)?;
    let kind = response.headers().get(reqwest::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let extension = match kind {
        Some("image/jpeg") => "jpg",
        Some("image/webp") => "webp",
        _ => "png",
    };
    let mut out = fs::File::create(file).await.map_err(FetchError::Disk)?;
    let mut body = response.bytes_stream();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| FetchError::Api(error.into()))?;
        out.write_all(&chunk).await.map_err(FetchError::Disk)?;
    }
    out.flush().await.map_err(FetchError::Disk)?;
    Ok(extension)
}

/// Creates an empty file under the first free name, so that the following rename replaces only this file.
async fn claim_name(dir: &Path, stem: &str, extension: &str) -> io::Result<PathBuf> {
    let mut suffix = 1_u32;
    loop {
        let name = match suffix {
            1 => format!("{stem}.{extension}"),
            more => format!("{stem}_{more}.{extension}"),
        };
        let path = dir.join(name);
        match fs::OpenOptions::new().write(true).create_new(true).open(&path).await {
            Ok(_) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && suffix < 1000 => suffix += 1,
            Err(error) => return Err(error),
        }
    }
}

/// For example `a-lighthouse-at-dawn-x7Kq2d`: the prompt, and the end of the id to make it unique.
fn stem(prompt: &str, id: &str) -> String {
    let tail_from = id.char_indices().rev().nth(5).map_or(0, |(at, _)| at);
    format!("{}-{}", slug(prompt), &id[tail_from..])
}

/// The first words of a prompt as a file name: lower-case letters and digits of any script, joined by dashes.
fn slug(prompt: &str) -> String {
    const MAX_CHARS: usize = 40;
    let lower = prompt.to_lowercase();
    let words = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let mut slug = String::new();
    for word in words {
        let word: String = word.chars().take(MAX_CHARS).collect();
        if slug.chars().count() + word.chars().count() >= MAX_CHARS && !slug.is_empty() {
            break;
        }
        if !slug.is_empty() {
            slug.push('-');
        }
        slug.push_str(&word);
    }
    if slug.is_empty() { "picture".into() } else { slug }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_is_readable_short_and_a_safe_file_name() {
        assert_eq!(slug("A lighthouse at dawn!"), "a-lighthouse-at-dawn");
        assert_eq!(slug("../../etc/passwd\n\0"), "etc-passwd");
        assert_eq!(slug("Ein Bär über Zürich"), "ein-bär-über-zürich");
        assert_eq!(slug("🦊 !!"), "picture");
        assert_eq!(slug(&"x".repeat(500)).len(), 40);
        let long = slug("a very long prompt that goes on and on about nothing in particular");
        assert!(long.len() <= 40 && !long.ends_with('-'), "{long}");
    }

    #[test]
    fn a_stem_ends_with_the_end_of_the_id() {
        assert_eq!(stem("a fox", "ill_0123456789abcdefghij"), "a-fox-efghij");
        assert_eq!(stem("a fox", "ill"), "a-fox-ill");
    }

    #[tokio::test]
    async fn an_existing_file_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let first = claim_name(dir.path(), "a-fox-1", "png").await.unwrap();
        let second = claim_name(dir.path(), "a-fox-1", "png").await.unwrap();
        assert_eq!(first.file_name().unwrap(), "a-fox-1.png");
        assert_eq!(second.file_name().unwrap(), "a-fox-1_2.png");
    }
}
