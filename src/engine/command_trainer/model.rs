//! Finds the model in the program's output, and checks it. Blocks.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use crate::engine::artifact::{self, InvalidModel, PREFIX};

/// Levels of folders that are searched.
const DEPTH: usize = 4;

/// Files that are examined, at most.
const MAX_FILES: usize = 10_000;

/// The output has no usable model.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoModel {
    #[error("no {0} in its output")]
    Missing(String),
    #[error("{file}: {source}")]
    Invalid { file: String, source: InvalidModel },
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The model: the named file, else the newest `*.safetensors` in the topmost folder that has one. Programs keep
/// checkpoints in folders below.
pub(super) fn find(output: &Path, named: Option<&str>) -> Result<PathBuf, NoModel> {
    let path = match named {
        Some(name) => Some(output.join(name)).filter(|path| path.is_file()),
        None => newest(output)?,
    };
    let path = path.ok_or_else(|| NoModel::Missing(named.unwrap_or("*.safetensors").to_owned()))?;
    check(&path)?;
    Ok(path)
}

fn newest(output: &Path) -> io::Result<Option<PathBuf>> {
    let mut level = vec![output.to_owned()];
    let mut seen = 0;
    for _ in 0..DEPTH {
        let (mut folders, mut models) = (Vec::new(), Vec::new());
        for folder in level {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                seen += 1;
                // A symbolic link is neither, and is not followed.
                let (kind, path) = (entry.file_type()?, entry.path());
                if kind.is_dir() {
                    folders.push(path);
                } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "safetensors") {
                    models.push((entry.metadata()?.modified()?, path));
                }
                if seen > MAX_FILES {
                    return Err(io::Error::other(format!("more than {MAX_FILES} files in the output")));
                }
            }
        }
        if let Some((_, path)) = models.into_iter().max() {
            return Ok(Some(path));
        }
        level = folders;
    }
    Ok(None)
}

fn check(path: &Path) -> Result<(), NoModel> {
    let invalid = |source| NoModel::Invalid { file: path.display().to_string(), source };
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    if size <= PREFIX {
        return Err(invalid(InvalidModel::TooSmall(size)));
    }
    let mut prefix = [0; 8];
    file.read_exact(&mut prefix)?;
    let length = artifact::header_length(prefix, size).map_err(invalid)?;
    let mut header = Vec::new();
    file.take(length).read_to_end(&mut header)?;
    artifact::check(&header, size).map_err(invalid)
}
