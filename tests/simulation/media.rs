//! The media store: objects by key, created once, over a network that loses requests and replies.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use mediaforge::{
    domain::Timestamp,
    error::{BackendError, ErrorKind},
    media::{MediaFormat, MediaInfo, MediaKey, MediaRead, MediaStore, MediaUrl, Result, SignedUpload},
};
use tokio::time::sleep;

use crate::{
    plan::Fault,
    process::{Fate, Process},
};

/// The stored bytes and the time of the write, by key.
pub type Objects = BTreeMap<MediaKey, (Bytes, Timestamp)>;

pub struct SimMedia(pub Arc<Process>);

impl SimMedia {
    async fn access<T: Send + 'static>(
        &self,
        op: &'static str,
        about: &str,
        writes: bool,
        access: impl FnOnce(&mut Objects, Timestamp) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let world = &self.0.world;
        if world.strikes(Fault::MediaSlow) {
            sleep(world.dice.millis(2_000, 40_000)).await;
        }
        let fate = if world.strikes(Fault::MediaFails) {
            Fate::Refused(ErrorKind::Unavailable)
        } else if writes && world.strikes(Fault::MediaReplyLost) {
            Fate::ReplyLost
        } else {
            Fate::Fine
        };
        let access = |by: &Process| access(&mut by.world.objects.lock().expect("a lock"), by.world.now());
        let answer = self.0.call(op, about, fate, access).await;
        self.0.alone().await;
        answer
    }
}

fn info(key: &MediaKey, (bytes, modified): &(Bytes, Timestamp)) -> MediaInfo {
    let content_type = MediaFormat::of_key(key).map_or("application/octet-stream", MediaFormat::content_type);
    MediaInfo { length: bytes.len() as u64, content_type, etag: key.to_string(), modified: *modified }
}

fn create(objects: &mut Objects, key: MediaKey, bytes: Bytes, now: Timestamp) -> Result<()> {
    if objects.contains_key(&key) {
        return Err(BackendError::new(ErrorKind::AlreadyExists, "media.put"));
    }
    objects.insert(key, (bytes, now));
    Ok(())
}

#[async_trait]
impl MediaStore for SimMedia {
    async fn put(&self, key: &MediaKey, _: MediaFormat, bytes: Bytes) -> Result<()> {
        let place = key.clone();
        self.access("media.put", key.as_str(), true, |objects, now| create(objects, place, bytes, now)).await
    }

    async fn get(&self, key: &MediaKey, _: Option<Range<u64>>) -> Result<Option<MediaRead>> {
        let place = key.clone();
        let find = move |objects: &mut Objects, _| {
            Ok(objects.get(&place).map(|object| (info(&place, object), object.0.clone())))
        };
        let found = self.access("media.get", key.as_str(), false, find).await?;
        Ok(found.map(|(info, bytes)| MediaRead { info, body: stream::iter([Ok(bytes)]).boxed() }))
    }

    async fn head(&self, key: &MediaKey) -> Result<Option<MediaInfo>> {
        let place = key.clone();
        let find = move |objects: &mut Objects, _| Ok(objects.get(&place).map(|object| info(&place, object)));
        self.access("media.head", key.as_str(), false, find).await
    }

    async fn copy(&self, from: &MediaKey, to: &MediaKey) -> Result<bool> {
        let (from, place) = (from.clone(), to.clone());
        let copy = move |objects: &mut Objects, now| match objects.get(&from).map(|(bytes, _)| bytes.clone()) {
            Some(bytes) => create(objects, place, bytes, now).map(|()| true),
            None => Ok(false),
        };
        self.access("media.copy", to.as_str(), true, copy).await
    }

    async fn expire(&self, prefix: &str, before: Timestamp) -> Result<usize> {
        let wanted = prefix.to_owned();
        let expire = move |objects: &mut Objects, _| {
            let there = objects.len();
            objects.retain(|key, (_, modified)| !key.as_str().starts_with(&wanted) || *modified >= before);
            Ok(there - objects.len())
        };
        self.access("media.expire", prefix, true, expire).await
    }

    async fn list(&self, prefix: &str, limit: usize) -> Result<Vec<MediaKey>> {
        let wanted = prefix.to_owned();
        let list = move |objects: &mut Objects, _| {
            Ok(objects.keys().filter(|key| key.as_str().starts_with(&wanted)).take(limit).cloned().collect())
        };
        self.access("media.list", prefix, false, list).await
    }

    async fn delete(&self, key: &MediaKey) -> Result<()> {
        let place = key.clone();
        let delete = move |objects: &mut Objects, _| {
            objects.remove(&place);
            Ok(())
        };
        self.access("media.delete", key.as_str(), true, delete).await
    }

    async fn delete_prefix(&self, prefix: &str) -> Result<()> {
        let wanted = prefix.to_owned();
        let delete = move |objects: &mut Objects, _| {
            objects.retain(|key, _| !key.as_str().starts_with(&wanted));
            Ok(())
        };
        self.access("media.delete_prefix", prefix, true, delete).await
    }

    async fn url(&self, key: &MediaKey, _: Timestamp) -> Result<MediaUrl> {
        Ok(MediaUrl::Gateway(format!("/media/{key}")))
    }

    async fn upload_url(&self, _: &MediaKey, _: &'static str, _: u64, _: Timestamp) -> Result<Option<SignedUpload>> {
        Ok(None)
    }

    fn is_behind_the_gateway(&self) -> bool {
        true
    }

    async fn ping(&self) -> Result<()> {
        self.access("media.ping", "", false, |_, _| Ok(())).await
    }
}
