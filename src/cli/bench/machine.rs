//! The machine on which the figures were measured.

use std::{fs, path::Path};

use serde::Serialize;

/// The machine, as far as it can be determined.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Machine {
    /// Processors that this program may use.
    pub cores: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processor: Option<String>,
    /// `linux 6.8.0`
    pub kernel: String,
    /// The file system of the measured data directory; absent with `--url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_system: Option<String>,
    /// Load average of the last minute before the measurement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load: Option<f64>,
}

impl Machine {
    pub(super) fn here(directory: Option<&Path>) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let release = read("/proc/sys/kernel/osrelease");
        let directory = directory.and_then(|directory| directory.canonicalize().ok());
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            processor: processor(&read("/proc/cpuinfo")),
            kernel: format!("{} {}", std::env::consts::OS, release.trim()).trim_end().to_owned(),
            file_system: directory.and_then(|directory| file_system(&read("/proc/self/mounts"), &directory)),
            load: read("/proc/loadavg").split_whitespace().next().and_then(|load| load.parse().ok()),
        }
    }

    /// Reasons why the figures may be misleading.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if cfg!(debug_assertions) {
            warnings.push("this is a debug build and its figures are meaningless; build with --release".to_owned());
        }
        if let Some(load) = self.load.filter(|load| *load > 0.5) {
            warnings
                .push(format!("the machine was busy before the measurement (load {load}); a quiet machine is faster"));
        }
        if self.file_system.as_deref() == Some("tmpfs") {
            warnings.push("the data directory is in memory (tmpfs); choose a disk with --dir".into());
        }
        warnings
    }
}

fn processor(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The type of the mount with the longest path above the directory. Of several with the same path, the last one is visible.
fn file_system(mounts: &str, directory: &Path) -> Option<String> {
    let fields = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let above = fields.filter(|(path, _)| directory.starts_with(path));
    above.max_by_key(|(path, _)| path.len()).map(|(_, kind)| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_on_its_nearest_mount() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tmp/disk xfs rw 0 0\n";
        let of = |path: &str| file_system(mounts, Path::new(path));
        assert_eq!(of("/tmp/x").as_deref(), Some("tmpfs"));
        assert_eq!(of("/tmp/disk/x").as_deref(), Some("xfs"));
        assert_eq!(of("/tmpfiles").as_deref(), Some("ext4"));
        assert_eq!(file_system("", Path::new("/")), None);
    }

    #[test]
    fn a_processor_has_a_name() {
        assert_eq!(processor("processor\t: 0\nmodel name\t: Example 3000\n").as_deref(), Some("Example 3000"));
        assert_eq!(processor(""), None);
    }
}
