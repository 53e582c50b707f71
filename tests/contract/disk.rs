//! The media store on disk beyond the contract.

use std::{path::Path, sync::Arc};

use mediaforge::media::{self, ErrorKind, MediaStore};

use crate::media::{all, key, put, read};

type Store = Arc<dyn MediaStore>;

fn open_disk(data_dir: &Path) -> Result<Store, media::BackendError> {
    media::open_disk(data_dir)
}

fn files_below(path: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            files.extend(files_below(&entry.path()));
        } else {
            files.push(entry.path().to_string_lossy().into_owned());
        }
    }
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disk_keeps_the_contract() {
    let parent = tempfile::tempdir().unwrap();
    let next = std::sync::atomic::AtomicUsize::new(0);
    all(|| {
        let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let store = open_disk(&parent.path().join(number.to_string())).unwrap();
        async { store }
    })
    .await;
}

#[tokio::test]
async fn disk_survives_a_reopen_and_leaves_no_temporary_files() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_disk(dir.path()).unwrap();
    put(&store, "a/1.png", b"kept").await.unwrap();
    assert_eq!(put(&store, "a/1.png", b"lost").await, Err(ErrorKind::AlreadyExists));
    store.ping().await.unwrap();
    let info = store.head(&key("a/1.png")).await.unwrap();
    let store = open_disk(dir.path()).unwrap();
    assert_eq!(read(&store, "a/1.png", None).await.unwrap(), b"kept");
    assert_eq!(store.head(&key("a/1.png")).await.unwrap(), info);
    assert_eq!(files_below(dir.path()).len(), 1, "{:?}", files_below(dir.path()));
    store.delete_prefix("a/").await.unwrap();
    assert!(!dir.path().join("media/a").exists());
}

#[tokio::test]
async fn disk_removes_temporary_files_of_the_dead_but_not_of_the_living() {
    let dir = tempfile::tempdir().unwrap();
    drop(open_disk(dir.path()).unwrap());
    let (old, young) = (dir.path().join("media/.tmp/1-1"), dir.path().join("media/.tmp/1-2"));
    for path in [&old, &young] {
        std::fs::write(path, b"half").unwrap();
    }
    let epoch = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    std::fs::File::options().write(true).open(&old).unwrap().set_modified(epoch).unwrap();
    drop(open_disk(dir.path()).unwrap());
    assert!(!old.exists() && young.exists());
}

#[tokio::test]
async fn disk_follows_no_symbolic_link() {
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open_disk(dir.path()).unwrap();
    std::fs::write(outside.path().join("secret.png"), b"secret").unwrap();
    std::os::unix::fs::symlink(outside.path(), dir.path().join("media/way")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("secret.png"), dir.path().join("media/s.png")).unwrap();
    assert!(store.get(&key("way/secret.png"), None).await.unwrap().is_none());
    assert!(store.get(&key("s.png"), None).await.unwrap().is_none());
    assert_eq!(put(&store, "way/new.png", b"x").await, Err(ErrorKind::Broken));
    assert!(store.delete(&key("way/secret.png")).await.is_err());
    assert_eq!(files_below(outside.path()).len(), 1);
}

#[tokio::test]
async fn disk_names_the_directory_it_cannot_use() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("media"), b"a file where the directory should be").unwrap();
    let error = open_disk(dir.path()).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains(dir.path().join("media").to_str().unwrap()), "{error}");

    let gone = tempfile::tempdir().unwrap();
    let store = open_disk(gone.path()).unwrap();
    std::fs::remove_dir_all(gone.path().join("media")).unwrap();
    let error = store.ping().await.unwrap_err();
    assert!(error.kind == ErrorKind::Broken && error.to_string().contains(gone.path().to_str().unwrap()), "{error}");
}
