//! An engine with scripted results.

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
    engine::{AttemptContext, Generated, Generation, ImageEngine, ImageSpec},
};
use tokio::sync::Notify;

/// The result of one call.
#[derive(Debug, Clone)]
pub enum Line {
    /// The requested pictures, without the withheld ones.
    Draw { withheld: u32 },
    /// A failure.
    Refuse(AttemptFailure),
    /// Never returns.
    Hang,
    /// Blocks its thread for this time, which an engine must not do.
    Block(Duration),
    /// These bytes for each picture.
    Bytes(&'static [u8]),
    /// The requested pictures, after a notification.
    Wait(Arc<Notify>),
    /// A failure, after a notification.
    RefuseLate(Arc<Notify>, AttemptFailure),
    /// A panic.
    Panic,
}

impl Line {
    pub fn throttled(after: Duration) -> Self {
        Self::Refuse(AttemptFailure::throttled("full", Some(after)))
    }

    pub fn unavailable() -> Self {
        Self::Refuse(AttemptFailure::retry(ErrorCode::EngineUnavailable, "down"))
    }
}

/// Returns the scripted results in order, then draws every request.
#[derive(Default)]
pub struct Script {
    lines: Mutex<VecDeque<Line>>,
    calls: AtomicUsize,
    pub called: Notify,
}

impl Script {
    pub fn of(lines: impl IntoIterator<Item = Line>) -> Arc<Self> {
        Arc::new(Self { lines: Mutex::new(lines.into_iter().collect()), ..Self::default() })
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    fn next(&self) -> Line {
        let line = self.lines.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        line.unwrap_or(Line::Draw { withheld: 0 })
    }
}

#[async_trait]
impl ImageEngine for Script {
    async fn generate(&self, spec: &ImageSpec, _cx: &AttemptContext) -> Result<Generation, AttemptFailure> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let line = self.next();
        self.called.notify_one();
        let mut drawn = None;
        let withheld = match line {
            Line::Draw { withheld } => withheld,
            Line::Refuse(failure) => return Err(failure),
            Line::Hang => std::future::pending().await,
            Line::Block(time) => {
                std::thread::sleep(time);
                0
            }
            Line::Bytes(bytes) => {
                drawn = Some(bytes::Bytes::from_static(bytes));
                0
            }
            Line::Wait(go_on) => {
                go_on.notified().await;
                0
            }
            Line::RefuseLate(go_on, failure) => {
                go_on.notified().await;
                return Err(failure);
            }
            Line::Panic => panic!("a panic of the engine"),
        };
        let mut png = std::io::Cursor::new(Vec::new());
        image::RgbImage::new(64, 64).write_to(&mut png, image::ImageFormat::Png).expect("a picture");
        let bytes = drawn.unwrap_or_else(|| bytes::Bytes::from(png.into_inner()));
        let count = spec.illustration.count.saturating_sub(withheld);
        Ok(Generation {
            images: (0..count).map(|_| Generated { bytes: bytes.clone() }).collect(),
            filtered: withheld,
            model: "script".to_owned(),
            final_prompt: String::new(),
            seed: None,
            cost_micro_usd: 0,
        })
    }
}
