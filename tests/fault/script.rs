//! An engine that follows a script.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use mediaforge::{
    domain::failure::{AttemptFailure, ErrorCode},
    engine::{AttemptContext, GeneratedImage, Generation, ImageEngine, ImageSpec},
};
use tokio::sync::Notify;

/// How the engine answers one call.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Draws all pictures except this many, which are withheld.
    Draw { withheld: u32 },
    /// Fails.
    Refuse(AttemptFailure),
    /// Never answers.
    Hang,
    /// Blocks its thread for this time, which no engine may do.
    Block(Duration),
    /// Returns these bytes for each picture.
    Bytes(&'static [u8]),
    /// Draws once it is notified.
    Wait(Arc<Notify>),
    /// Fails once it is notified.
    RefuseLate(Arc<Notify>, AttemptFailure),
    /// Panics.
    Panic,
}

impl Reply {
    pub fn throttled(after: Duration) -> Self {
        Self::Refuse(AttemptFailure::throttled("full", Some(after)))
    }

    pub fn unavailable() -> Self {
        Self::Refuse(AttemptFailure::retry(ErrorCode::EngineUnavailable, "down"))
    }
}

/// Follows its script, then draws every request.
#[derive(Default)]
pub struct Script {
    replies: Mutex<VecDeque<Reply>>,
    calls: AtomicUsize,
    pub called: Notify,
}

impl Script {
    pub fn of(replies: impl IntoIterator<Item = Reply>) -> Arc<Self> {
        Arc::new(Self { replies: Mutex::new(replies.into_iter().collect()), ..Self::default() })
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    fn next(&self) -> Reply {
        let reply = self.replies.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        reply.unwrap_or(Reply::Draw { withheld: 0 })
    }
}

#[async_trait]
impl ImageEngine for Script {
    async fn generate(&self, spec: &ImageSpec, _cx: &AttemptContext) -> Result<Generation, AttemptFailure> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let reply = self.next();
        self.called.notify_one();
        let mut drawn = None;
        let withheld = match reply {
            Reply::Draw { withheld } => withheld,
            Reply::Refuse(failure) => return Err(failure),
            Reply::Hang => std::future::pending().await,
            Reply::Block(time) => {
                std::thread::sleep(time);
                0
            }
            Reply::Bytes(bytes) => {
                drawn = Some(bytes::Bytes::from_static(bytes));
                0
            }
            Reply::Wait(go) => {
                go.notified().await;
                0
            }
            Reply::RefuseLate(go, failure) => {
                go.notified().await;
                return Err(failure);
            }
            Reply::Panic => panic!("a defect of the engine"),
        };
        let mut png = std::io::Cursor::new(Vec::new());
        image::RgbImage::new(64, 64).write_to(&mut png, image::ImageFormat::Png).expect("a picture");
        let bytes = drawn.unwrap_or_else(|| bytes::Bytes::from(png.into_inner()));
        let count = spec.illustration.count.saturating_sub(withheld);
        Ok(Generation {
            images: (0..count).map(|_| GeneratedImage { bytes: bytes.clone() }).collect(),
            filtered: withheld,
            model: "script".to_owned(),
            final_prompt: String::new(),
            seed: None,
            cost_micro_usd: 0,
        })
    }
}
