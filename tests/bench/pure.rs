//! Benchmarks of the pure parts: `cargo bench`. `cargo test --all-targets` runs each once.

use std::{hint::black_box, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use image::{DynamicImage, Rgb as Pixel, RgbImage};
use mediaforge::{
    domain::{
        Timestamp,
        clock::{SystemRandom, after},
        ids::{JobId, RequestHash, WorkerId},
        job::{Job, JobPolicy, Lease, NewJob, Output, Pictures, Work},
        kind::JobKind,
        message::JobMessage,
        palette::{Rgb, palette},
        pricing::Prices,
        request::IllustrationSpec,
        retry::RetryPolicy,
        stored_image::StoredImage,
        style::{Learnt, Style},
        trace::TraceContext,
    },
    media::image::{DecodeLimits, prepare, thumbnail},
    store::{Version, document::JobDocument},
    worker::envelope,
};

const POLICY: JobPolicy = JobPolicy {
    retry: RetryPolicy { max_attempts: 5, base: Duration::from_secs(1), cap: Duration::from_mins(1) },
    republish_after: Duration::from_secs(30),
    republish_cap: Duration::from_mins(10),
    cancel_grace: Duration::from_secs(10),
    queue_delays: true,
};
const PRICES: Prices = Prices { image: 1, image_large: 2, large_above_px: 1536, training: 25 };

fn new_job() -> NewJob {
    let style = Style {
        id: "watercolor".to_owned(),
        name: "Watercolor".to_owned(),
        description: "Soft washes of transparent colour".to_owned(),
        modifier: "loose watercolor painting, transparent washes, soft wet edges".to_owned(),
        palette: Vec::new(),
        learnt: Learnt::default(),
    };
    let spec = IllustrationSpec {
        prompt: "a lighthouse on a cliff at dawn, seen from the sea".to_owned(),
        style,
        width: 1024,
        height: 1024,
        count: 1,
        seed: Some(7),
    };
    NewJob {
        id: JobId::random(JobKind::Illustration, &SystemRandom),
        user: "ada".parse().expect("an id"),
        team: None,
        work: Work::Illustration(spec),
        request_hash: RequestHash::of(b"bench"),
        trace: Some(TraceContext::root(&SystemRandom)),
        time_limit: Duration::from_mins(15),
        starting_grant: 10,
    }
}

fn submitted() -> Job {
    Job::submit(new_job(), Timestamp::UNIX_EPOCH, &PRICES, &POLICY).job
}

fn lease() -> Lease {
    let expires_at = after(Timestamp::UNIX_EPOCH, Duration::from_secs(30));
    Lease { owner: WorkerId::new(1, &SystemRandom), expires_at }
}

fn output() -> Output {
    let image = StoredImage {
        key: "illustrations/ada/ill_0123456789abcdefghij/1-2-0.png".to_owned(),
        width: 1024,
        height: 1024,
        bytes: 1 << 20,
        sha256: "00".repeat(32),
    };
    Output::Pictures(Pictures {
        images: vec![image],
        thumbnail_key: Some("illustrations/ada/ill_0123456789abcdefghij/1-2-0_thumb.webp".to_owned()),
        filtered: 0,
        model: "preview".to_owned(),
        final_prompt: "a lighthouse on a cliff at dawn, loose watercolor painting".to_owned(),
        seed: Some(7),
        cost_micro_usd: 0,
        generation_ms: 60,
    })
}

/// A job from its submission to its end.
fn transitions(c: &mut Criterion) {
    let now = Timestamp::UNIX_EPOCH;
    let life = |(new_job, lease, output): (NewJob, Lease, Output)| {
        let job = Job::submit(new_job, now, &PRICES, &POLICY).job;
        let job = job.start(now, lease, &POLICY).expect("a start").job;
        job.complete(now, output).expect("a completion")
    };
    c.bench_function("job: submit, start, complete", |b| {
        b.iter_batched(|| (new_job(), lease(), output()), life, BatchSize::SmallInput);
    });
}

/// A job to a store's JSON, and back.
fn documents(c: &mut Criterion) {
    let job = submitted();
    let running = job.start(Timestamp::UNIX_EPOCH, lease(), &POLICY).expect("a start").job;
    let done = running.complete(Timestamp::UNIX_EPOCH, output()).expect("a completion").job;
    let write = || serde_json::to_string(&JobDocument::new(&done, Version(3))).expect("JSON");
    let text = write();
    c.bench_function("document: write", |b| b.iter(write));
    c.bench_function("document: read", |b| {
        b.iter(|| serde_json::from_str::<JobDocument>(black_box(&text)).expect("JSON").into_job().expect("a job"));
    });
}

fn envelope(c: &mut Criterion) {
    let message = JobMessage::new(submitted().id.clone(), Some(TraceContext::root(&SystemRandom)));
    let body = serde_json::json!({
        "message": {
            "data": STANDARD.encode(message.data()),
            "attributes": message.attributes(),
            "messageId": "1234567890123456",
            "message_id": "1234567890123456",
            "publishTime": "2026-01-01T00:00:00.123Z",
            "publish_time": "2026-01-01T00:00:00.123Z",
        },
        "subscription": "projects/example/subscriptions/image-generation-workers",
        "deliveryAttempt": 1,
    });
    let body = body.to_string().into_bytes();
    c.bench_function("envelope: decode a push", |b| {
        b.iter(|| envelope::parse(black_box(&body), JobKind::Illustration).expect("a delivery"));
    });
}

fn ids(c: &mut Criterion) {
    let user = "ada".parse().expect("an id");
    c.bench_function("id: random", |b| b.iter(|| JobId::random(JobKind::Illustration, &SystemRandom)));
    c.bench_function("id: from an idempotency key", |b| {
        b.iter(|| JobId::derived(JobKind::Illustration, &user, black_box("0f8fad5b-d9cb-469f-a165-70867728950e")));
    });
    c.bench_function("id: parse", |b| b.iter(|| black_box("ill_0123456789abcdefghij").parse::<JobId>()));
}

fn palettes(c: &mut Criterion) {
    let channel = |n: u32| u8::try_from(n % 256).unwrap_or_default();
    let color = |n: u32| Rgb { r: channel(n * 37), g: channel(n * 91), b: channel(n * 53) };
    let colors: Vec<(Rgb, f64)> = (0..256).map(|n| (color(n), f64::from(n % 17 + 1) / 2304.0)).collect();
    c.bench_function("palette: 5 of 256 colours", |b| b.iter(|| palette(black_box(&colors), 5)));
}

fn pictures(c: &mut Criterion) {
    let shade = |x: u32, y: u32| Pixel([x, y, x * y / 512].map(|n| u8::try_from(n % 256).unwrap_or_default()));
    let picture = DynamicImage::ImageRgb8(RgbImage::from_fn(1024, 1024, shade));
    c.bench_function("picture: thumbnail of 1024x1024", |b| b.iter(|| thumbnail(black_box(&picture))));
    let bytes = mediaforge::media::image::png(&picture).expect("a PNG");
    let limits = DecodeLimits::default();
    c.bench_function("picture: prepare a PNG of 1024x1024", |b| {
        b.iter(|| prepare(bytes.clone(), 1024, 1024, true, &limits).expect("a picture"));
    });
}

criterion_group! {
    name = pure;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    targets = transitions, documents, envelope, ids, palettes, pictures
}
criterion_main!(pure);
